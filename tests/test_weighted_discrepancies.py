"""Discrepancies of weighted points: closed forms, textbooks by loops, a linear programme, and other packages."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from ddbench.compute.generators import seeded
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.gradient_matching import layerwise_cosine
from ddbench.families.weighted_discrepancies import (
    RealPoints,
    gradient_cosine,
    line_transport,
    regularised_transport,
    squared_distances,
)


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def even(count: int) -> Tensor:
    return torch.full((count,), 1 / count, dtype=torch.float64)


def some_weights(count: int, seed: int = 5) -> Tensor:
    drawn = torch.rand(count, generator=seeded(seed), dtype=torch.float64) + 0.1
    return drawn / drawn.sum()


def unit(count: int, width: int) -> Tensor:
    drawn = points(count, width, seed=9)
    return drawn / drawn.norm(dim=1, keepdim=True)


def spread(of: Tensor) -> float:
    """Mean squared distance of two different points, by loops."""
    pairs = [(a, b) for i, a in enumerate(of) for b in of[:i]]
    return float(sum((a - b).square().sum() for a, b in pairs)) / len(pairs)


def normal(mean: float, deviation: float, count: int = 2000) -> Tensor:
    """Evenly spaced quantiles of a normal distribution, (count, 1)."""
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return mean + deviation * math.sqrt(2) * torch.erfinv(2 * shares - 1)[:, None]


def all_three(real: RealPoints, other: Tensor, weights: Tensor) -> list[float]:
    found = real.mmd_rbf(other, weights), real.sinkhorn(other, weights)
    return [float(f) for f in (*found, real.sliced_wasserstein(other, weights, unit(7, other.shape[1])))]


# -- properties --------------------------------------------------------------------------------------------------------


def test_equal_sets_are_at_0_and_order_repetition_and_scale_do_not_matter() -> None:
    ours = points(30, 4)
    real = RealPoints(ours)
    assert all_three(real, ours.flip(0), even(30)) == pytest.approx([0, 0, 0], abs=1e-9)
    assert all_three(real, ours.repeat(2, 1), even(60)) == pytest.approx([0, 0, 0], abs=1e-9)
    theirs, weights = points(7, 4, seed=1) + 0.3, some_weights(7)
    found = all_three(real, theirs, weights)
    assert min(found) > 0.01
    assert all_three(RealPoints(50 * ours), 50 * theirs, weights) == pytest.approx(found, rel=1e-6)


def test_a_weight_is_as_good_as_a_repeated_point() -> None:
    real, theirs = RealPoints(points(20, 3)), points(3, 3, seed=1)
    weighted = all_three(real, theirs, torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64))
    assert all_three(real, theirs[[0, 0, 1, 2]], even(4)) == pytest.approx(weighted, rel=1e-6)


def test_scale_comes_of_the_real_points_alone() -> None:
    """A synthetic set that moves away is measured with the same kernels: by the formula, its discrepancy saturates."""
    ours = points(25, 3)
    far = RealPoints(ours).mmd_rbf(points(4, 3, seed=1) + 1e3, even(4))
    own = sum(
        float(torch.exp(-squared_distances(x, x) / (width * spread(ours))).mean())
        for width in (0.25, 0.5, 1, 2, 4)
        for x in (ours, points(4, 3, seed=1))
    )
    assert float(far) == pytest.approx(own)


# -- textbooks ---------------------------------------------------------------------------------------------------------


def test_mmd_by_loops() -> None:
    ours, theirs, weights = points(6, 3), points(4, 3, seed=1), some_weights(4)
    scale, total = spread(ours), 0.0
    signed = [(x, 1 / 6) for x in ours] + [(y, -float(w)) for y, w in zip(theirs, weights, strict=True)]
    for x, a in signed:
        for y, b in signed:
            square = float((x - y).square().sum())
            total += a * b * sum(math.exp(-square / (width * scale)) for width in (0.25, 0.5, 1, 2, 4))
    assert float(RealPoints(ours).mmd_rbf(theirs, weights)) == pytest.approx(total)


def test_the_sliced_distance_of_equal_weights_is_that_which_methods_minimise() -> None:
    ours, theirs, lines = points(9, 3), points(4, 3, seed=1), unit(5, 3)
    (expected,) = DISCREPANCIES["sliced_wasserstein"].between(ours[None], theirs[None], lines)
    found = RealPoints(ours).sliced_wasserstein(theirs, even(4), lines)
    assert float(found) == pytest.approx(float(expected) / spread(ours))


def test_normal_distributions_have_closed_forms() -> None:
    """W2^2 of N(m, s^2) and N(n, t^2) is (m - n)^2 + (s - t)^2; for E|x - x'|^2 = 2 s^2 that is the scale."""
    wide, narrow = normal(0, 2), normal(1, 0.5)
    squared = line_transport(wide.T, even(2000), narrow.T, even(2000))
    assert float(squared) == pytest.approx(1 + 1.5**2, rel=0.01)
    few = RealPoints(normal(0, 2, 300))
    found = few.sliced_wasserstein(normal(1, 0.5, 300), even(300), torch.ones(1, 1))
    assert float(found) == pytest.approx((1 + 1.5**2) / 8, rel=0.02)
    # a shift of a distribution costs its square, whatever the regularisation
    assert float(few.sinkhorn(normal(3, 2, 300), even(300))) == pytest.approx(9 / 8, rel=0.02)


def test_transport_with_little_regularisation_is_the_linear_programmes() -> None:
    costs = squared_distances(points(5, 2), points(4, 2, seed=1))
    ours, theirs = some_weights(5), some_weights(4, seed=6)
    rows = [np.kron(np.eye(5)[i], np.ones(4)) for i in range(5)] + [np.tile(np.eye(4)[j], 5) for j in range(4)]
    exact = linprog(costs.flatten().numpy(), A_eq=np.stack(rows), b_eq=torch.cat([ours, theirs]).numpy()).fun
    found = float(regularised_transport(costs, ours, theirs, 0.002))
    assert found == pytest.approx(exact, abs=0.02)


def test_geomloss_agrees() -> None:
    geomloss = pytest.importorskip("geomloss")  # whose cost is half of the squared distance
    ours, theirs, weights = points(40, 3), points(6, 3, seed=1) + 0.5, some_weights(6)
    blur = math.sqrt(0.05 * spread(ours) / 2)
    loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=blur, scaling=0.98, backend="tensorized")
    expected = 2 * float(loss(even(40), ours, weights, theirs)) / spread(ours)
    assert float(RealPoints(ours).sinkhorn(theirs, weights)) == pytest.approx(expected, rel=1e-3)


def test_the_sliced_distance_is_pots() -> None:
    ot = pytest.importorskip("ot")
    ours, theirs, weights, lines = points(40, 3), points(6, 3, seed=1) + 0.5, some_weights(6), unit(4, 3)
    masses = even(40).numpy(), weights.numpy()
    exact = [ot.wasserstein_1d((ours @ line).numpy(), (theirs @ line).numpy(), *masses, p=2) for line in lines]
    found = RealPoints(ours).sliced_wasserstein(theirs, weights, lines)
    assert float(found) == pytest.approx(np.mean(exact) / spread(ours))


# -- gradients ---------------------------------------------------------------------------------------------------------


def test_gradients_are_compared_unit_by_unit() -> None:
    real = {"a": torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]]), "bias": torch.tensor([1.0])}
    other = {"a": torch.tensor([[6.0, 8.0], [0.0, 2.0], [5.0, 5.0]]), "bias": torch.tensor([-1.0])}
    assert float(gradient_cosine(real, other)) == pytest.approx((0 + 1) / 2)  # a unit without a gradient does not count
    assert float(gradient_cosine(real, real)) == pytest.approx(0, abs=1e-12)
    tiny = {name: 1e-9 * value for name, value in real.items()}
    assert float(gradient_cosine(tiny, tiny)) == pytest.approx(0, abs=1e-12)


def test_the_gradient_cosine_is_the_loss_of_gradient_matching_a_unit() -> None:
    real, other = ({"w": 1e3 * points(6, 2, 3, 3, seed=s), "v": points(3, 6, seed=s + 2)} for s in (0, 1))
    assert float(gradient_cosine(real, other)) == pytest.approx(float(layerwise_cosine(real, other)) / 9, abs=1e-6)
