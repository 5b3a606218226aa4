"""Evaluation networks trained at once get the weights that each gets alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.bench.cases import CASES, Setup
from ddbench.bench.ensemble import gradients_of_each, train_together
from ddbench.compute.compiling import Compiler, Weights
from ddbench.compute.generators import seeded
from ddbench.data import Preprocessing
from ddbench.evaluation.descent import Course, course_on, descend
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.registry import PROTOCOLS
from ddbench.testing import NETWORK, tiny_dataset
from tasks import setting_of

STEPS, NETWORKS = 10, 3
TRAINING = [name for name in PROTOCOLS if PROTOCOLS.get(name).kind == "train"]
ORDER = torch.tensor([[0, 1, 2], [5, 3, 4]])
RECIPES = {
    "nothing": Recipe(),
    "a step size": Recipe(lr=torch.tensor(0.05)),
    "an order": Recipe(order=ORDER, epochs=5),
    "all of it": Recipe(lr=torch.linspace(0.01, 0.1, 10), order=ORDER, epochs=5, momentum=0.5),
}


def evaluator_of(protocol: Protocol) -> ImageEvaluator:
    """An evaluator that trains in float64."""
    data = tiny_dataset()
    transform = Preprocessing.for_dataset(data).fit(data)
    where, setting = torch.device("cpu"), setting_of(NETWORK, data)
    evaluator = ImageEvaluator(data, transform, protocol, NETWORK, where, setting, Compiler())
    assert evaluator.chunks.most > STEPS  # found with numbers of float32
    evaluator.module.double()
    return evaluator


def courses_of(evaluator: ImageEvaluator, artifact: DistilledDataset) -> list[Course]:
    """The first steps of each network's training."""
    courses = [course_on(evaluator, artifact, seed) for seed in range(NETWORKS)]
    return [
        replace(
            course,
            schedule=replace(course.schedule, lrs=course.schedule.lrs[:STEPS]),
            batches=((images, exact(labels)) for images, labels in course.batches),
        )
        for course in courses
    ]


def exact(labels: Tensor) -> Tensor:
    return labels.double() if labels.is_floating_point() else labels


def compare(protocol: Protocol, artifact: DistilledDataset) -> None:
    evaluator = evaluator_of(protocol)
    alone = list[Weights]()
    for course in courses_of(evaluator, artifact):
        assert next(iter(course.weights.values())).dtype == torch.float64
        (weights,) = descend(evaluator, course)
        alone.append(weights)
    gradients = gradients_of_each(evaluator, courses_of(evaluator, artifact)[0].kind)
    together = train_together(gradients, courses_of(evaluator, artifact))
    for ours, own in zip(together, alone, strict=True):
        for name, weight in own.items():
            assert torch.allclose(ours[name], weight, rtol=0, atol=1e-9), name
    first, second = (torch.cat([weight.flatten() for weight in own.values()]) for own in alone[:2])
    assert not torch.allclose(first, second)


def images_of() -> Tensor:
    return torch.randn(6, 1, 8, 8, generator=seeded(0), dtype=torch.float64)


@pytest.mark.parametrize("name", TRAINING)
def test_under_every_protocol(name: str) -> None:
    early = {"decay_at": 0.004} if isinstance(PROTOCOLS.get(name).decay_at, float) else {}  # within the ten steps
    compare(replace(PROTOCOLS.get(name), **early), DistilledDataset.pixels(images_of(), torch.arange(6) % 3))


@pytest.mark.parametrize("recipe", RECIPES)
def test_on_learned_recipes(recipe: str) -> None:
    artifact = DistilledDataset.pixels(images_of(), torch.arange(6) % 3, recipe=RECIPES[recipe])
    compare(PROTOCOLS.get("own-recipe@1"), artifact)


@pytest.mark.parametrize("kind", ["probabilities", "logits", "targets", "weights"])
def test_on_soft_labels(kind: Any) -> None:
    labels = torch.rand(6, 3, generator=seeded(1))
    labels = labels / labels.sum(1, keepdim=True) if kind == "probabilities" else labels
    compare(PROTOCOLS.get("quick-300@1"), DistilledDataset.pixels(images_of(), labels, label_kind=kind))


def test_with_a_divergence_a_mixture_and_an_average() -> None:
    protocol = replace(PROTOCOLS.get("quick-300@1"), losses=(("kl", 1.0), ("squared_error", 0.5)), temperature=2.0)
    protocol = replace(protocol, optimizer="adamw", mixup=0.8, average=0.5)
    compare(protocol, DistilledDataset.pixels(images_of(), torch.arange(6) % 3))


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if not case.usual])
def test_the_cases_that_compare_ways_run(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddbench.bench.cases.NETWORKS", 2)
    monkeypatch.setattr("ddbench.bench.cases.EPOCHS", 3)
    monkeypatch.setattr("ddbench.bench.cases.Compiler", lambda enabled, capture=False: Compiler())
    setup = Setup(width=4, side=8, classes=2)
    next(CASES[case].textbook(setup))
    meter = Meter(Budget(steps=2), snapshots=())
    CASES[case].ours(setup, meter)
    assert meter.done == {"evaluation": 2}
