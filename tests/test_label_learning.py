"""Methods that learn labels: their parts in closed form, and what they store."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.artifacts.checks import check_artifact
from ddbench.compute.generators import seeded
from ddbench.errors import UserError
from ddbench.families.ridge_learner import RidgeLearner, Stagnation, ridge_solution, with_bias
from ddbench.families.unrolling.unroll import Unroll
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.testing import tiny_task
from methods.label_distillation import LabelDistillation, project
from methods.random_real import RandomReal
from methods.soft_label_distillation import SoftLabelDistillation
from tasks import random_task

TINY: dict[str, Any] = {"iterations": 3, "epochs": 2, "batch_real": 6}


def meter() -> Meter:
    return Meter(Budget(), snapshots=())


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


# -- soft-label distillation ------------------------------------------------------------------------------------------


def test_labels_start_as_classes_and_become_numbers_of_either_sign() -> None:
    task = random_task(12)
    artifact = SoftLabelDistillation(**TINY).distill(task, meter())
    labels, start = artifact.parts["labels"], F.one_hot(torch.arange(6) % 3, 3).float()
    assert (artifact.label_kind, artifact.label_source) == ("weights", "static")
    assert bool((labels < 0).any())
    assert float((labels - start).abs().max()) <= 3 * 0.01 * 1.5  # Adam moves a number by about its step size
    assert artifact.recipe.order is not None
    assert artifact.recipe.order.tolist() == [list(range(6))]
    assert artifact.recipe.epochs == 2
    assert artifact.recipe.lr is not None
    assert artifact.recipe.lr.shape == (2,)


def test_the_first_step_follows_the_gradient_of_images_labels_and_step_sizes() -> None:
    """Adam's first step is the sign of the gradient, which finite differences give for labels."""
    method, task = SoftLabelDistillation(**TINY | {"iterations": 1}), random_task(12)
    artifact = method.distill(task, meter())
    again = random_task(12)
    synthetic = method._start(again)
    images, labels = synthetic.parts["images"].detach().double(), synthetic.parts["labels"].double()
    start = {name: weight.double() for name, weight in again.initial().items()}
    real, answers = again.real.batch(6, again.generator("real"))

    def outer(labels: Tensor) -> float:
        lr = torch.tensor(0.01, dtype=torch.float64)
        trained = Unroll(again.loss, again.compiler)(start, [(images, labels, lr)] * 2)
        return float(again.loss(trained, real.double(), answers).detach())

    moved = artifact.parts["labels"] - labels.float()
    for i, j in ((0, 0), (1, 2), (5, 1)):
        bump = torch.zeros_like(labels)
        bump[i, j] = 1e-4
        slope = (outer(labels + bump) - outer(labels - bump)) / 2e-4
        assert float(moved[i, j]) == pytest.approx(-0.01 if slope > 0 else 0.01, rel=0.02)


def test_fewer_images_than_classes() -> None:
    artifact = SoftLabelDistillation(**TINY, images=2).distill(random_task(12), meter())
    assert artifact.parts["images"].shape == (2, 1, 4, 4)
    assert artifact.parts["labels"].argmax(1).tolist() == [0, 1]
    check_artifact(artifact, (1, 4, 4), 3, 2)
    real = SoftLabelDistillation(**TINY | {"iterations": 1, "lr": 1e-12}, images=4, init="real")
    chosen = real.distill(random_task(12), meter()).parts["images"]
    start = RandomReal().distill(random_task(12), meter()).parts["images"]
    torch.testing.assert_close(chosen, start[[0, 2, 4, 1]])


def test_more_images_than_are_stored_are_refused() -> None:
    with pytest.raises(
        UserError, match="images=7 of soft_label_distillation are more than 3 classes x ipc 2; lower im"
    ):
        SoftLabelDistillation(**TINY, images=7).distill(random_task(12), meter())


# -- label distillation -----------------------------------------------------------------------------------------------


def test_the_ridge_solution_is_that_of_the_normal_equations() -> None:
    features, labels = with_bias(numbers(5, 3)), numbers(5, 2, seed=1)
    expected = torch.linalg.solve(features.T @ features + 0.7 * torch.eye(4), features.T @ labels)
    torch.testing.assert_close(ridge_solution(features, labels, 0.7), expected)
    inputs = features.requires_grad_(), labels.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: ridge_solution(x, y, 0.7), inputs)


def test_a_learner_takes_a_step_of_adam_on_all_but_the_last_layer() -> None:
    task = random_task(12)
    learner = RidgeLearner(task, 0.01, 0.1)
    images, labels = task.real_init()
    before, head = learner.features(images), torch.randn(6, 3, generator=seeded(0))
    assert before.shape == (6, 6)
    assert torch.equal(before[:, -1], torch.ones(6))
    assert torch.equal(learner.head, torch.zeros(6, 3))
    (slope,) = torch.autograd.grad(
        F.cross_entropy((scale := torch.ones((), requires_grad=True)) * (before @ head), labels), scale
    )
    learner.step(images, F.one_hot(labels, 3).float(), head)
    assert float(learner.scale) == pytest.approx(0.9 if slope > 0 else 1.1, rel=1e-4)
    assert not torch.equal(learner.features(images), before)
    assert learner.head is head


def test_stagnation_is_a_window_no_better_than_an_earlier_one() -> None:
    found, stagnation = list[bool](), Stagnation(2)
    for error in (0.9, 0.7, 0.6, 0.6, 0.5, 0.7, 0.1):
        found.append(stagnation.noted(torch.tensor(error)))
    assert found == [False, False, False, False, False, True, False]  # means 0.8, 0.6 and 0.6
    stagnation.reset()
    assert not any(stagnation.noted(torch.tensor(1.0)) for _ in range(2))


def test_labels_stay_probabilities() -> None:
    labels = torch.tensor([[0.5, 1.5, -1.0], [0.2, 0.2, 0.0]])
    project(labels)
    torch.testing.assert_close(labels, torch.tensor([[1 / 3, 2 / 3, 0.0], [0.5, 0.5, 0.0]]))


def test_learned_labels_of_real_images_find_their_classes() -> None:
    """A bar at a place of its own tells each class: learned labels agree with the true ones, unseen."""
    method = LabelDistillation(iterations=25, batch_images=6, batch_real=60, lr_labels=0.02, share=0.1, window=20)
    artifact = method.distill(tiny_task(), meter())
    assert torch.equal(artifact.parts["images"], RandomReal().distill(tiny_task(), meter()).parts["images"])
    assert artifact.parts["labels"].argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(artifact.parts["labels"].sum(1), torch.ones(6))
    assert (artifact.label_kind, artifact.label_source) == ("probabilities", "static")


def test_a_network_that_does_not_improve_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    renewals = list[int]()
    renew = RidgeLearner.renew
    monkeypatch.setattr(RidgeLearner, "renew", lambda self: (renewals.append(1), renew(self))[1])
    monkeypatch.setattr(Stagnation, "noted", lambda self, error: True)
    LabelDistillation(iterations=3, batch_images=4, batch_real=8).distill(tiny_task(), meter())
    assert len(renewals) == 4  # one before the first step
