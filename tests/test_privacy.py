"""Differential privacy: the accountant against closed forms and integrals, and what a step takes from real images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, ndtr

from ddbench.compute.generators import Generators, seeded
from ddbench.errors import UserError
from ddbench.families.privacy import (
    BLOCK,
    ORDERS,
    bounded_features,
    epsilon,
    noise_multiplier,
    noisy_means,
    poisson_batch,
    renyi_divergences,
)
from ddbench.families.synthetic_set import SyntheticSet
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.task.hyperparameters import make_method
from methods.private_distribution_matching import PrivateDistributionMatching
from tasks import random_task

# -- accounting --------------------------------------------------------------------------------------------------------


def exact_delta(noise: float, steps: int, wanted: float) -> float:
    """Delta of so many Gaussian mechanisms: they are one with less noise. Balle & Wang, ICML 2018, theorem 8."""
    shift = math.sqrt(steps) / noise
    return float(ndtr(shift / 2 - wanted / shift) - math.exp(wanted) * ndtr(-shift / 2 - wanted / shift))


@pytest.mark.parametrize(("noise", "steps"), [(10.0, 50), (2.0, 1), (40.0, 3000)])
def test_whole_batches_cost_what_composed_gaussian_mechanisms_do(noise: float, steps: int) -> None:
    found = epsilon(1.0, noise, steps, 1e-5)
    assert exact_delta(noise, steps, found) <= 1e-5  # it holds
    assert exact_delta(noise, steps, 0.8 * found) > 1e-5  # and not by far
    orders = np.array(ORDERS)
    assert renyi_divergences(1.0, noise) == pytest.approx(orders / (2 * noise**2))


@pytest.mark.parametrize(("rate", "noise"), [(0.01, 1.0), (0.1, 0.7), (0.5, 2.0)])
def test_the_divergence_of_poisson_batches_is_the_integral(rate: float, noise: float) -> None:
    for order in (2, 5, 16):
        x, dx = np.linspace(-15 * noise, order + 15 * noise, 20_001, retstep=True)
        density = -(x**2) / (2 * noise**2) - math.log(noise * math.sqrt(2 * math.pi))  # logarithms
        ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * x - 1) / (2 * noise**2))
        found = float(renyi_divergences(rate, noise)[ORDERS.index(order)])
        assert found == pytest.approx((logsumexp(order * ratio + density) + math.log(dx)) / (order - 1), rel=1e-6)


def test_the_noise_is_the_least_that_keeps_epsilon() -> None:
    noise = noise_multiplier(2.0, 1e-5, 0.02, 500)
    assert epsilon(0.02, noise, 500, 1e-5) <= 2 < epsilon(0.02, noise - 2e-4, 500, 1e-5)
    assert noise < noise_multiplier(2.0, 1e-5, 0.02, 1000)
    assert epsilon(0.02, noise, 499, 1e-5) < epsilon(0.02, noise, 500, 1e-5)


def test_the_accountant_of_others_agrees() -> None:
    accounting = pytest.importorskip("dp_accounting")
    for rate, noise, steps in ((0.01, 1.0, 1000), (0.02, 0.8, 500), (1.0, 10.0, 50)):
        event = accounting.PoissonSampledDpEvent(rate, accounting.GaussianDpEvent(noise))
        theirs = accounting.rdp.RdpAccountant().compose(accounting.SelfComposedDpEvent(event, steps)).get_epsilon(1e-5)
        assert theirs <= epsilon(rate, noise, steps, 1e-5) <= 1.01 * theirs  # theirs has orders between whole ones


# -- what a step takes -------------------------------------------------------------------------------------------------


def test_each_image_is_drawn_by_a_chance_of_its_own() -> None:
    task = random_task(40, Generators("privacy"))
    counts = list[int]()
    for _ in range(50):
        images, labels, marks = poisson_batch(task, 0.3)
        count = int(marks.sum())
        assert marks.tolist() == [1.0] * count + [0.0] * (BLOCK - count)
        assert images.shape == (BLOCK, 1, 4, 4)
        assert labels.shape == (BLOCK,)
        counts.append(count)
    assert len(set(counts)) > 5  # sizes vary
    assert np.mean(counts) == pytest.approx(12, abs=3 * math.sqrt(40 * 0.3 * 0.7 / 50))
    assert int(poisson_batch(task, 1.0)[2].sum()) == 40
    assert int(poisson_batch(task, 1e-12)[2].sum()) == 0


def test_an_image_more_moves_the_sums_by_the_clipped_norm_at_most() -> None:
    features = bounded_features(lambda weights, images: images.flatten(1), clip=2.0)
    images = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.0, -5.0]])
    found = features({}, images)
    assert found.norm(dim=1).tolist() == pytest.approx([1.0, 0.5, 1.0])
    labels, expected = torch.tensor([0, 1, 0]), [2.0, 4.0]

    def sums(marks: list[float], noise: float = 0.0) -> torch.Tensor:
        means = noisy_means(found, labels, torch.tensor(marks), expected, noise, seeded(0))
        return means * torch.tensor(expected)[:, None]

    whole = sums([1, 1, 1])
    assert whole.tolist() == [pytest.approx([0.6, -0.2]), pytest.approx([0.3, 0.4])]
    for place in range(3):
        marks = [float(other != place) for other in range(3)]
        apart = whole - sums(marks)
        assert float(apart.norm()) <= 1 + 1e-6
        assert apart[1 - labels[place]].tolist() == [0.0, 0.0]  # the other class learns nothing of it


def test_the_noise_on_sums_has_its_deviation_and_no_mean() -> None:
    nothing = torch.zeros(1, 5000)
    means = noisy_means(nothing, torch.tensor([0]), torch.ones(1), [10.0, 20.0], 3.0, seeded(0))
    assert means.std(1).tolist() == pytest.approx([0.3, 0.15], rel=0.05)
    assert means.mean(1).tolist() == pytest.approx([0, 0], abs=0.02)


def test_a_step_compares_class_means_of_bounded_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """With whole batches and without noise: by hand, in another order of sums."""
    monkeypatch.setattr("methods.private_distribution_matching.noise_multiplier", lambda *given: 0.0)
    meter, task, twin = Meter(Budget()), random_task(12, Generators("step")), random_task(12, Generators("step"))
    PrivateDistributionMatching(iterations=1, rate=1.0, clip=0.5, augment=False).distill(task, meter)
    start, labels = SyntheticSet(twin, "pixels", "noise").images()
    weights, (images, classes) = twin.initial(), twin.real.take(range(12))
    total = 0.0
    for c in range(3):
        means = []
        for own in (images[classes == c], start[labels == c]):
            features = [twin.embed(weights, image[None])[0] for image in own]
            means.append(sum(one / max(float(one.detach().norm()), 0.5) for one in features) / len(own))
        total += float((means[0] - means[1]).detach().square().sum())
    assert meter.history["loss"][0][1] == pytest.approx(total, rel=1e-5)


def test_privacy_that_cannot_be_shown_is_refused() -> None:
    for name, value in (("epsilon", 0.0), ("delta", 0.0), ("delta", 1.0), ("rate", 1.5), ("clip", 0.0)):
        with pytest.raises(UserError, match=f"{name}={value} of private_distribution_matching"):
            make_method(PrivateDistributionMatching, {name: value})
    assert noise_multiplier(0.1, 1e-12, 1.0, 1) < 1e4  # the least that may be asked for is kept
