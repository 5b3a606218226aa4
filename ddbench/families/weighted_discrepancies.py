"""Discrepancies of weighted synthetic points from real ones, for measuring; `discrepancies.py` has those to minimise.

A synthetic set is a finite measure and no sample: its points have weights, and its own term is the mean over all pairs,
each point with itself among them (a V-statistic). Scale and bandwidth come of the real points alone, so that every
synthetic set is measured by one rule; a loss may take them of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor

from ddbench.families.discrepancies import BANDWIDTHS, TINY

SHARPNESS = 0.05
"""regularisation of the Sinkhorn divergence, in units of the spread"""
MOST_UPDATES = 1000
"""updates of the potentials under the last regularisation, at most"""
SETTLED = 1e-6
"""change of the potentials, in units of the spread, below which they count as settled"""


class RealPoints:
    """Real points of equal weight, to which weighted synthetic ones are compared; all results are free of scale.

    Args:
        points: (N, F), at least two
    """

    def __init__(self, points: Tensor) -> None:
        self._points = points.double()
        count = len(points)
        self._weights = self._points.new_full((count,), 1 / count)
        self._within = squared_distances(self._points, self._points)
        self._spread = (self._within.sum() / (count * (count - 1))).clamp(min=TINY)  # of two different points

    def mmd_rbf(self, points: Tensor, weights: Tensor) -> Tensor:
        """Squared maximum mean discrepancy of a sum of Gaussian kernels, as `discrepancies.mmd_rbf`; ().

        Args:
            points: (M, F)
            weights: (M,), which add up to 1
        """
        points, weights = points.double(), weights.double()
        between = weights @ self._kernel(squared_distances(points, self._points)) @ self._weights
        own = weights @ self._kernel(squared_distances(points, points)) @ weights
        return (self._own_kernel - 2 * between + own).clamp(min=0)  # below by rounding alone

    def sliced_wasserstein(self, points: Tensor, weights: Tensor, directions: Tensor) -> Tensor:
        """Mean squared 2-Wasserstein distance along unit directions, (R, F), in units of the spread; ()."""
        ours, theirs = (directions.double() @ side.double().T for side in (self._points, points))  # (R, N), (R, M)
        return line_transport(ours, self._weights, theirs, weights.double()).mean() / self._spread

    def sinkhorn(self, points: Tensor, weights: Tensor, own: Tensor | None = None) -> Tensor:
        """Debiased Sinkhorn divergence for squared distances, in units of the spread; ().

        Feydy et al., "Interpolating between Optimal Transport and MMD using Sinkhorn Divergences", AISTATS 2019.

        Args:
            own: what `own_transport` gives, where it is known
        """
        points, weights = points.double(), weights.double()
        between = regularised_transport(self._costs(self._points, points), self._weights, weights)
        theirs = regularised_self_transport(self._costs(points, points), weights)
        return (between - ((self.own_transport if own is None else own) + theirs) / 2).clamp(min=0)

    @cached_property
    def own_transport(self) -> Tensor:
        """The cost of moving the real points to themselves under the regularisation; ()."""
        return regularised_self_transport(self._within / self._spread, self._weights)

    @cached_property
    def _own_kernel(self) -> Tensor:
        return self._weights @ self._kernel(self._within) @ self._weights

    def _kernel(self, squares: Tensor) -> Tensor:
        return torch.stack([torch.exp(-squares / (width * self._spread)) for width in BANDWIDTHS]).sum(0)

    def _costs(self, a: Tensor, b: Tensor) -> Tensor:
        return squared_distances(a, b) / self._spread


def gradient_cosine(real: Mapping[str, Tensor], synthetic: Mapping[str, Tensor]) -> Tensor:
    """Mean of 1 - cosine over the output units of all layers, ().

    It is `gradient_matching.layerwise_cosine` over the number of units, without those that real images leave without a
    gradient, and without what that adds to the norms.
    """
    units = []
    for name, gradient in real.items():
        if gradient.ndim > 1:
            a, b = (side.double().flatten(1) for side in (gradient, synthetic[name]))
            norms = a.norm(dim=1), b.norm(dim=1)
            cosine = (a * b).sum(1) / (norms[0] * norms[1]).clamp(min=torch.finfo(a.dtype).tiny)
            units.append((1 - cosine)[norms[0] > 0])
    return torch.cat(units).mean()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances of (N, F) and (M, F), (N, M), without the rounding of a matrix product."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def line_transport(ours: Tensor, weights: Tensor, theirs: Tensor, their_weights: Tensor) -> Tensor:
    """Squared 2-Wasserstein distances of weighted points on lines, (R,): the mean squared gap of equal quantiles.

    Args:
        ours: positions on each line, (R, N), with `weights`, (N,), which add up to 1
        theirs: (R, M), with `their_weights`, (M,)
    """
    sides = [_sorted(ours, weights), _sorted(theirs, their_weights)]
    cuts = torch.cat([ends for _, ends in sides], dim=1).clamp(max=1).sort(dim=1).values  # (R, N + M)
    shares = cuts.diff(dim=1, prepend=cuts.new_zeros(len(cuts), 1))
    middles = cuts - shares / 2  # of each piece of mass that moves as a whole
    a, b = (
        places.gather(1, torch.searchsorted(ends, middles).clamp(max=places.shape[1] - 1)) for places, ends in sides
    )
    return ((a - b).square() * shares).sum(1)


def regularised_transport(costs: Tensor, ours: Tensor, theirs: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """Entropic optimal transport by Sinkhorn's algorithm in the log domain: its dual value, ().

    Cuturi, "Sinkhorn Distances", NIPS 2013. The regularisation is the Kullback-Leibler divergence from independence; it
    is lowered by halves to `sharpness`. The potentials are updated in turn.

    Args:
        costs: (N, M)
        ours: weights, (N,), positive, which add up to 1; `theirs`, (M,), alike
    """
    f, g = costs.new_zeros(len(costs)), costs.new_zeros(costs.shape[1])
    for regularisation, updates in _regularisations(costs, sharpness):
        for _ in range(updates):
            before, f = f, _answer(costs, g, theirs, regularisation)
            g = _answer(costs.T, f, ours, regularisation)
            if float((f - before).abs().max()) < SETTLED:
                break
    return ours @ f + theirs @ g


def regularised_self_transport(costs: Tensor, weights: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """The same of points to themselves, (): both potentials are one, which is averaged with its update.

    Feydy et al., AISTATS 2019, section 3.1: it settles in some tens of updates.

    Args:
        costs: (N, N)
        weights: (N,), positive, which add up to 1
    """
    f = costs.new_zeros(len(costs))
    for regularisation, updates in _regularisations(costs, sharpness):
        for _ in range(updates):
            before, f = f, (f + _answer(costs, f, weights, regularisation)) / 2
            if float((f - before).abs().max()) < SETTLED:
                break
    return 2 * weights @ f


def _regularisations(costs: Tensor, sharpness: float) -> Iterator[tuple[float, int]]:
    """Yield regularisations, each half of that before, and the updates under each, at most."""
    regularisation = float(costs.max())
    while regularisation > sharpness:
        yield regularisation, 1
        regularisation /= 2
    yield sharpness, MOST_UPDATES


def _answer(costs: Tensor, potential: Tensor, weights: Tensor, regularisation: float) -> Tensor:
    """The potential of the rows, (N,), that answers that of the columns, (M,), whose weights are given."""
    return -regularisation * ((potential - costs) / regularisation + weights.log()).logsumexp(1)


def _sorted(places: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return sorted places, (R, N), and the mass up to and with each."""
    found = places.sort(dim=1)
    return found.values, weights[found.indices].cumsum(1)
