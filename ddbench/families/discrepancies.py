"""Discrepancies between real and synthetic features, class by class, which distribution matching minimises.

A discrepancy takes real features (K, N, F) and synthetic ones (K, M, F) and returns (K,), 0 for equal distributions and
differentiable in the synthetic features. Some compare along random directions or at random frequencies, which are drawn
first and passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Name = Literal["mean", "mmd_rbf", "energy", "sliced_wasserstein", "characteristic"]
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""bandwidths of the Gaussian kernels, in units of the mean squared distance within and between the sets"""
TINY = 1e-12


@dataclass(frozen=True)
class Discrepancy:
    """A distance between distributions of features.

    Args:
        between: (real, synthetic, draws) -> (K,)
        draws: what is drawn: `nothing`, unit `directions`, or standard normal `frequencies`
        summary: what `between` needs of the real features, (K, N, F) -> (K, n, F)
    """

    between: Callable[[Tensor, Tensor, Tensor], Tensor]
    draws: Literal["nothing", "directions", "frequencies"] = "nothing"
    summary: Callable[[Tensor], Tensor] = lambda real: real

    def draw(self, features: int, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, features) numbers on the generator's device; (0, features) where nothing is drawn."""
        if self.draws == "nothing":
            return torch.empty(0, features, device=generator.device)
        drawn = torch.randn(count, features, generator=generator, device=generator.device)
        return drawn / drawn.norm(dim=1, keepdim=True) if self.draws == "directions" else drawn


def mean(real: Tensor, synthetic: Tensor, draws: Tensor) -> Tensor:
    """Squared Euclidean distance of the means: the maximum mean discrepancy of the linear kernel.

    Zhao & Bilen, WACV 2023, arXiv 2110.04181, equation 3.
    """
    return (real.mean(1) - synthetic.mean(1)).square().sum(1)


def mmd_rbf(real: Tensor, synthetic: Tensor, draws: Tensor) -> Tensor:
    """Squared maximum mean discrepancy (biased estimate) of a sum of Gaussian kernels.

    Gretton et al., "A Kernel Two-Sample Test", JMLR 2012. The bandwidths are multiples of the mean squared distance
    of all points, which no gradient flows through.
    """
    within, between, own = _squared_distances(real, synthetic)
    n, m = real.shape[1], synthetic.shape[1]
    spread = within.sum((1, 2)) + 2 * between.sum((1, 2)) + own.sum((1, 2))
    scale = (spread / ((n + m) * (n + m - 1))).detach()[:, None, None].clamp(min=TINY)

    def kernel(distances: Tensor) -> Tensor:
        kernels = [torch.exp(-distances / (bandwidth * scale)).mean((1, 2)) for bandwidth in BANDWIDTHS]
        return torch.stack(kernels).sum(0)

    return kernel(within) - 2 * kernel(between) + kernel(own)


def energy(real: Tensor, synthetic: Tensor, draws: Tensor) -> Tensor:
    """Energy distance, 2 E|x - y| - E|x - x'| - E|y - y'|. Szekely & Rizzo, "Energy statistics", JSPI 2013."""
    within, between, own = (
        distances.clamp(min=TINY).sqrt().mean((1, 2)) for distances in _squared_distances(real, synthetic)
    )
    return 2 * between - within - own


def sliced_wasserstein(real: Tensor, synthetic: Tensor, draws: Tensor) -> Tensor:
    """Mean squared 2-Wasserstein distance along random directions. Bonneel et al., JMIV 2015.

    Exact along each direction for sets of any two sizes.
    """
    of_real = (real @ draws.T).sort(1).values  # (K, N, R)
    of_synthetic = (synthetic @ draws.T).sort(1).values  # (K, M, R)
    rows, columns, shares = _coupling(real.shape[1], synthetic.shape[1])
    rows, columns, shares = (part.to(real.device, non_blocking=True) for part in (rows, columns, shares))
    gaps = of_real[:, rows] - of_synthetic[:, columns]
    return (gaps.square() * shares.to(real)[:, None]).sum(1).mean(1)


def characteristic(real: Tensor, synthetic: Tensor, draws: Tensor) -> Tensor:
    """Distance of the characteristic functions at random frequencies, amplitude and phase weighted equally.

    Wang et al., "Dataset Distillation with Neural Characteristic Function", CVPR 2025, arXiv 2502.20653: the mean
    over frequencies of sqrt(((|p| - |q|)^2 + 2 (|p||q| - Re p q*)) / 2), which is |p - q| / sqrt(2).
    """
    p, q = (features @ draws.T for features in (real, synthetic))  # (K, N, R), (K, M, R)
    cosine, sine = p.cos().mean(1) - q.cos().mean(1), p.sin().mean(1) - q.sin().mean(1)
    return ((cosine.square() + sine.square()) / 2).clamp(min=TINY).sqrt().mean(1)


DISCREPANCIES: dict[Name, Discrepancy] = {
    "mean": Discrepancy(mean, summary=lambda real: real.mean(1, keepdim=True)),
    "mmd_rbf": Discrepancy(mmd_rbf),
    "energy": Discrepancy(energy),
    "sliced_wasserstein": Discrepancy(sliced_wasserstein, draws="directions"),
    "characteristic": Discrepancy(characteristic, draws="frequencies"),
}


def _squared_distances(real: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return those among the real ones, (K, N, N), between both, (K, N, M), and among the synthetic ones, (K, M, M)."""
    # By squares and products; around the real mean, or their difference would be lost in rounding.
    middle = real.mean(1, keepdim=True).detach()
    a, b = real - middle, synthetic - middle
    return _pairs(a, a), _pairs(a, b), _pairs(b, b)


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    squares = a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None, :] - 2 * a @ b.transpose(1, 2)
    return squares.clamp(min=0)


def _coupling(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the optimal transport between sorted sets of n and m points of equal mass.

    Returns:
        For each piece of mass that moves as a whole: its index in the first set, in the second, and its share.
    """
    cuts = sorted({Fraction(i, n) for i in range(n + 1)} | {Fraction(j, m) for j in range(m + 1)})
    rows = [math.floor(start * n) for start in cuts[:-1]]
    columns = [math.floor(start * m) for start in cuts[:-1]]
    shares = [float(end - start) for start, end in pairwise(cuts)]
    return torch.tensor(rows), torch.tensor(columns), torch.tensor(shares)
