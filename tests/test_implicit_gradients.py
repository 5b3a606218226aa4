"""Implicit gradients: the inner problem against a textbook's, and gradients through its solution.

They equal the closed form where the network is one dense layer, and finite differences otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.compute.compiling import Weights
from ddbench.compute.generators import Generators, seeded
from ddbench.errors import UserError
from ddbench.families.kernels.features import predictions
from ddbench.families.kernels.regression import centred
from ddbench.families.linearised_training import MATRIX, LinearisedTraining, bounded, descended
from ddbench.families.network_pool import OnlinePool
from ddbench.families.searched_step_size import SearchedStepSize
from ddbench.families.synthetic_set import SyntheticSet
from ddbench.meter.meter import Meter
from ddbench.networks import build_network
from ddbench.networks.base import Network
from ddbench.records.cell import Budget
from ddbench.task.task import Task
from ddbench.testing import tiny_task
from methods.implicit_gradients import ImplicitGradients
from tasks import random_task

RIDGE, IMAGES, CLASSES = 0.05, 4, 3
CPU = torch.device("cpu")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


class OneLayer(Network):
    """One dense layer on the pixels: its features are the pixels, and only its bias changes."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(16, CLASSES))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "one layer": OneLayer,
    "mlp": lambda: build_network("mlp", (1, 4, 4), CLASSES, {"depth": 1, "width": 5}),
    "convnet": lambda: build_network("convnet", (1, 4, 4), CLASSES, {"depth": 1, "width": 2, "norm": "none"}),
}


class Problem:
    """A synthetic set, real images and a network in float64, and their inner and outer losses as the paper has them."""

    def __init__(self, network: str, mirror: bool = False) -> None:
        base, module = random_task(12), NETWORKS[network]()
        self.task = Task(
            base.real, module, shape=base.shape, classes=CLASSES, ipc=2, setting=base.setting,
            augmentation=base.augmentation, generators=Generators("tiny"), device=CPU,
        )  # fmt: skip
        self.weights: Weights = {
            name: 0.5 * numbers(*like.shape, seed=i) for i, (name, like) in enumerate(self.task.like.items())
        }
        real, self.classes = base.real.take(torch.arange(9))
        self.real, self.mirror = real.double(), mirror
        self.made: Weights = {
            "images": numbers(IMAGES, 1, 4, 4, seed=7), "targets": numbers(IMAGES, CLASSES, seed=8),
            "log_scale": torch.tensor(0.3, dtype=torch.float64),
        }  # fmt: skip
        self.training = LinearisedTraining(self.task, RIDGE, mirror)
        self.names = [name for name in self.weights if name != MATRIX]

    def set(self, made: Weights) -> tuple[Tensor, Tensor]:
        images, targets = made["images"], made["targets"]
        if self.mirror:
            images, targets = torch.cat([images, images.flip(-1)]), torch.cat([targets, targets])
        return images, targets

    def jacobian(self, images: Tensor) -> Tensor:
        """Derivatives of logits in all weights but the last matrix, (n, K, P)."""

        def logits(moved: Weights) -> Tensor:
            return self.task.forward({**self.weights, **moved}, images)

        found = torch.func.jacrev(logits)({name: self.weights[name] for name in self.names})
        return torch.cat([found[name].flatten(2) for name in self.names], 2)

    def layer(self, made: Weights, change: Tensor) -> Tensor:
        """The last layer that is solved for, (F, K), by the normal equations."""
        images, targets = self.set(made)
        h, rest = self.task.embed(self.weights, images), targets - self.jacobian(images) @ change
        gram = h.T @ h + RIDGE * IMAGES * torch.eye(h.shape[1], dtype=torch.float64)
        return torch.linalg.inv(gram) @ h.T @ rest

    def inner(self, made: Weights, change: Tensor) -> Tensor:
        images, targets = self.set(made)
        layer = self.layer(made, change)
        answered = self.jacobian(images) @ change + self.task.embed(self.weights, images) @ layer
        squares = (layer**2).sum() + (change**2).sum()
        return (((targets - answered) ** 2).sum() / 2 + RIDGE * IMAGES / 2 * squares) / targets.numel()

    def outer(self, made: Weights, change: Tensor) -> Tensor:
        answered = self.jacobian(self.real) @ change + self.task.embed(self.weights, self.real) @ self.layer(
            made, change
        )
        ordered = made["targets"].sort(1).values
        margin = (ordered[:, -1] - ordered[:, -2]).clamp(max=1 / 6).mean()
        return F.cross_entropy(made["log_scale"].exp() * answered, self.classes) - margin

    def hessian(self, made: Weights) -> Tensor:
        start = torch.zeros(self.size, dtype=torch.float64)
        found: Tensor = torch.func.hessian(lambda change: self.inner(made, change))(start)
        return found

    def solution(self, made: Weights) -> Tensor:
        """The change of weights that minimises the inner loss, (P,)."""
        start = torch.zeros(self.size, dtype=torch.float64)
        slope = torch.func.grad(lambda change: self.inner(made, change))(start)
        return -torch.linalg.solve(self.hessian(made), slope)

    @property
    def size(self) -> int:
        return sum(self.weights[name].numel() for name in self.names)

    def named(self, vector: Tensor) -> Weights:
        sizes = [self.weights[name].numel() for name in self.names]
        parts = zip(self.names, vector.split(sizes), strict=True)
        return {name: part.view_as(self.weights[name]) for name, part in parts}

    def flat(self, weights: Weights) -> Tensor:
        return torch.cat([weights[name].flatten() for name in self.names])

    def total_gradient(self) -> Weights:
        """What the parts under test give, with the inner problem and the product solved exactly."""
        change = self.solution(self.made)
        outer = self.training.outer(self.weights, self.made, self.named(change), self.real, self.classes)
        product = torch.linalg.solve(self.hessian(self.made), self.flat(outer.change))
        implicit = self.training.implicit(self.weights, self.made, self.named(change), self.named(product))
        return {name: outer.direct[name] + implicit.get(name, 0.0) for name in outer.direct}


# -- the inner problem ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_inner_loss_and_its_hessian_are_those_of_the_paper(network: str, mirror: bool) -> None:
    problem = Problem(network, mirror)
    images, targets = problem.set(problem.made)
    inverse = problem.training._inverse(problem.weights, images)
    change, v = numbers(problem.size, seed=3), numbers(problem.size, seed=4)
    found = problem.training._inner_loss(problem.named(change), problem.weights, images, targets, inverse)
    torch.testing.assert_close(found, problem.inner(problem.made, change))
    zeros = torch.zeros_like(targets)
    product, half = problem.training._inner(problem.named(v), problem.weights, images, zeros, inverse)
    hessian = problem.hessian(problem.made)
    torch.testing.assert_close(problem.flat(product), hessian @ v)
    torch.testing.assert_close(half, v @ hessian @ v / 2)


def test_steps_of_adam_lead_to_the_solution_and_to_the_product_with_the_inverse_hessian() -> None:
    problem = Problem("one layer")
    lr = torch.tensor(0.003)
    change, losses = problem.training.fit(problem.weights, problem.made, 400, lr)
    torch.testing.assert_close(problem.flat(change), problem.solution(problem.made), atol=1e-3, rtol=0)
    assert float(losses[0]) == pytest.approx(float(problem.inner(problem.made, torch.zeros(3, dtype=torch.float64))))
    vector, hessian = 0.01 * numbers(3, seed=5), problem.hessian(problem.made)
    product, values = problem.training.inverse_product(problem.weights, problem.made, problem.named(vector), 400, lr)
    solved = torch.linalg.solve(hessian, vector)
    torch.testing.assert_close(problem.flat(product), solved, atol=1e-3, rtol=0)
    assert float(values[0]) == 0
    assert float(values[-1]) == pytest.approx(float(-vector @ solved / 2), rel=1e-3)


# -- gradients through its solution -----------------------------------------------------------------------------------


def test_the_gradient_is_that_of_the_closed_form_for_one_dense_layer() -> None:
    """Only the bias b changes, with x the pixels and P = (xx' + r)^-1: b = y'P1 / (1'P1 + 1)."""
    problem = Problem("one layer")
    leaves = {name: part.clone().requires_grad_() for name, part in problem.made.items()}
    x, y, ones = leaves["images"].flatten(1), leaves["targets"], torch.ones(IMAGES, 1, dtype=torch.float64)
    inverse = torch.linalg.inv(x @ x.T + RIDGE * IMAGES * torch.eye(IMAGES, dtype=torch.float64))
    bias = (y.T @ inverse @ ones / (ones.T @ inverse @ ones + 1)).flatten()
    torch.testing.assert_close(bias.detach(), problem.solution(problem.made))
    answered = bias + problem.real.flatten(1) @ x.T @ inverse @ (y - bias)
    ordered = y.sort(1).values
    margin = (ordered[:, -1] - ordered[:, -2]).clamp(max=1 / 6).mean()
    loss = F.cross_entropy(leaves["log_scale"].exp() * answered, problem.classes) - margin
    expected = torch.autograd.grad(loss, list(leaves.values()))
    found = problem.total_gradient()
    for name, slope in zip(leaves, expected, strict=True):
        torch.testing.assert_close(found[name], slope)
    change = problem.named(bias.detach())
    direct = problem.training.outer(problem.weights, problem.made, change, problem.real, problem.classes)
    assert float(direct.loss) == pytest.approx(float(loss.detach()))
    assert not torch.allclose(direct.direct["images"], expected[0], rtol=0.01)


@pytest.mark.parametrize(("network", "mirror"), [("mlp", False), ("mlp", True), ("convnet", False)])
def test_the_gradient_is_that_of_finite_differences(network: str, mirror: bool) -> None:
    problem = Problem(network, mirror)
    found = problem.total_gradient()

    def loss(name: str, place: int, by: float) -> float:
        moved = {key: part.clone() for key, part in problem.made.items()}
        moved[name].view(-1)[place] += by
        return float(problem.outer(moved, problem.solution(moved)))

    for name, place in [
        ("images", 0),
        ("images", 21),
        ("images", 63),
        ("targets", 1),
        ("targets", 11),
        ("log_scale", 0),
    ]:
        slope = (loss(name, place, 1e-5) - loss(name, place, -1e-5)) / 2e-5
        assert float(found[name].view(-1)[place]) == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_a_gradient_is_shortened_to_the_length_of_another() -> None:
    three, ten, zero = torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0]), torch.zeros(2)
    assert bounded(ten, by=three).tolist() == pytest.approx([3.0, 4.0])
    assert bounded(three, by=ten).tolist() == pytest.approx([3.0, 4.0])
    assert bounded(zero, by=ten).tolist() == [0, 0]
    assert bounded(torch.tensor([torch.nan, 1.0]), by=ten).tolist() == [0, 0]


def test_a_network_whose_last_layer_is_not_one_layer_is_refused() -> None:
    class Deep(Network):
        def __init__(self) -> None:
            super().__init__(nn.Flatten(), nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, CLASSES)))

    base = random_task(12)
    task = Task(
        base.real, Deep(), shape=base.shape, classes=CLASSES, ipc=2, setting=base.setting,
        augmentation=base.augmentation, generators=Generators("tiny"), device=CPU,
    )  # fmt: skip
    with pytest.raises(UserError, match="its classifier is more than one linear layer; choose convnet"):
        LinearisedTraining(task, RIDGE, mirror=False)


# -- steps and step sizes ---------------------------------------------------------------------------------------------


def test_descents_take_steps_of_adam_and_tell_values_before_them() -> None:
    start = {"w": torch.tensor([1.0, -2.0], dtype=torch.float64)}
    end, values = descended(lambda at: ({"w": 3 * at["w"]}, 1.5 * (at["w"] ** 2).sum()), start, 4, torch.tensor(0.1))
    twin = start["w"].clone().requires_grad_()
    optimizer, expected = torch.optim.Adam([twin], lr=0.1), []
    for _ in range(4):
        optimizer.zero_grad()
        loss = 1.5 * (twin**2).sum()
        expected.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(end["w"], twin.detach(), rtol=1e-6, atol=0)
    assert values.tolist() == pytest.approx(expected)


FALLS, WAVERS, RISES = [3.0, 2.0, 1.0], [3.0, 1.0, 2.0], [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("reports", "sizes"),
    [
        ([FALLS, FALLS, WAVERS, RISES], [1.2, 1.44, 1.2096, 1.2096]),
        ([WAVERS, *[FALLS] * 4], [0.84, 0.84, 0.84, 0.84, 0.882]),  # four of five fell
        ([WAVERS, FALLS, FALLS, FALLS, WAVERS], [0.84] * 5),  # three did, and none failed
        ([RISES, FALLS, FALLS, FALLS, RISES], [0.84, 0.84, 0.84, 0.84, 0.756]),  # two failed
        ([[3.0, torch.nan, torch.nan]], [0.84]),
    ],
)
def test_a_step_size_is_searched_for_and_adapts(reports: list[list[float]], sizes: list[float]) -> None:
    size, found = SearchedStepSize(1.0, 5, CPU), []
    for values in reports:
        size.report(torch.tensor(values))
        found.append(float(size.value))
    assert found == pytest.approx(sizes)


# -- the method -------------------------------------------------------------------------------------------------------


def distilled(**settings: Any) -> Any:
    return ImplicitGradients(**{**ImplicitGradients.tiny, **settings}).distill(
        tiny_task(), Meter(Budget(), snapshots=())
    )


def test_the_moving_average_forgets_what_it_started_from() -> None:
    method, synthetic = ImplicitGradients(averaging=0.5), SyntheticSet(tiny_task())
    average = {"images": torch.full_like(synthetic.parts["images"], 9.0)}
    for step, value in enumerate([1.0, 2.0, 4.0]):
        with torch.no_grad():
            synthetic.parts["images"].fill_(value)
        method.update(average, synthetic, step)
    # weights 1/8, 1/4 and 1/2 of 7/8
    torch.testing.assert_close(average["images"], torch.full_like(average["images"], (1 + 4 + 16) / 7))


def test_networks_train_for_one_to_fifteen_steps_on_the_set_and_its_mirror_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = list[tuple[int, int]]()
    monkeypatch.setattr(OnlinePool, "train", lambda self, x, y, steps: given.append((len(x), steps)))
    artifact = distilled(iterations=8, mirror=True, inner_steps=2)
    assert {len_ for len_, _ in given} == {12}
    assert all(1 <= steps <= 15 for _, steps in given)
    assert len({steps for _, steps in given}) > 2
    assert (artifact.label_kind, len(artifact.parts["images"])) == ("targets", 6)


def test_the_learned_set_of_noise_answers_real_images() -> None:
    settings: dict[str, Any] = {"batch_real": 60, "lr": 0.05, "averaging": 0.5, "init": "noise", "lr_inner": 1e-3}
    start, artifact = (distilled(iterations=n, **settings).decode() for n in (1, 20))
    task = tiny_task()
    real, answers = task.real.take(torch.arange(60))
    weights = task.initial(seeded(5))

    def accuracy(images: Tensor, targets: Tensor) -> float:
        predicted = predictions(task.embed(weights, real), task.embed(weights, images), targets, 1e-3)
        return float((predicted.argmax(1) == answers).float().mean())

    assert accuracy(*start) < 0.8
    assert accuracy(*artifact) > 0.9
    assert not torch.allclose(artifact[1], centred(tiny_task().labels(), 3), atol=0.05)
