"""Neural feature regression: its meta-gradient against a textbook's, its pool of networks, and what it stores."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import Compiler
from ddbench.compute.generators import seeded
from ddbench.data import make_dataset
from ddbench.families.kernels.features import label_margin, predictions, with_mirrored
from ddbench.families.kernels.regression import centred
from ddbench.families.network_pool import OnlinePool
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.task.task import Task
from ddbench.testing import tiny_task
from methods.feature_regression import FeatureRegression
from tasks import PERCEPTRON, random_task

TINY: dict[str, Any] = {"iterations": 1, "batch_real": 12}


def distilled(method: FeatureRegression, task: Task | None = None) -> tuple[DistilledDataset, list[float]]:
    meter = Meter(Budget(), snapshots=())
    artifact = method.distill(task or tiny_task(), meter)
    return artifact, [loss for _, loss in meter.history["loss"]]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


# -- regression on features -------------------------------------------------------------------------------------------


def test_predictions_are_those_of_the_normal_equations() -> None:
    known, features, targets = numbers(7, 3), numbers(5, 3, seed=1), numbers(5, 2, seed=2)
    ridge = 0.1 * features.square().sum() / 5
    weights = torch.linalg.inv(features.T @ features + ridge * torch.eye(3)) @ features.T @ targets
    torch.testing.assert_close(predictions(known, features, targets, 0.1), known @ weights)
    inputs = [tensor.requires_grad_() for tensor in (known, features, targets)]
    assert torch.autograd.gradcheck(lambda *given: predictions(*given, 0.1), inputs)


def test_the_margin_of_labels_by_hand() -> None:
    targets = torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.2, 0.25]])
    assert float(label_margin(targets, 1.0)) == pytest.approx((0.8 + 0.05) / 2)
    assert float(label_margin(targets, 1 / 3)) == pytest.approx((1 / 3 + 0.05) / 2)


def test_mirrored_images_have_the_targets_of_their_originals() -> None:
    images, targets = torch.arange(8.0).view(2, 1, 2, 2), torch.eye(2)
    both, answers = with_mirrored(images, targets)
    assert both[2:].flatten(1).tolist() == [[1, 0, 3, 2], [5, 4, 7, 6]]
    assert torch.equal(answers, torch.cat([targets, targets]))


def textbook(task: Task, images: Tensor, targets: Tensor, weights: Any, real: Tensor, classes: Tensor) -> Tensor:
    """The loss of a last layer that is solved for in the space of weights, added up image by image."""
    seen, answered = torch.cat([images, images.flip(-1)]), torch.cat([targets, targets])
    features = task.embed(weights, seen)
    ridge = 1e-6 * features.square().sum() / len(features)
    gram = features.T @ features + ridge * torch.eye(features.shape[1], dtype=features.dtype)
    layer = torch.linalg.inv(gram) @ features.T @ answered
    total = torch.zeros((), dtype=torch.float64)
    for image, c in zip(real, classes.tolist(), strict=True):
        wanted = torch.tensor([(k == c) - 1 / task.classes for k in range(task.classes)], dtype=torch.float64)
        total = total + ((task.embed(weights, image[None]) @ layer - wanted) ** 2).sum() / 2 / len(real)
    for row in targets:
        ordered = row.sort().values
        total = total - torch.minimum(ordered[-1] - ordered[-2], torch.tensor(1 / task.classes)) / len(targets)
    return total


def test_the_meta_gradient_is_that_of_a_textbook() -> None:
    task = random_task(12)
    images, _ = task.real_init()
    real, classes = task.real.take(torch.arange(12))
    weights = {name: weight.double() for name, weight in task.initial().items()}
    made = {"images": images.double(), "targets": 0.3 * numbers(6, 3)}
    objective = partial(FeatureRegression(mirror=True).objective, task)
    known, answers = task.embed(weights, real.double()), centred(classes, 3).double()
    slopes, loss = Compiler().gradient(objective)(made, weights, known, answers)
    leaves = {name: part.clone().requires_grad_() for name, part in made.items()}
    expected = textbook(task, leaves["images"], leaves["targets"], weights, real.double(), classes)
    wanted = torch.autograd.grad(expected, list(leaves.values()))
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-6)
    for name, slope in zip(leaves, wanted, strict=True):
        torch.testing.assert_close(slopes[name], slope, rtol=1e-5, atol=1e-9)


# -- the pool ---------------------------------------------------------------------------------------------------------


def test_a_network_of_the_pool_trains_as_adam_does() -> None:
    task = random_task(12)
    pool, images, targets = OnlinePool(task, 1, 10, lr=0.01), task.real_init()[0], numbers(6, 3).float()
    weights = {name: weight.clone().requires_grad_() for name, weight in pool.next().items()}
    optimizer = torch.optim.Adam(weights.values(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        ((task.forward(weights, images) - targets) ** 2).sum(1).mean().div(2).backward()
        optimizer.step()
    pool.train(images, targets, steps=2)
    pool.train(images, targets)
    for name, weight in pool.next().items():
        torch.testing.assert_close(weight, weights[name].detach(), atol=1e-5, rtol=1e-4)


def test_networks_are_replaced_at_their_age(monkeypatch: pytest.MonkeyPatch) -> None:
    task, drawn = random_task(12), list[int]()
    initial = task.initial
    monkeypatch.setattr(task, "initial", lambda: (drawn.append(1), initial())[1])
    pool, images, targets = OnlinePool(task, 3, 9, lr=0.01, staggered=True), task.real_init()[0], torch.zeros(6, 3)
    assert len(drawn) == 3
    assert pool.state_dict()["ages"] == [0, 3, 6]
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: torch.tensor(2))
    seen = []
    for _ in range(5):
        before = pool.next()
        pool.train(images, targets)
        fresh = not torch.allclose(before["classifier.weight"], pool.next()["classifier.weight"], atol=0.05)
        seen.append((pool.state_dict()["ages"][2], fresh, len(drawn)))
    assert seen == [(7, False, 3), (8, False, 3), (0, True, 4), (1, False, 4), (2, False, 4)]


# -- the method -------------------------------------------------------------------------------------------------------


def test_images_and_labels_take_a_step_of_lamb() -> None:
    artifact, _ = distilled(FeatureRegression(**TINY, lr=0.01))
    images, classes = tiny_task().real_init()
    start = centred(classes, 3)
    found, targets = artifact.decode()
    assert artifact.label_kind == "targets"
    for old, new in ((images, found), (start, targets)):
        assert float((new - old).norm() / old.norm()) == pytest.approx(0.01, rel=1e-3)


def test_labels_that_are_not_learned_stay_classes() -> None:
    artifact, _ = distilled(FeatureRegression(**TINY, learn_labels=False, optimizer="adam", lr=0.01))
    images, classes = tiny_task().real_init()
    found, labels = artifact.decode()
    assert (artifact.label_kind, artifact.label_source) == ("index", "hard")
    assert torch.equal(labels, classes)
    assert float((found - images).abs().max()) == pytest.approx(0.01, rel=1e-2)


def test_the_step_size_falls_along_a_cosine_to_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, step = list[float](), torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: (sizes.append(self.param_groups[0]["lr"]), step(self))[1]
    )
    distilled(FeatureRegression(iterations=3, batch_real=4, optimizer="adam", lr=1.0, networks=1))
    assert sizes == pytest.approx([1.0, 0.775, 0.325])


def test_the_pool_trains_on_the_set_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[tuple[Tensor, Tensor]]()
    monkeypatch.setattr(OnlinePool, "train", lambda self, images, targets: given.append((images, targets)))
    artifact, _ = distilled(FeatureRegression(**TINY, batch_train=4))
    images, targets = artifact.decode()
    ((chosen, answers),) = given
    assert len(chosen) == 4
    places = [int((images == one).flatten(1).all(1).nonzero()[0]) for one in chosen]
    assert len(set(places)) == 4
    assert torch.equal(answers, targets[places])


def test_labels_of_many_classes_start_smaller() -> None:
    images = np.random.RandomState(0).randint(0, 256, (40, 4, 4), dtype=np.uint8)
    data = make_dataset("many", images, np.arange(40) % 20, images[:20], np.arange(20))
    task = tiny_task(ipc=1, data=data, network=PERCEPTRON)
    artifact, _ = distilled(FeatureRegression(**TINY, lr=1e-9), task)
    torch.testing.assert_close(artifact.decode()[1], 0.5**0.5 * centred(torch.arange(20), 20))


def test_regression_on_learned_noise_predicts_real_images() -> None:
    method = FeatureRegression(iterations=40, batch_real=60, optimizer="adam", lr=0.1, networks=2, init="noise")
    artifact, _ = distilled(method)
    start, _ = distilled(FeatureRegression(**TINY, lr=1e-9, init="noise"))
    task = tiny_task()
    real, answers = task.real.take(torch.arange(60))
    weights = task.initial(seeded(5))

    def accuracy(made: DistilledDataset) -> float:
        images, targets = made.decode()
        predicted = predictions(task.embed(weights, real), task.embed(weights, images), targets, 1e-6)
        return float((predicted.argmax(1) == answers).float().mean())

    assert accuracy(start) < 0.8
    assert accuracy(artifact) > 0.95
