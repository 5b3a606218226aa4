"""Differential privacy of what a method takes from real images: Poisson batches, bounded features, and noise on sums.

Two training sets are neighbours where one has an image more. The class of an image, the sizes of classes and what
preprocessing takes of the whole set are treated as public.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.families.distribution_matching import Features

if TYPE_CHECKING:
    from ddbench.task.task import Task

ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 384, 512)
"""orders of Renyi divergences among which the best is taken"""
BLOCK = 64
"""batches are filled up to a multiple of it, so that few sizes are compiled"""
FINEST = 1e-4
"""step in which noise multipliers are rounded up"""
MOST_NOISE = 2.0**20


def renyi_divergences(rate: float, noise: float) -> NDArray[np.float64]:
    """Renyi divergences, of the orders `ORDERS`, of the noisy sum of a Poisson batch with an image more in the set.

    Mironov, Talwar & Zhang, "Renyi Differential Privacy of the Sampled Gaussian Mechanism", 2019, arXiv 1908.10530,
    section 3.3: exact, and the larger one of the two directions.

    Args:
        rate: chance of each image to be in the batch
        noise: standard deviation of the noise, for images of norm 1 or less
    """
    orders = np.array(ORDERS, dtype=np.float64)
    if rate == 1:
        return orders / (2 * noise**2)
    k = np.arange(orders.max() + 1)
    terms = _chances(rate) + k * (k - 1) / (2 * noise**2)  # (orders, k)
    found: NDArray[np.float64] = scipy.special.logsumexp(terms, axis=1) / (orders - 1)
    return found


@cache
def _chances(rate: float) -> NDArray[np.float64]:
    """Logarithms of the binomial probabilities of k among as many trials as an order has, (orders, k)."""
    orders = np.array(ORDERS)[:, None]
    k = np.arange(orders.max() + 1)
    possible = k <= orders
    others = np.where(possible, orders - k, 0)
    ways = scipy.special.gammaln(orders + 1) - scipy.special.gammaln(k + 1) - scipy.special.gammaln(others + 1)
    return np.where(possible, ways + k * math.log(rate) + others * math.log1p(-rate), -math.inf)


def epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    """The epsilon that so many steps on Poisson batches keep at this delta.

    Divergences of steps add up; they are converted as Canonne, Kamath & Steinke, "The Discrete Gaussian for
    Differential Privacy", NeurIPS 2020, arXiv 2004.00010, proposition 12, have it.
    """
    orders = np.array(ORDERS, dtype=np.float64)
    found = steps * renyi_divergences(rate, noise) + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)
    return max(0.0, float(found.min()))


@cache
def noise_multiplier(wanted: float, delta: float, rate: float, steps: int) -> float:
    """The least noise, for images of norm 1, with which so many steps keep an epsilon; rounded up.

    >>> epsilon(0.01, noise_multiplier(10.0, 1e-5, 0.01, 1000), 1000, 1e-5) <= 10
    True
    """
    low, high = FINEST, MOST_NOISE
    while high - low > FINEST / 4:
        middle = (low + high) / 2
        low, high = (low, middle) if epsilon(rate, middle, steps, delta) <= wanted else (middle, high)
    return round(math.ceil(high / FINEST) * FINEST, 4)


def poisson_batch(task: Task, rate: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw each training image with the same chance, independently of all others.

    Returns:
        Images, (N, C, H, W), their labels, (N,), and marks, (N,): 1, or 0 for what only fills up the batch.
    """
    chances = torch.rand(len(task.real), generator=task.generator("poisson", device="cpu"), dtype=torch.float64)
    positions = torch.nonzero(chances < rate).flatten()
    size = max(1, -(-len(positions) // BLOCK)) * BLOCK
    marks = (torch.arange(size) < len(positions)).float()
    images, labels = task.real.take(F.pad(positions, (0, size - len(positions))))
    return images, labels, marks.to(task.device, non_blocking=True)


def bounded_features(features: Features, clip: float) -> Features:
    """Features in units of `clip`, each image's shrunk to a norm of 1 where it has a larger one."""

    def bounded(weights: Weights, images: Tensor) -> Tensor:
        found = features(weights, images)
        norms: Tensor = found.norm(dim=1, keepdim=True)
        return found / norms.clamp(min=clip)

    return bounded


def noisy_means(
    features: Tensor, labels: Tensor, marks: Tensor, expected: Sequence[float], noise: float, generator: torch.Generator
) -> Tensor:
    """Class means of the features of a Poisson batch, (K, F): noisy sums over the expected numbers of images.

    An image more changes the sum of its own class alone, and by a norm of 1 or less.

    Args:
        features: (N, F), of norm 1 or less
        labels, marks: (N,), as `poisson_batch` gives them
        expected: number of images of each class that a batch has on average
        noise: standard deviation of the noise on each number of the sums
    """
    members = F.one_hot(labels, len(expected)).to(features.dtype) * marks[:, None]  # (N, K)
    sums = members.T @ features
    drawn = torch.randn(sums.shape, generator=generator, device=sums.device, dtype=sums.dtype)
    counts = torch.tensor(expected, dtype=sums.dtype).to(sums.device, non_blocking=True)
    return (sums + noise * drawn) / counts[:, None]
