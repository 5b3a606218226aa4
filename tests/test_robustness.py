"""Attacks and robustness: closed forms on linear models, golden numbers of torchattacks, and networks on digits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ddbench.analyses.attacks import Attacked, Pgd, auto, cross_entropy, fgsm, margin
from ddbench.analyses.robustness import MARGIN, PGD, Robustness, attacked
from ddbench.analyses.subject import Subject
from ddbench.data import load_dataset
from ddbench.data.balanced import stratified
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from factories import toy
from test_analyses import subject_on

SIXTY = Protocol("sixty@1", "test", steps=60, batch_size=10)


def on_digits(networks: int = 1) -> Subject:
    """Networks trained for sixty steps on an image of each class."""
    made = subject_on(load_dataset("digits"), networks=networks)
    return replace(made, evaluator=replace(made.evaluator, protocol=SIXTY))


@dataclass(frozen=True)
class Given(Attacked):
    """A network that is a function of pixels."""

    function: Callable[[Tensor], Tensor]

    def logits(self, pixels: Tensor) -> Tensor:
        return self.function(pixels)


def given(function: Callable[[Tensor], Tensor]) -> Given:
    return Given(subject_on(toy()), {}, function)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def linear(classes: int) -> tuple[Given, Tensor, Tensor]:
    """A linear model, 200 images away from black and white, and their labels."""
    weights, pixels = drawn(0, classes, 16) - 0.5, 0.3 + 0.4 * drawn(1, 200, 1, 4, 4)
    network = given(lambda images: (images.flatten(1) - 0.5) @ weights.T)
    return replace(network, weights={"linear": weights}), pixels, network.logits(pixels).argmax(1)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The label's logit less each other class's, (N, K); infinite for its own."""
    found = logits.gather(1, labels[:, None]) - logits
    return found.scatter(1, labels[:, None], torch.inf)


def closed_form(network: Given, pixels: Tensor, labels: Tensor, eps: float) -> Tensor:
    """The smallest margin within the bound: margin - eps * ||w_y - w_j||_1, the least over classes j."""
    weights = network.weights["linear"]
    lengths = (weights[labels][:, None] - weights).abs().sum(2)  # (N, K)
    return (margins(network.logits(pixels), labels) - eps * lengths).amin(1)


# -- closed forms ------------------------------------------------------------------------------------------------------


def test_on_two_classes_of_a_linear_model_each_attack_reaches_the_closed_form() -> None:
    network, pixels, labels = linear(2)
    eps, start = 0.03, 2 * drawn(2, *pixels.shape) - 1
    best = closed_form(network, pixels, labels, eps)
    assert 0.2 < float((best > 0).double().mean()) < 0.8
    found = fgsm(network, pixels, labels, eps)
    torch.testing.assert_close(margins(network.logits(found), labels).amin(1), best, atol=1e-5, rtol=1e-4)
    for loss, steps in ((cross_entropy, 20), (margin, 50)):
        found = Pgd(loss, steps)(network, pixels, labels, eps, start)
        assert torch.equal(network.right(found, labels), best > 0)
        kept = best > 0  # others stop on the way
        torch.testing.assert_close(
            margins(network.logits(found), labels).amin(1)[kept], best[kept], atol=1e-5, rtol=1e-4
        )


def test_no_attack_finds_more_than_there_is_and_the_margin_finds_nearly_all() -> None:
    network, pixels, labels = linear(5)
    start = 2 * drawn(2, *pixels.shape) - 1
    truth = closed_form(network, pixels, labels, 0.02) > 1e-6
    found = network.right(MARGIN(network, pixels, labels, 0.02, start), labels)
    assert bool((found | ~truth).all())
    assert float((found & ~truth).double().mean()) <= 0.02


@pytest.mark.parametrize("eps", [0.1, 0.5])
def test_changes_keep_to_the_bound_and_to_pixels(eps: float) -> None:
    network, _, labels = linear(5)
    pixels, start = drawn(3, 200, 1, 4, 4), 2 * drawn(2, 200, 1, 4, 4) - 1
    made = [fgsm(network, pixels, labels, eps), *(a(network, pixels, labels, eps, start) for a in (PGD, MARGIN))]
    for found in made:
        assert float((found - pixels).abs().max()) <= eps + 1e-6
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert float((found - pixels).abs().max()) > 0.9 * eps


def test_the_margin_is_steep_where_cross_entropy_is_flat() -> None:
    network, pixels, labels = linear(2)
    sharp = replace(network, function=lambda images: 1e4 * network.function(images))
    flat, _ = sharp.slope(cross_entropy, pixels, labels)
    steep, right = sharp.slope(margin, pixels, labels)
    assert int((flat.flatten(1) == 0).all(1).sum()) > 50
    assert bool((steep != 0).any())
    assert bool(right.all())
    weights = network.weights["linear"]
    torch.testing.assert_close(steep.flatten(1), 1e4 * (weights[1 - labels] - weights[labels]))


# -- an independent implementation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("eps", "step", "descent"), [(0.02, 0.486, 0.4767), (0.03, 0.312, 0.2993)])
def test_accuracies_are_those_of_torchattacks(eps: float, step: float, descent: float) -> None:
    """The numbers are torchattacks 3.5.1's: FGSM, and PGD with 20 steps of eps / 4, mean over three random starts."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(32, 64, generator=generator) / 8
    second = torch.randn(10, 32, generator=generator) / 32**0.5
    network = given(lambda images: torch.relu((images.flatten(1) - 0.5) @ first.T) @ second.T)
    pixels = drawn(1, 500, 1, 8, 8)
    labels, start = network.logits(pixels).argmax(1), 2 * drawn(2, 500, 1, 8, 8) - 1
    found, curve = attacked(network, pixels, labels, [0.0, eps / 2, eps, 2 * eps], start)
    assert found["clean"] == 1.0
    assert found["fgsm"] == pytest.approx(step, abs=0.002)
    assert found["pgd"] == pytest.approx(descent, abs=0.01)
    assert found["robust"] <= min(found["fgsm"], found["pgd"], found["margin"])
    assert bool((curve[1:, 0] <= curve[:-1, 0]).all())


def test_retained_and_area_by_hand() -> None:
    """One pixel's sign decides: an image is lost as soon as eps reaches its distance from 0.5."""
    distances = torch.tensor([0.05, 0.15, 0.25, 0.35])
    pixels = torch.full((4, 1, 1, 1), 0.5) + distances[:, None, None, None]
    network = given(lambda images: torch.cat([0.5 - images.flatten(1), images.flatten(1) - 0.5], 1))
    labels = torch.tensor([1, 1, 1, 0])  # the last is wrong from the beginning
    found, curve = attacked(network, pixels, labels, [0.0, 0.1, 0.2, 0.4], torch.zeros_like(pixels))
    assert curve.tolist() == [[0.75] * 3, [0.5] * 3, [0.25] * 3, [0.0] * 3]
    assert found["robust"] == 0.25
    assert found["retained"] == pytest.approx(1 / 3)
    assert found["area"] == pytest.approx((0.1 * (3 + 2) / 2 + 0.1 * (2 + 1) / 2 + 0.2 * (1 + 0) / 2) / 3 / 0.4)
    wrong, _ = attacked(network, pixels, torch.tensor([0, 0, 0, 0]), [0.0, 0.1, 0.2], torch.zeros_like(pixels))
    assert wrong["clean"] == 0.0
    assert "retained" not in wrong


# -- samples and networks ----------------------------------------------------------------------------------------------


def test_a_sample_has_as_many_of_each_class_and_so_has_its_beginning() -> None:
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 3)[torch.randperm(73)]
    chosen = stratified(labels, 30, torch.Generator().manual_seed(0))
    assert len(set(chosen.tolist())) == 30
    assert torch.bincount(labels[chosen[:9]]).tolist() == [3, 3, 3]
    counts = torch.bincount(labels[chosen])
    assert counts[2] == 3
    assert abs(int(counts[0] - counts[1])) <= 1
    assert len(stratified(labels, 100, torch.Generator())) == 73


def test_robustness_on_digits() -> None:
    subject = on_digits()
    found = Robustness(images=20).analyse(subject.asked_by("robustness@1", lambda share: None))
    assert set(found.metrics) == {metric.name for metric in Robustness.measures} - {"auto"}
    assert all(metric.allows(v) for metric in Robustness.measures[:-1] for v in found.metrics[metric.name].values)
    means = {name: measure.mean for name, measure in found.metrics.items()}
    assert means["clean"] > 0.5
    assert means["clean"] >= means["fgsm"] >= means["pgd"] >= means["robust"]
    columns = found.series["curve"].columns
    assert columns["eps"] == pytest.approx([0, 0.05, 0.1, 0.2, 0.3])
    assert columns["accuracy"][2] == pytest.approx(means["robust"])
    assert list(Robustness.figure.points(found).values()) == columns["accuracy"]
    assert columns["accuracy"][-1] <= 0.1
    assert means["retained"] < 1


def test_eps_is_that_of_the_images_or_as_one_says() -> None:
    found = Robustness(images=6).analyse(subject_on(toy(), networks=1))
    assert found.series["curve"].columns["eps"] == pytest.approx([0, 1 / 255, 2 / 255, 4 / 255, 8 / 255])
    found = Robustness(images=6, eps=0.1).analyse(subject_on(toy(), networks=1))
    assert found.series["curve"].columns["eps"] == pytest.approx([0, 0.05, 0.1, 0.2, 0.4])


# -- AutoAttack --------------------------------------------------------------------------------------------------------


def test_autoattack_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(UserError, match=r"attacks=auto needs pyautoattack; pip install 'ddbench\[autoattack\]', or"):
        Robustness(attacks="auto").analyse(subject_on(toy()))


def test_autoattack_needs_four_classes() -> None:
    network, pixels, labels = linear(2)
    with pytest.raises(UserError, match="needs four classes, and the data have 3; leave attacks at pgd"):
        auto(network, pixels, labels, 0.1)


def test_autoattack_is_asked_as_its_authors_do(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class AutoAttack:
        def __init__(self, model: Any, **settings: Any) -> None:
            asked.update(settings)
            self.apgd_targeted, self.fab = SimpleNamespace(), SimpleNamespace()

        def run_standard_evaluation(self, pixels: Tensor, labels: Tensor, *, batch_size: int) -> tuple[Tensor, Tensor]:
            torch.manual_seed(asked["seed"])
            asked.update(images=len(pixels), targets=self.apgd_targeted.n_target_classes)
            return 1 - pixels, labels

    package = ModuleType("pyautoattack")
    package.AutoAttack = AutoAttack  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyautoattack", package)
    subject = on_digits()
    list(subject.trained())
    before = torch.get_rng_state()
    found = Robustness(images=20, attacks="auto", auto_images=10).analyse(subject)
    assert torch.equal(torch.get_rng_state(), before)
    assert asked == {"device": torch.device("cpu"), "eps": 0.1, "seed": 0, "images": 10, "targets": 9}
    assert found.metrics["auto"].mean <= 0.5  # negatives


@pytest.mark.slow
def test_autoattack_itself_finds_as_much() -> None:
    pytest.importorskip("pyautoattack")
    found = Robustness(images=20, attacks="auto", auto_images=20).analyse(on_digits())
    assert found.metrics["auto"].mean == pytest.approx(found.metrics["robust"].mean, abs=0.05)
