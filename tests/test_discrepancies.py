"""Discrepancies of features: by hand, against plain loops and scipy, and differentiated numerically."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from scipy import stats
from torch import Tensor

from ddbench.compute.generators import seeded
from ddbench.families.discrepancies import DISCREPANCIES, Name

NAMES = get_args(Name)
every_discrepancy = pytest.mark.parametrize("name", NAMES)
Points = list[list[float]]
NONE = torch.empty(0, 1)


def features(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def draws(name: Name, width: int, count: int = 7) -> Tensor:
    return DISCREPANCIES[name].draw(width, count, seeded(9)).double()


def between(name: Name, real: Tensor, synthetic: Tensor, drawn: Tensor) -> Tensor:
    return DISCREPANCIES[name].between(real, synthetic, drawn)


# -- textbooks: one class, plain lists --------------------------------------------------------------------------------


def dot(x: list[float], y: list[float]) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def squared(x: list[float], y: list[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def average(f: Callable[[list[float], list[float]], float], xs: Points, ys: Points) -> float:
    return sum(f(x, y) for x in xs for y in ys) / (len(xs) * len(ys))


def plain_mean(xs: Points, ys: Points, drawn: Points) -> float:
    centres = [[sum(column) / len(column) for column in zip(*points, strict=True)] for points in (xs, ys)]
    return squared(*centres)


def mean_squared_distance(points: Points) -> float:
    pairs = [(x, y) for i, x in enumerate(points) for y in points[:i]]
    return sum(squared(x, y) for x, y in pairs) / len(pairs)


def plain_mmd_rbf(xs: Points, ys: Points, drawn: Points, scale: float | None = None) -> float:
    scale = mean_squared_distance(xs + ys) if scale is None else scale

    def kernel(x: list[float], y: list[float]) -> float:
        return sum(math.exp(-squared(x, y) / (width * scale)) for width in (0.25, 0.5, 1, 2, 4))

    return average(kernel, xs, xs) - 2 * average(kernel, xs, ys) + average(kernel, ys, ys)


def plain_energy(xs: Points, ys: Points, drawn: Points) -> float:
    return 2 * average(math.dist, xs, ys) - average(math.dist, xs, xs) - average(math.dist, ys, ys)


def plain_sliced_wasserstein(xs: Points, ys: Points, drawn: Points) -> float:
    """Along each direction every point is repeated until both sets are as large; sorted ones then face each other."""
    size, total = math.lcm(len(xs), len(ys)), 0.0
    for direction in drawn:
        ours, theirs = (
            sorted(dot(point, direction) for point in points for _ in range(size // len(points))) for points in (xs, ys)
        )
        total += sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / size
    return total / len(drawn)


def plain_characteristic(xs: Points, ys: Points, drawn: Points) -> float:
    """As NCFM writes it, with amplitude and phase apart."""
    total = 0.0
    for frequency in drawn:
        p, q = (sum(cmath.exp(1j * dot(point, frequency)) for point in points) / len(points) for points in (xs, ys))
        amplitude = (abs(p) - abs(q)) ** 2
        phase = 2 * abs(p) * abs(q) * (1 - math.cos(cmath.phase(p) - cmath.phase(q)))
        total += math.sqrt((amplitude + phase) / 2)
    return total / len(drawn)


TEXTBOOK: dict[Name, Callable[[Points, Points, Points], float]] = {
    "mean": plain_mean,
    "mmd_rbf": plain_mmd_rbf,
    "energy": plain_energy,
    "sliced_wasserstein": plain_sliced_wasserstein,
    "characteristic": plain_characteristic,
}


@pytest.mark.parametrize(("n", "m"), [(6, 4), (4, 6), (5, 5), (7, 1), (1, 3), (9, 3)])
@every_discrepancy
def test_a_discrepancy_is_its_textbook(name: Name, n: int, m: int) -> None:
    real, synthetic, drawn = features(2, n, 3), features(2, m, 3, seed=1) + 0.3, draws(name, 3)
    expected = [TEXTBOOK[name](x.tolist(), y.tolist(), drawn.tolist()) for x, y in zip(real, synthetic, strict=True)]
    assert between(name, real, synthetic, drawn).tolist() == pytest.approx(expected, abs=1e-5, rel=1e-9)


@every_discrepancy
def test_single_precision_is_near_the_textbook(name: Name) -> None:
    real, synthetic, drawn = features(1, 8, 3), features(1, 5, 3, seed=1) + 0.3, draws(name, 3)
    expected = TEXTBOOK[name](real[0].tolist(), synthetic[0].tolist(), drawn.tolist())
    found = between(name, real.float(), synthetic.float(), drawn.float())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-3)


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_the_distance_of_means_by_hand() -> None:
    real, synthetic = torch.tensor([[[0.0, 0.0], [2.0, 4.0]]]), torch.tensor([[[4.0, 6.0]]])
    assert between("mean", real, synthetic, torch.empty(0, 2)).tolist() == [25]  # (1, 2) to (4, 6)


def test_the_maximum_mean_discrepancy_by_hand() -> None:
    # the one distance is 1, and so is its mean: kernels of exp(-1 / width)
    kernels = sum(math.exp(-1 / width) for width in (0.25, 0.5, 1, 2, 4))
    found = between("mmd_rbf", torch.tensor([[[0.0]]]), torch.tensor([[[1.0]]]), NONE)
    assert found.tolist() == pytest.approx([10 - 2 * kernels], rel=1e-6)


def test_the_unit_of_the_bandwidths_goes_with_the_features() -> None:
    real, synthetic = features(2, 5, 3), features(2, 4, 3, seed=1) + 1
    plain, scaled = (between("mmd_rbf", factor * real, factor * synthetic, NONE) for factor in (1, 1000))
    torch.testing.assert_close(plain, scaled)


def test_the_energy_distance_by_hand() -> None:
    # 2 * 1 - (0 + 2 + 2 + 0) / 4 - 0
    found = between("energy", torch.tensor([[[0.0], [2.0]]]), torch.tensor([[[1.0]]]), NONE)
    assert found.tolist() == pytest.approx([1], abs=1e-5)


@pytest.mark.parametrize(
    ("real", "synthetic", "directions", "distance"),
    [
        ([[0.0, 0], [3, 0]], [[1.0, 0]], [[1.0, 0]], 2.5),  # (1 + 4) / 2
        ([[0.0, 0], [3, 0]], [[1.0, 0]], [[1.0, 0], [0, 1]], 1.25),
        ([[0.0, 0], [6, 0]], [[6.0, 0], [0, 0], [3, 0]], [[1.0, 0]], 3),  # halves of the third in the middle: 3 * 3 / 3
        ([[0.0, 5], [1, 0]], [[1.0, 0], [0, 5]], [[0.6, 0.8]], 0),
    ],
)
def test_the_sliced_wasserstein_distance_by_hand(
    real: Points, synthetic: Points, directions: Points, distance: float
) -> None:
    found = between("sliced_wasserstein", *(torch.tensor(rows) for rows in ([real], [synthetic], directions)))
    assert found.tolist() == pytest.approx([distance], abs=1e-6)


def test_the_distance_of_characteristic_functions_by_hand() -> None:
    # at frequency pi the points 0 and 1 are 1 and -1, two apart; at frequency 0 nothing is
    frequencies = torch.tensor([[math.pi], [0.0]])
    found = between("characteristic", torch.tensor([[[0.0]]]), torch.tensor([[[1.0]]]), frequencies)
    assert found.tolist() == pytest.approx([2 / math.sqrt(2) / 2], abs=1e-6)


# -- scipy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(12, 5), (4, 4), (1, 8)])
def test_the_energy_distance_of_numbers_is_the_square_of_scipys(n: int, m: int) -> None:
    real, synthetic = features(1, n, 1), features(1, m, 1, seed=1) * 2 + 0.5
    expected = stats.energy_distance(real.flatten().numpy(), synthetic.flatten().numpy()) ** 2
    assert between("energy", real, synthetic, NONE).item() == pytest.approx(expected, abs=1e-5)


# -- what holds of all ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_discrepancy
def test_equal_sets_are_not_apart(name: Name, dtype: torch.dtype) -> None:
    real, drawn = features(3, 8, 5, dtype=dtype), draws(name, 5).to(dtype)
    assert between(name, real, real.clone(), drawn).abs().max() <= 1.001e-6


@every_discrepancy
def test_neither_order_nor_repetition_counts(name: Name) -> None:
    real, drawn = features(3, 8, 5), draws(name, 5)
    for same in (real[:, torch.randperm(8, generator=seeded(3))], real.repeat_interleave(3, 1)):
        assert between(name, real, same, drawn).abs().max() <= 1.001e-6


@every_discrepancy
def test_sets_apart_are_and_from_both_sides(name: Name) -> None:
    real, synthetic, drawn = features(2, 6, 4), features(2, 4, 4, seed=1) + 2, draws(name, 4)
    there, back = between(name, real, synthetic, drawn), between(name, synthetic, real, drawn)
    assert there.min() > 0.1
    torch.testing.assert_close(there, back)


@every_discrepancy
def test_each_class_is_compared_on_its_own(name: Name) -> None:
    real, synthetic, drawn = features(3, 6, 4), features(3, 5, 4, seed=1), draws(name, 4)
    whole = between(name, real, synthetic, drawn)
    assert whole.shape == (3,)
    alone = torch.cat([between(name, real[c : c + 1], synthetic[c : c + 1], drawn) for c in range(3)])
    torch.testing.assert_close(whole, alone)
    moved = synthetic.clone()
    moved[1] += 3
    assert (between(name, real, moved, drawn) - whole).abs().gt(1e-9).tolist() == [False, True, False]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mmd_rbf"])
def test_a_discrepancy_is_differentiated_correctly(name: Name) -> None:
    real, drawn = features(2, 5, 3), draws(name, 3, 4)
    synthetic = features(2, 4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda moved: between(name, real, moved, drawn), (synthetic,))


def test_the_maximum_mean_discrepancy_is_differentiated_at_fixed_bandwidths() -> None:
    real, synthetic = features(1, 5, 2), features(1, 4, 2, seed=1).requires_grad_()
    slope = torch.autograd.grad(between("mmd_rbf", real, synthetic, NONE).sum(), synthetic)[0]
    xs, ys = real[0].tolist(), synthetic[0].tolist()
    scale, step = mean_squared_distance(xs + ys), 1e-5
    for i in range(4):
        for j in range(2):
            sides = []
            for sign in (1, -1):
                moved = [list(point) for point in ys]
                moved[i][j] += sign * step
                sides.append(plain_mmd_rbf(xs, moved, [], scale))
            assert slope[0, i, j].item() == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-8)


@every_discrepancy
def test_slopes_stay_finite_where_points_coincide(name: Name) -> None:
    random, dead = features(1, 4, 3, dtype=torch.float32), torch.zeros(1, 4, 3)
    drawn = draws(name, 3).float()
    for real, points in ((random, random), (random, random[:, :1].expand(-1, 3, -1)), (dead, dead), (random, dead)):
        synthetic = points.clone().requires_grad_()
        slope = torch.autograd.grad(between(name, real, synthetic, drawn).sum(), synthetic)[0]
        assert bool(slope.isfinite().all())


@every_discrepancy
def test_a_summary_is_all_that_is_needed_of_the_real_features(name: Name) -> None:
    real, synthetic, drawn = features(2, 6, 4), features(2, 5, 4, seed=1), draws(name, 4)
    summary = DISCREPANCIES[name].summary(real)
    assert summary.shape == (2, 1 if name == "mean" else 6, 4)
    torch.testing.assert_close(between(name, summary, synthetic, drawn), between(name, real, synthetic, drawn))


# -- draws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mean", "mmd_rbf", "energy"])
def test_nothing_is_drawn_where_nothing_is_needed(name: Name) -> None:
    generator = seeded(0)
    before = generator.get_state()
    assert DISCREPANCIES[name].draw(5, 100, generator).shape == (0, 5)
    assert torch.equal(generator.get_state(), before)


def test_directions_are_unit_vectors_all_around() -> None:
    drawn = DISCREPANCIES["sliced_wasserstein"].draw(3, 3000, seeded(0))
    assert drawn.shape == (3000, 3)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(3000))
    assert drawn.mean(0).abs().max() < 0.05
    assert (drawn.T @ drawn / 3000 - torch.eye(3) / 3).abs().max() < 0.05


def test_frequencies_are_standard_normal() -> None:
    drawn = DISCREPANCIES["characteristic"].draw(2, 5000, seeded(0))
    assert drawn.shape == (5000, 2)
    assert stats.kstest(drawn.flatten().numpy(), "norm").pvalue > 0.01


@pytest.mark.parametrize("name", ["sliced_wasserstein", "characteristic"])
def test_draws_come_from_the_generator(name: Name) -> None:
    first, again, other = (DISCREPANCIES[name].draw(4, 6, seeded(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
