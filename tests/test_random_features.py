"""Random features: the kernel that they approximate, the gradient against a textbook's, and what is stored."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import Compiler, Weights
from ddbench.compute.generators import seeded
from ddbench.families.kernels.random_features import gaussian_weights, joined, random_kernel
from ddbench.families.kernels.regression import centred
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget, NetworkSpec
from ddbench.task.task import Task
from ddbench.testing import tiny_task
from methods.random_features import RandomFeatures
from tasks import random_task

TINY: dict[str, Any] = {"iterations": 1, "batch_real": 12, "networks": 2}


def distilled(method: RandomFeatures) -> DistilledDataset:
    return method.distill(tiny_task(), Meter(Budget(), snapshots=()))


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_features_of_wide_networks_have_the_covariance_of_infinitely_wide_ones() -> None:
    """One hidden layer: 2 E[relu(u) relu(v)] + 0.01 for Gaussians with covariance 2 xx' / d + 0.01, by Cho & Saul."""
    task = tiny_task(network=NetworkSpec(name="mlp", parameters={"depth": 1, "width": 4096}))
    images = task.real_init()[0]
    weights = [gaussian_weights(task, seeded(i)) for i in range(8)]
    features = joined([task.embed(each, images) for each in weights])
    assert features.shape == (6, 8 * 4096)
    before = 2 * images.flatten(1) @ images.flatten(1).T / 64 + 0.01
    deviations = before.diagonal().sqrt()
    angles = (before / deviations / deviations[:, None]).clamp(-1, 1).arccos()
    expected = deviations * deviations[:, None] / torch.pi * (angles.sin() + (torch.pi - angles) * angles.cos()) + 0.01
    torch.testing.assert_close(random_kernel(features, features), expected, rtol=0.03, atol=0.01)


def test_gaussian_weights_have_the_variances_of_their_layers() -> None:
    task = tiny_task(network=NetworkSpec(name="convnet", parameters={"depth": 2, "width": 64}))
    drawn = gaussian_weights(task, seeded(0))
    assert float(drawn["features.4.weight"].var()) == pytest.approx(2 / (9 * 64), rel=0.05)
    assert float(drawn["features.0.weight"].var()) == pytest.approx(2 / 9, rel=0.2)
    assert float(torch.cat([drawn["features.0.bias"], drawn["features.4.bias"]]).std()) == pytest.approx(0.1, rel=0.3)
    assert torch.equal(drawn["features.1.weight"], torch.ones(64))  # of a normalisation


def textbook(task: Task, made: Weights, networks: list[Weights], real: Tensor, classes: Tensor, platt: bool) -> Tensor:
    """The loss by the inverse of a kernel that is a mean over networks, each with as many features."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        found = [task.embed(weights, a) @ task.embed(weights, b).T / 5 for weights in networks]
        return 2 * sum(found[1:], found[0]) / len(networks) + 0.01

    within = kernel(made["images"], made["images"])
    raised = within + 5e-3 * within.trace() / len(within) * torch.eye(len(within), dtype=torch.float64)
    predicted = kernel(real, made["images"]) @ torch.linalg.inv(raised) @ made["targets"]
    if not platt:
        return ((predicted - centred(classes, 3)) ** 2).mean() / 2
    rows = [(made["log_scale"].exp() * row).log_softmax(0)[int(c)] for row, c in zip(predicted, classes, strict=True)]
    return -torch.stack(rows).mean()


@pytest.mark.parametrize("loss", ["platt", "squared"])
def test_the_gradient_is_that_of_a_textbook(loss: Any) -> None:
    task = random_task(12)
    networks = [{name: weight.double() for name, weight in task.initial().items()} for _ in range(3)]
    real, classes = task.real.take(torch.arange(12))
    made = {
        "images": task.real_init()[0].double(), "targets": numbers(6, 3),
        "log_scale": torch.tensor(0.4, dtype=torch.float64),
    }  # fmt: skip
    known = joined([task.embed(weights, real.double()) for weights in networks])
    objective = partial(RandomFeatures(loss=loss).objective, task)
    slopes, found = Compiler().gradient(objective)(made, networks, known, classes)
    leaves = {name: part.clone().requires_grad_() for name, part in made.items()}
    expected = textbook(task, leaves, networks, real.double(), classes, loss == "platt")
    torch.testing.assert_close(found, expected.detach())
    wanted = torch.autograd.grad(expected, list(leaves.values()), allow_unused=True)
    for name, slope in zip(leaves, wanted, strict=True):
        torch.testing.assert_close(slopes[name], torch.zeros_like(made[name]) if slope is None else slope)


def test_what_is_stored_is_what_the_map_of_pixels_makes() -> None:
    """A first step of AdaBelief moves every number by its step size times 10 / 9 down the slope."""
    method = RandomFeatures(**TINY, lr=1e-9, lr_map=0.01)
    artifact, task = distilled(method), tiny_task()
    images, labels = task.real_init()
    networks = [gaussian_weights(task, task.generator("networks")) for _ in range(2)]
    real, classes = task.real.batch(12, task.generator("real"))
    known = joined([task.embed(weights, real) for weights in networks])
    made = {"images": images, "targets": centred(labels, 3), "log_scale": torch.zeros(())}
    slopes, _ = Compiler().gradient(partial(method.objective, task))(made, networks, known, classes)
    slope = images.flatten(1).T @ slopes["images"].flatten(1)  # (D, D), of the map
    pixels = torch.eye(64) - 0.01 / 0.9 * slope.sign()
    torch.testing.assert_close(artifact.parts["images"].flatten(1), images.flatten(1) @ pixels, atol=0.02, rtol=0)
    assert float((artifact.parts["images"] - images).abs().max()) > 0.2
    assert artifact.label_kind == "targets"


def test_labels_that_are_not_learned_stay_classes() -> None:
    artifact = distilled(RandomFeatures(**TINY, learn_labels=False, lr=0.01, lr_map=0))
    images, classes = tiny_task().real_init()
    assert artifact.label_kind == "index"
    assert torch.equal(artifact.parts["labels"], classes)
    assert float((artifact.parts["images"] - images).abs().max()) == pytest.approx(0.01 / 0.9, rel=1e-2)


@pytest.mark.parametrize("loss", ["platt", "squared"])
def test_the_learned_set_of_noise_answers_real_images(loss: Any) -> None:
    settings: dict[str, Any] = {"batch_real": 60, "networks": 2, "init": "noise", "lr": 0.05, "loss": loss}
    start, artifact = (distilled(RandomFeatures(iterations=n, **settings)).decode() for n in (1, 40))
    task = tiny_task()
    real, answers = task.real.take(torch.arange(60))
    weights = gaussian_weights(task, seeded(5))

    def accuracy(images: Tensor, targets: Tensor) -> float:
        known, features = (joined([task.embed(weights, each)]) for each in (real, images))
        within = random_kernel(features, features) + 0.01 * torch.eye(len(images))
        predicted = random_kernel(known, features) @ torch.linalg.solve(within, targets)
        return float((predicted.argmax(1) == answers).float().mean())

    assert accuracy(*start) < 0.8
    assert accuracy(*artifact) > 0.9
