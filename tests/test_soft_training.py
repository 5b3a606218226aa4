"""What protocols may ask of a training beyond plain descent: losses, schedules, averages and mixtures, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.compute.compiling import Weights
from ddbench.compute.generators import seeded
from ddbench.data import Preprocessing
from ddbench.errors import UserError
from ddbench.evaluation.augmentations import AUGMENTATIONS
from ddbench.evaluation.averaging import WeightAverage
from ddbench.evaluation.descent import course_on, descend, optimizer_of
from ddbench.evaluation.losses import training_loss
from ddbench.evaluation.mixing import mixup
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.schedule import Schedule, schedule_of
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.registry import PROTOCOLS
from ddbench.testing import tiny_dataset
from tasks import PERCEPTRON, setting_of

NONE = Recipe()
PLAIN = Protocol("p@1", "test", steps=10, restart=False, lr=2.0, decay_at=1.0)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def lrs(count: int = 10, **changes: Any) -> list[float]:
    return schedule_of(replace(PLAIN, **changes), NONE, count).lrs


# -- step sizes and lengths -------------------------------------------------------------------------------------------


def test_a_cosine_falls_from_the_end_of_the_warm_up_to_the_floor() -> None:
    made = lrs(steps=6, schedule="cosine", warm_up=2, floor=0.1)
    # 2 * (0.1 + 0.9 * (1 + cos(share * pi)) / 2) at shares 0, 1/4, 1/2, 3/4
    half = math.sqrt(0.5)
    assert made == pytest.approx([0.0, 1.0, 2.0, 0.2 + 0.9 * (1 + half), 1.1, 0.2 + 0.9 * (1 - half)])


def test_a_warm_up_stands_before_drops_too_and_may_be_longer_than_the_training() -> None:
    assert lrs(steps=4, warm_up=2, decay_at=0.75) == pytest.approx([0.0, 1.0, 2.0, 0.2])
    assert lrs(steps=3, schedule="cosine", warm_up=4) == pytest.approx([0.0, 0.5, 1.0])


def test_a_cosine_does_not_restart_the_momentum() -> None:
    assert schedule_of(replace(PLAIN, schedule="cosine", restart=True, decay_at=0.5), NONE, 10).drop is None


@pytest.mark.parametrize(
    ("count", "expected"), [(2, 1000), (10, 1000), (99, 1000), (100, 2000), (200, 20000), (500, 5000), (5000, 40000)]
)
def test_steps_by_the_number_of_images(count: int, expected: int) -> None:
    frepo = PROTOCOLS.get("frepo@1")
    made = schedule_of(frepo, NONE, count)
    assert len(made.lrs) == expected
    assert max(made.lrs) == made.lrs[500] == 3e-4
    assert made.lrs[250] == pytest.approx(1.5e-4)
    assert made.lrs[-1] == pytest.approx(3e-6, rel=0.01)
    assert (made.optimizer, made.average, made.weight_decay) == ("adam", 0.995, 0.0)
    assert len(schedule_of(frepo, NONE, count, short=True).lrs) == 1000


def test_the_soft_label_student_drops_at_each_quarter() -> None:
    made = schedule_of(PROTOCOLS.get("soft-label-3000@1"), NONE, 10)
    assert made.lrs == pytest.approx([0.01 * 0.3**quarter for quarter in range(4) for _ in range(750)])


def test_lengths_in_words_and_one_length_alone() -> None:
    assert [PROTOCOLS.get(name).length for name in ("quick-300@1", "dc-300@1", "rcig@1")] == [
        "300 steps", "301 epochs", "1000 to 2000 steps, by the number of images,",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="protocol p@1: give epochs or steps, one of the two"):
        replace(PLAIN, steps_by_size=((1, 5),))


def test_what_came_later_is_described_where_it_is_not_at_its_default() -> None:
    described = PROTOCOLS.get("frepo@1").describe()
    assert described["losses"] == [["squared_error", 1.0]]
    assert described["steps_by_size"][0] == [10, 1000]
    assert {"temperature", "mixup"}.isdisjoint(described)


# -- optimisers and averages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_keeps_its_decay_in_the_gradient_and_adamw_apart(name: Any) -> None:
    made, weight = Schedule([0.1], None, 0.9, 0.2, None, name), numbers(3)
    weights, reference = {"w": weight.clone()}, weight.clone().requires_grad_()
    cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    ours, theirs = optimizer_of(weights, made), cls([reference], lr=0.1, weight_decay=0.2)
    first, second, by_hand = torch.zeros(3), torch.zeros(3), weight.clone()
    for step in range(1, 4):
        slope = numbers(3, seed=step)
        weights["w"].grad, reference.grad = slope.clone(), slope.clone()
        ours.step()
        theirs.step()
        slope = slope + 0.2 * by_hand if name == "adam" else slope
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        if name == "adamw":
            by_hand = by_hand * (1 - 0.1 * 0.2)
        by_hand = by_hand - 0.1 * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    assert torch.equal(weights["w"], reference)
    torch.testing.assert_close(weights["w"], by_hand)


def test_the_average_is_debiased_and_the_start_has_no_part_in_it() -> None:
    average = WeightAverage(0.75)
    for value in (4.0, 8.0, 16.0):
        average.update({"w": torch.tensor(value)})
    expected = (0.25 * 16 + 0.75 * 0.25 * 8 + 0.75**2 * 0.25 * 4) / (1 - 0.75**3)
    assert float(average.of({"w": torch.tensor(16.0)})["w"]) == pytest.approx(expected)
    plain = WeightAverage(0.0)
    plain.update({"w": torch.tensor(1.0)})
    assert plain.of({"w": torch.tensor(2.0)}) == {"w": torch.tensor(2.0)}


def evaluator_of(protocol: Protocol) -> ImageEvaluator:
    data = tiny_dataset()
    transform = Preprocessing.for_dataset(data).fit(data)
    return ImageEvaluator(data, transform, protocol, PERCEPTRON, torch.device("cpu"), setting_of(PERCEPTRON, data))


def labelled(kind: Any = "index") -> DistilledDataset:
    labels = torch.arange(6) % 3 if kind == "index" else numbers(6, 3).float()
    return DistilledDataset.pixels(numbers(6, 1, 8, 8).float(), labels, label_kind=kind)


def test_a_training_scores_the_average_of_its_weights() -> None:
    def path(average: float) -> list[Weights]:
        evaluator = evaluator_of(replace(PLAIN, steps=3, lr=0.1, average=average))
        trained = descend(evaluator, course_on(evaluator, labelled(), 0), 3)
        return [{name: weight.clone() for name, weight in weights.items()} for weights in trained]

    steps, averages = path(0.0), path(0.5)
    for name, weight in averages[-1].items():
        expected = (steps[2][name] / 2 + steps[1][name] / 4 + steps[0][name] / 8) / (7 / 8)
        torch.testing.assert_close(weight, expected)


# -- losses -----------------------------------------------------------------------------------------------------------


def loss(logits: Tensor, labels: Tensor, kind: str, **changes: Any) -> Tensor:
    return training_loss(replace(PLAIN, **changes), logits, labels, kind)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence_from_itself_is_zero_with_no_gradient(temperature: float) -> None:
    logits = numbers(5, 3).requires_grad_()
    kl = {"losses": (("kl", 1.0),), "temperature": temperature}
    for labels, kind in ((logits.detach(), "logits"), (logits.detach().softmax(1), "probabilities")):
        value = loss(logits, labels, kind, **kl)
        (slope,) = torch.autograd.grad(value, logits)
        assert abs(float(value.detach())) < 1e-12
        assert float(slope.abs().max()) < 1e-12


def test_the_divergence_by_hand() -> None:
    logits, labels = numbers(4, 3), numbers(4, 3, seed=1)
    p, q = (labels / 2).softmax(1), (logits / 2).softmax(1)
    kl = {"losses": (("kl", 1.0),), "temperature": 2.0}
    assert float(loss(logits, labels, "logits", **kl)) == pytest.approx(float((p * (p / q).log()).sum(1).mean()))
    classes = torch.tensor([0, 2, 1, 1])
    assert float(loss(logits, classes, "index", **kl)) == pytest.approx(float(F.cross_entropy(logits / 2, classes)))


@pytest.mark.parametrize("kind", ["index", "probabilities", "logits", "targets", "weights"])
def test_a_mixture_is_the_weighted_sum(kind: str) -> None:
    logits = numbers(4, 3)
    labels = torch.tensor([0, 2, 1, 1]) if kind == "index" else numbers(4, 3, seed=1).abs()
    error, entropy = (loss(logits, labels, kind, losses=((name, 1.0),)) for name in ("squared_error", "cross_entropy"))
    both = loss(logits, labels, kind, losses=(("squared_error", 1.0), ("cross_entropy", 0.25)))
    assert float(both) == pytest.approx(float(error + 0.25 * entropy))


def test_squared_errors_and_cross_entropies_of_each_kind_of_labels() -> None:
    logits, labels = numbers(4, 3), numbers(4, 3, seed=1)
    classes = torch.tensor([0, 2, 1, 1])
    squares = {"losses": (("squared_error", 1.0),)}
    assert float(loss(logits, labels, "targets", **squares)) == pytest.approx(float((logits - labels).square().mean()))
    centred = F.one_hot(classes, 3) - 1 / 3
    assert float(loss(logits, classes, "index", **squares)) == pytest.approx(float((logits - centred).square().mean()))
    soft = labels.softmax(1) - 1 / 3
    assert float(loss(logits, labels, "logits", **squares)) == pytest.approx(float((logits - soft).square().mean()))
    entropy = {"losses": (("cross_entropy", 1.0),)}
    largest = F.cross_entropy(logits, labels.argmax(1))
    assert torch.equal(loss(logits, labels, "targets", **entropy), largest)
    weighted = -(labels * logits.log_softmax(1)).sum(1).mean()
    assert float(loss(logits, labels, "weights")) == pytest.approx(float(weighted))


@pytest.mark.parametrize("kind", ["targets", "weights"])
def test_labels_that_are_no_distribution_have_no_divergence(kind: str) -> None:
    evaluator = evaluator_of(replace(PLAIN, losses=(("kl", 1.0),)))
    with pytest.raises(
        UserError, match=f"p@1 minimises a divergence of distributions, and labels of kind '{kind}' are"
    ):
        evaluator.train(labelled(kind), 0)


# -- mixtures ---------------------------------------------------------------------------------------------------------


def test_mixup_mixes_images_and_labels_by_one_share() -> None:
    images, labels = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2), torch.eye(4)
    mixed, soft = mixup(images, labels, 0.8, seeded(3))
    again, _ = mixup(images, labels, 0.8, seeded(3))
    assert torch.equal(mixed, again)
    torch.testing.assert_close(mixed[:, 0, 0, 0], soft @ torch.arange(4.0))
    torch.testing.assert_close(soft.sum(1), torch.ones(4))
    assert len({round(float(share), 6) for share in soft[soft > 0]} - {1.0}) == 2  # a share and what is left of 1
    shares = [float(mixup(images, labels, 0.8, seeded(seed))[1].max(1).values.min()) for seed in range(200)]
    assert 0.68 < sum(shares) / len(shares) < 0.82  # 0.753 for the larger share of Beta(0.8, 0.8), some images unmixed


def test_classes_are_probabilities_once_they_are_mixed() -> None:
    evaluator = evaluator_of(replace(PLAIN, mixup=0.8))
    course = course_on(evaluator, labelled(), 0)
    _, labels = next(course.batches)
    assert course.kind == "probabilities"
    torch.testing.assert_close(labels.sum(1), torch.ones(6))
    assert course_on(evaluator, labelled("targets"), 0).kind == "targets"


def test_cutmix_of_a_protocol_mixes_every_batch_or_none() -> None:
    for probability in (0.0, 1.0):
        course = course_on(evaluator_of(replace(PLAIN, cutmix=probability)), labelled(), 0)
        drawn = [next(course.batches)[1] for _ in range(8)]
        assert course.kind == ("probabilities" if probability else "index")
        assert any(labels.ndim == 2 and bool(((labels > 0) & (labels < 1)).any()) for labels in drawn) == bool(
            probability
        )
        assert all(labels.ndim == 1 or torch.allclose(labels.sum(1), torch.ones(6)) for labels in drawn)


def test_flip_mirrors_half_of_the_images_and_no_digits() -> None:
    images = torch.arange(2.0).expand(400, 1, 1, 2)
    found = AUGMENTATIONS["flip"]("cifar10").apply(images, seeded(0))
    mirrored = found[:, 0, 0, 0] == 1
    assert bool(((found == images) | (found == images.flip(3))).all())
    assert 160 < int(mirrored.sum()) < 240
    assert torch.equal(AUGMENTATIONS["flip"]("svhn").apply(images, seeded(0)), images)


def test_rded_compares_softened_distributions() -> None:
    protocol = PROTOCOLS.get("rded-300@1")
    assert (protocol.losses, protocol.temperature, protocol.cutmix) == ((("kl", 1.0),), 20.0, 1.0)
    assert protocol.describe()["cutmix"] == 1.0
    assert "cutmix" not in PROTOCOLS.get("quick-300@1").describe()  # as records before have it
