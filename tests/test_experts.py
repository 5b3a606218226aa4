"""Experts with momentum, weight decay and sharpness-aware training, against torch.optim and GSAM written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.compute.compiling import Weights
from ddbench.compute.generators import seeded
from ddbench.families.experts import BatchGradient, Expert, expert_trajectories, sharpness_aware, train_expert
from ddbench.meter.cache import Cache
from ddbench.meter.checkpoint import State
from ddbench.meter.meter import Meter
from ddbench.networks import build_network
from ddbench.records.cell import Budget
from ddbench.task.task import Task
from tasks import random_task

COUNT = 10


def gradient_of(loss: Callable[[Weights], Tensor]) -> BatchGradient:
    """Return gradient and value, by autograd."""

    def gradient(weights: Weights) -> tuple[Weights, Tensor]:
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        value = loss(leaves)
        return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True)), value.detach()

    return gradient


def gsam(parameters: list[Tensor], loss: Callable[[], Tensor], radius: float, surrogate: float) -> list[Tensor]:
    """Adaptive GSAM as in Zhuang et al., ICLR 2022, Algorithm 1, in place of the parameters' gradients."""
    here = torch.autograd.grad(loss(), parameters)
    with torch.no_grad():
        scaled = sum((w.abs() * g).square().sum() for w, g in zip(parameters, here, strict=True)).sqrt()
        climbs = [radius * w**2 * g / scaled for w, g in zip(parameters, here, strict=True)]
        for weight, climb in zip(parameters, climbs, strict=True):
            weight += climb
    above = torch.autograd.grad(loss(), parameters)
    with torch.no_grad():
        for weight, climb in zip(parameters, climbs, strict=True):
            weight -= climb
        length, length_above = (sum(g.square().sum() for g in gradients).sqrt() for gradients in (here, above))
        cosine = sum((g * h).sum() for g, h in zip(here, above, strict=True)) / (length * length_above)
        across = [g - cosine * length * h / length_above for g, h in zip(here, above, strict=True)]
        return [h - surrogate * v for h, v in zip(above, across, strict=True)]


# -- sharpness-aware directions ---------------------------------------------------------------------------------------


def test_in_one_dimension_the_direction_is_the_gradient_uphill() -> None:
    # w^2 / 2 at 2: the climb is radius * |w| upwards, and nothing is orthogonal
    for surrogate in (0.0, 0.7):
        gradient = gradient_of(lambda weights: weights["w"].square().sum() / 2)
        found, loss = sharpness_aware(gradient, {"w": torch.tensor([2.0])}, 0.1, surrogate)
        assert found["w"].item() == pytest.approx(2.2)
        assert loss.item() == 2.0


def test_in_two_dimensions_the_direction_is_as_computed_by_hand() -> None:
    # x^2 / 2 + y at (1, 2): gradient (1, 1), times |w| (1, 2), of length sqrt(5); with this radius the climb is
    # (1, 4), and there the gradient is (2, 1). 3/5 of that lie in (1, 1); what is orthogonal is (-0.2, 0.4).
    gradient = gradient_of(lambda weights: weights["x"].square().sum() / 2 + weights["y"].sum())
    start = {"x": torch.tensor([1.0]), "y": torch.tensor([[2.0]])}
    for surrogate, expected in ((0.0, (2.0, 1.0)), (0.5, (2.1, 0.8)), (1.0, (2.2, 0.6))):
        found, loss = sharpness_aware(gradient, start, 5**0.5, surrogate)
        assert found["x"].item() == pytest.approx(expected[0])
        assert found["y"].item() == pytest.approx(expected[1])
        assert found["y"].shape == (1, 1)
        assert loss.item() == 2.5


@pytest.mark.parametrize("surrogate", [0.0, 0.3, 1.0])
def test_directions_equal_those_of_the_algorithm(surrogate: float) -> None:
    generator = seeded(0)
    rise = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    a, b = (torch.randn(size, generator=generator, dtype=torch.float64) for size in ((2, 2), (3,)))

    def loss(parts: list[Tensor]) -> Tensor:
        w = torch.cat([part.flatten() for part in parts])
        return (w @ rise @ rise.T @ w) / 2 + w.pow(4).sum()

    found, value = sharpness_aware(gradient_of(lambda w: loss(list(w.values()))), {"a": a, "b": b}, 0.1, surrogate)
    leaves = [a.clone().requires_grad_(), b.clone().requires_grad_()]
    expected = gsam(leaves, lambda: loss(leaves), 0.1, surrogate)
    assert torch.allclose(found["a"], expected[0])
    assert torch.allclose(found["b"], expected[1])
    assert torch.allclose(value, loss([a, b]))


def test_without_surrogate_it_is_adaptive_sam() -> None:
    generator = seeded(1)
    w, rise = torch.randn(4, generator=generator), torch.randn(4, 4, generator=generator)
    gradient = gradient_of(lambda weights: (weights["w"] @ rise @ rise.T @ weights["w"]) / 2)
    here = rise @ rise.T @ w
    peak = w + 0.3 * w.square() * here / (w.abs() * here).norm()
    assert torch.allclose(sharpness_aware(gradient, {"w": w}, 0.3, 0.0)[0]["w"], rise @ rise.T @ peak, atol=1e-5)
    # measured by the weights' own size, the climb is as long as the radius
    assert ((peak - w) / w).norm().item() == pytest.approx(0.3)


def test_where_nothing_gradients_the_direction_is_finite() -> None:
    found, _ = sharpness_aware(gradient_of(lambda weights: 0 * weights["w"].sum()), {"w": torch.ones(3)}, 0.1, 0.5)
    assert found["w"].tolist() == [0, 0, 0]


# -- training ---------------------------------------------------------------------------------------------------------


def trained(task: Task, meter: Meter, expert: Expert) -> Tensor:
    return train_expert(task, meter, seeded(3), expert, task.compiler.gradient(task.loss), "experts/0")


def plain_expert(task: Task, generator: torch.Generator, expert: Expert) -> Tensor:
    """Ordinary training: a module, torch's SGD with what the expert says, batches from shuffled passes."""
    network = build_network("mlp", (1, 4, 4), 3, {"depth": 1, "width": 5})
    network.load_state_dict(task.initial(generator))
    parameters, order = list(network.parameters()), torch.randperm(COUNT, generator=generator).tolist()
    options = {"lr": expert.lr, "momentum": expert.momentum, "weight_decay": expert.weight_decay}
    optimizer = torch.optim.SGD(parameters, **options)
    found = [nn.utils.parameters_to_vector(parameters).detach()]
    for _ in range(expert.epochs):
        for _ in range(expert.epoch_batches or -(-COUNT // expert.batch)):
            order = order or torch.randperm(COUNT, generator=generator).tolist()
            batch, order = order[: expert.batch], order[expert.batch :]
            images, labels = task.real.take(batch)
            if expert.augment:
                images = task.augmentation(images, generator)

            def loss(images: Tensor = images, labels: Tensor = labels) -> Tensor:
                return F.cross_entropy(network(images), labels)

            if expert.sharpness:
                gradients = gsam(parameters, loss, *expert.sharpness)
            else:
                gradients = list(torch.autograd.grad(loss(), parameters))
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
        found.append(nn.utils.parameters_to_vector(parameters).detach())
    return torch.stack(found)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epoch_batches": 2},
        {"epoch_batches": 5},
        {"momentum": 0.9},
        {"weight_decay": 0.1},
        {"momentum": 0.9, "weight_decay": 0.1, "augment": True},
        {"sharpness": (0.2, 0.0)},
        {"sharpness": (0.2, 0.5), "augment": True},
        {"sharpness": (0.2, 0.5), "momentum": 0.9, "weight_decay": 0.1},
    ],
    ids=str,
)
def test_expert_positions_equal_plain_training(changes: dict[str, Any]) -> None:
    expert = Expert(1, 2, batch=4, lr=0.1, **changes)
    task, meter = random_task(), Meter(Budget())
    trajectory = trained(task, meter, expert)
    assert trajectory.shape == (3, 16 * 5 + 5 + 5 * 3 + 3)
    assert torch.allclose(trajectory, plain_expert(task, seeded(3), expert), atol=1e-5)
    assert meter.done == {"experts": 2 * (expert.epoch_batches or 3)}
    if changes:
        plain = trained(random_task(), Meter(Budget()), Expert(1, 2, batch=4, lr=0.1))
        assert not torch.allclose(trajectory[-1], plain[-1], atol=1e-3)


def test_augmented_experts_start_alike_and_end_elsewhere() -> None:
    plain, augmented = (
        trained(random_task(), Meter(Budget()), Expert(1, 1, batch=4, lr=0.1, epoch_batches=2, augment=augment))
        for augment in (False, True)
    )
    assert torch.equal(plain[0], augmented[0])
    assert not torch.equal(plain[1], augmented[1])


def test_the_logged_loss_is_that_before_the_climb() -> None:
    task, meter = random_task(), Meter(Budget())
    trained(task, meter, Expert(1, 1, batch=COUNT, lr=0.1, sharpness=(0.5, 0.5)))
    loss = task.loss(task.initial(seeded(3)), *task.real.take(range(COUNT)))
    assert meter.history["expert_loss"][0][1] == pytest.approx(loss.item(), rel=1e-5)


# -- the cache --------------------------------------------------------------------------------------------------------


PLAIN = Expert(1, 1, batch=4, lr=0.1, epoch_batches=1)
CHANGES: dict[str, Any] = {
    "epochs": 2,
    "epoch_batches": 2,
    "batch": 5,
    "lr": 0.2,
    "momentum": 0.9,
    "weight_decay": 0.1,
    "augment": True,
    "sharpness": (0.1, 0.3),
}


def test_experts_of_other_settings_are_trained_anew(tmp_path: Path) -> None:
    cache = Cache(tmp_path, {})

    def cached(expert: Expert) -> Tensor:
        (trajectory,) = expert_trajectories(random_task(), Meter(Budget(), cache=cache), expert)
        return trajectory

    assert set(CHANGES) == {field.name for field in dataclasses.fields(Expert)} - {"count"}
    variants = [PLAIN, *(dataclasses.replace(PLAIN, **{name: value}) for name, value in CHANGES.items())]
    variants += [dataclasses.replace(PLAIN, sharpness=sharpness) for sharpness in ((0.2, 0.3), (0.1, 0.4))]
    first = []
    for number, variant in enumerate(variants):
        first.append(cached(variant))
        assert len(list(tmp_path.iterdir())) == number + 1
    for variant, trajectories in zip(variants, first, strict=True):
        assert torch.equal(cached(variant), trajectories)
    assert len(list(tmp_path.iterdir())) == len(variants)


def test_cached_experts_are_charged_in_full(tmp_path: Path) -> None:
    expert = dataclasses.replace(PLAIN, count=2, epoch_batches=3, sharpness=(0.1, 0.3))
    for _ in range(2):
        meter = Meter(Budget(), cache=Cache(tmp_path, {}))
        trajectories = expert_trajectories(random_task(), meter, expert)
        assert meter.done == meter.planned == {"experts": 6}
        assert [len(own) for own in trajectories] == [2, 2]


def test_each_expert_is_kept_alone_so_that_more_of_them_are_only_added(tmp_path: Path) -> None:
    cache = Cache(tmp_path, {})
    two = expert_trajectories(random_task(), Meter(Budget(), cache=cache), dataclasses.replace(PLAIN, count=2))
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    three = expert_trajectories(random_task(), Meter(Budget(), cache=cache), dataclasses.replace(PLAIN, count=3))
    assert (len(kept), len(list(tmp_path.iterdir()))) == (2, 3)
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}.items()
    assert all(torch.equal(one, other) for one, other in zip(two, three, strict=False))
    assert not torch.equal(three[0], three[1])


def test_every_distillation_seed_has_experts_of_its_own(tmp_path: Path) -> None:
    def first(seed: int) -> Tensor:
        return expert_trajectories(random_task(), Meter(Budget(), cache=Cache(tmp_path, {}), seed=seed), PLAIN)[0]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_a_checkpoint_holds_the_expert_in_training_alone(tmp_path: Path) -> None:
    class Kept(Meter):
        def steps(self, n: int, state: State, result: Any = None, name: str = "distil") -> Iterator[int]:
            held.append(sum(part.nbytes for part in vars(state).values() if isinstance(part, Tensor)))
            yield from super().steps(n, state, result, name)

    held: list[int] = []
    expert = dataclasses.replace(PLAIN, count=3, epochs=4)
    trajectories = expert_trajectories(random_task(), Kept(Budget(), cache=Cache(tmp_path, {})), expert)
    size = trajectories[0].nbytes
    assert held == [size + 2 * size // 5 + 8 * COUNT] * 3  # five rows, weights and velocity, and an order of images
