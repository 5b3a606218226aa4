"""Methods that learn for kernel ridge regression: their loss written out, and the closed form that one converges to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.families.kernels.named import KERNELS
from ddbench.families.kernels.regression import centred, coefficients, exact
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.task.task import Task
from ddbench.testing import tiny_task
from methods.kernel_inducing_points import KernelInducingPoints
from methods.label_solve import LabelSolve

ALL = 60
"""training images of the tiny task: a batch of as many has them all, whatever is drawn"""


def distilled(method: Any, task: Task | None = None) -> tuple[DistilledDataset, list[float]]:
    """Return an artefact, and the loss of every step."""
    meter = Meter(Budget())
    artifact = method.distill(task or tiny_task(), meter)
    return artifact, [loss for _, loss in meter.history["loss"]]


def loss_of(images: Tensor, targets: Tensor, regulariser: float = 1e-6) -> Tensor:
    """The loss of targets (n, K) for images (n, C, H, W) on all training images, by the matrix inverse."""
    task = tiny_task()
    real, labels = task.real.take(torch.arange(len(task.real)))
    kernel, images = KERNELS["fc"], exact(images)
    within = kernel(images, images)
    ridge = regulariser * within.trace() / len(images) * torch.eye(len(images), dtype=torch.float64)
    predicted = kernel(exact(real), images) @ torch.linalg.inv(within + ridge) @ targets.double()
    return ((predicted - centred(labels, 3)) ** 2).mean() / 2


@pytest.mark.parametrize("learn", ["images", "labels", "both"])
def test_kip_learns_what_it_is_to_learn_and_lowers_its_loss(learn: Any) -> None:
    artifact, losses = distilled(KernelInducingPoints(learn=learn, iterations=6, batch_target=ALL))
    images, labels = tiny_task().real_init()
    found, targets = artifact.decode()
    assert losses[0] == pytest.approx(float(loss_of(images, centred(labels, 3))), rel=1e-4)
    assert losses[-1] < losses[0]
    assert torch.equal(found, images) == (learn == "labels")
    assert artifact.label_kind == ("index" if learn == "images" else "targets")
    if learn == "images":
        assert torch.equal(targets, labels)
    else:
        assert not torch.allclose(targets, centred(labels, 3), atol=0.01)


def test_the_first_step_of_kip_is_that_of_adam_down_the_slope() -> None:
    images, labels = tiny_task().real_init()
    leaf = images.clone().requires_grad_()
    loss_of(leaf, centred(labels, 3)).backward()
    assert leaf.grad is not None
    artifact, _ = distilled(KernelInducingPoints(iterations=1, batch_target=ALL))
    moved, size = artifact.decode()[0] - images, leaf.grad.abs()
    clear = size > 0.01 * size.max()
    assert clear.float().mean() > 0.5
    expected = -0.04 * leaf.grad / (size + 1e-8)
    torch.testing.assert_close(moved[clear], expected[clear], atol=1e-3, rtol=0)


def test_a_batch_of_kip_has_equally_many_images_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    task, asked = tiny_task(), list[tuple[int, list[int]]]()
    batch = type(task.real).batch

    def noted(self: Any, n: int, generator: torch.Generator, of: Any = None) -> tuple[Tensor, Tensor]:
        images, labels = batch(self, n, generator, of)
        asked.append((n, labels.bincount().tolist()))
        return images, labels

    monkeypatch.setattr(type(task.real), "batch", noted)
    distilled(KernelInducingPoints(iterations=1, batch_target=14), task)
    distilled(KernelInducingPoints(iterations=1, batch_target=5000), task)
    assert asked[1] == (4, [4, 4, 4])  # after the initial images
    assert asked[3] == (1666, [20, 20, 20])  # all that there are


def test_label_solve_keeps_its_images_and_has_no_slope_in_its_labels() -> None:
    artifact, (loss,) = distilled(LabelSolve(iterations=1, batch_target=ALL))
    images, labels = artifact.decode()
    own, classes = tiny_task().real_init()
    assert torch.equal(images, own)
    assert artifact.label_kind == "targets"
    solved, start = labels.double().requires_grad_(), centred(classes, 3).double().requires_grad_()
    found, before = loss_of(images, solved), loss_of(images, start)
    (slope,), (steep,) = torch.autograd.grad(found, solved), torch.autograd.grad(before, start)
    assert slope.norm() < 1e-5 * steep.norm()
    assert loss == pytest.approx(found.item(), rel=1e-6)
    assert loss < 0.9 * before.item()


def test_label_solve_is_the_pseudo_inverse_over_all_of_its_batches() -> None:
    task = tiny_task()
    artifact, _ = distilled(LabelSolve(iterations=3, batch_target=12), task)
    again = tiny_task()
    images = exact(again.real_init()[0])
    drawn = [again.real.batch(4, again.generator("real"), of=range(3)) for _ in range(3)]
    across = KERNELS["fc"](exact(torch.cat([real for real, _ in drawn])), images)
    design = coefficients(KERNELS["fc"](images, images), across.T, 1e-6).T
    answers = centred(torch.cat([labels for _, labels in drawn]), 3)
    expected = np.linalg.pinv(design.numpy()) @ answers.double().numpy()
    assert artifact.decode()[1].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_kip_of_labels_alone_converges_to_label_solve() -> None:
    solved, (least,) = distilled(LabelSolve(iterations=1, batch_target=ALL))
    learned, losses = distilled(KernelInducingPoints(learn="labels", iterations=100, batch_target=ALL))
    start = loss_of(solved.decode()[0], centred(tiny_task().real_init()[1], 3))
    assert losses[-1] - least < 2e-3 * (start.item() - least)
    torch.testing.assert_close(learned.decode()[1], solved.decode()[1], atol=0.02, rtol=0)
