"""What methods share, against hand-computed cases and plain loops."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.compute.compiling import Compiler
from ddbench.compute.generators import seeded
from ddbench.data.augmentation import DSA, OPERATIONS
from ddbench.families.coresets import choose_per_class, feature_space
from ddbench.families.gradient_matching import layerwise_cosine
from ddbench.families.siamese import siamese, siamese_by_class
from ddbench.families.unrolling.unroll import Unroll
from ddbench.meter.meter import Meter
from ddbench.networks.flatten import flatten, unflatten
from ddbench.records.cell import Budget
from ddbench.task.task import Task
from tasks import random_task

COUNT = 10


# -- gradient distance --------------------------------------------------------------------------------------------


def test_the_distance_of_two_small_gradients_is_as_computed_by_hand() -> None:
    real = {"weight": torch.tensor([[3.0, 4.0], [1.0, 0.0]]), "bias": torch.tensor([1.0, 2.0])}
    synthetic = {"weight": torch.tensor([[4.0, 3.0], [0.0, 1.0]]), "bias": torch.tensor([-5.0, 0.0])}
    # rows: 1 - 24 / 25 and 1 - 0; the bias does not count
    assert layerwise_cosine(real, synthetic).item() == pytest.approx(1.04, abs=1e-6)


def test_the_distance_of_a_convolution_is_taken_over_whole_filters() -> None:
    real, synthetic = torch.zeros(2, 2, 1, 2), torch.zeros(2, 2, 1, 2)
    real[0] = torch.tensor([[[1.0, 1.0]], [[1.0, 1.0]]])  # norm 2
    synthetic[0] = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]])  # norm 2, inner product 2
    real[1] = synthetic[1] = torch.tensor([[[0.0, 3.0]], [[4.0, 0.0]]])
    assert layerwise_cosine({"w": real}, {"w": synthetic}).item() == pytest.approx(0.5, abs=1e-6)


def test_distances_of_layers_add_up_and_opposite_gradients_are_two_apart() -> None:
    weights = {"a": torch.eye(2), "b": torch.eye(3)}
    opposite = {name: -weight for name, weight in weights.items()}
    assert layerwise_cosine(weights, opposite).item() == pytest.approx(10, abs=1e-4)
    assert layerwise_cosine(weights, weights).item() == pytest.approx(0, abs=1e-4)


def test_a_unit_without_a_gradient_is_one_apart_and_stays_finite() -> None:
    zero = torch.zeros(1, 3, requires_grad=True)
    distance = layerwise_cosine({"w": torch.ones(1, 3)}, {"w": zero})
    distance.backward()
    assert distance.item() == 1
    assert zero.grad is not None
    assert bool(zero.grad.isfinite().all())


def test_the_distance_is_differentiated_correctly() -> None:
    generator = seeded(0)
    real = {
        "linear": torch.randn(3, 4, generator=generator, dtype=torch.float64),
        "conv": torch.randn(2, 2, 3, 3, generator=generator, dtype=torch.float64),
    }
    linear, conv = (torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in real.values())
    inputs = (linear.requires_grad_(), conv.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: layerwise_cosine(real, {"linear": a, "conv": b}), inputs)


# -- unrolled training --------------------------------------------------------------------------------------------


def squares(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Half the squared error of a linear model on flattened images."""
    return 0.5 * ((images.flatten(1) @ weights["w"] - labels) ** 2).sum()


@pytest.fixture(params=[False, True], ids=["kept", "recomputed"])
def unroll(request: pytest.FixtureRequest) -> Callable[[Any], Unroll]:
    return lambda loss: Unroll(loss, Compiler(), recompute=request.param)


def test_unrolled_steps_equal_the_textbook_loop(unroll: Callable[[Any], Unroll]) -> None:
    generator = seeded(1)
    start = torch.randn(4, 2, generator=generator)
    batches = [
        (torch.randn(3, 1, 2, 2, generator=generator), torch.randn(3, 2, generator=generator), torch.tensor(lr))
        for lr in (0.1, 0.05, 0.2)
    ]
    trained = unroll(squares)({"w": start}, batches)
    w = start
    for images, labels, lr in batches:
        x = images.flatten(1)
        w = w - lr * x.T @ (x @ w - labels)
    assert torch.allclose(trained["w"], w, atol=1e-6)
    assert torch.equal(start, torch.randn(4, 2, generator=seeded(1)))


def test_one_step_is_differentiated_as_by_hand(unroll: Callable[[Any], Unroll]) -> None:
    image, lr = torch.tensor([[[[2.0]]]], requires_grad=True), torch.tensor(0.1, requires_grad=True)
    trained = unroll(squares)({"w": torch.tensor([[3.0]])}, [(image, torch.tensor([[1.0]]), lr)])["w"]
    # w - lr x (x w - y) with w = 3, x = 2, y = 1
    assert trained.item() == pytest.approx(2.0)
    slopes = torch.autograd.grad(trained.sum(), [image, lr])
    assert slopes[0].item() == pytest.approx(-0.1 * (2 * 2 * 3 - 1))
    assert slopes[1].item() == pytest.approx(-2 * (2 * 3 - 1))


def test_two_steps_of_a_network_are_differentiated_correctly(unroll: Callable[[Any], Unroll]) -> None:
    generator = seeded(2)

    def loss(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        hidden = torch.tanh(F.linear(images.flatten(1), weights["a"]))
        return F.cross_entropy(F.linear(hidden, weights["b"]), labels)

    start = {
        "a": torch.randn(3, 4, generator=generator, dtype=torch.float64),
        "b": torch.randn(2, 3, generator=generator, dtype=torch.float64),
    }
    images = torch.randn(2, 2, 1, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    lrs = torch.tensor([0.5, 0.3], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1])

    def trained(images: Tensor, lrs: Tensor) -> tuple[Tensor, ...]:
        steps = ((images[i], labels, lrs[i]) for i in range(2))
        return tuple(unroll(loss)(start, steps).values())

    assert torch.autograd.gradcheck(trained, (images, lrs))


def test_what_came_before_the_start_is_not_differentiated_through(unroll: Callable[[Any], Unroll]) -> None:
    earlier = torch.ones(1, 1, requires_grad=True)
    image = torch.ones(1, 1, 1, 1, requires_grad=True)
    trained = unroll(squares)({"w": earlier * 2}, [(image, torch.zeros(1, 1), torch.tensor(0.1))])["w"]
    trained.sum().backward()
    assert earlier.grad is None
    assert image.grad is not None


# -- experts ------------------------------------------------------------------------------------------------------


def test_flattened_weights_come_back() -> None:
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7.0), "c": torch.zeros(0), "d": torch.ones(1, 1, 2)}
    vector = flatten(weights)
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7, 1, 1]
    back = unflatten(vector, weights)
    assert list(back) == list(weights)
    assert all(torch.equal(back[name], weight) for name, weight in weights.items())


# -- feature spaces -----------------------------------------------------------------------------------------------


def test_pixels_are_features_in_stored_order() -> None:
    task = random_task()
    features = feature_space(task, Meter(Budget()), "pixels", steps=0, batch=1)
    assert torch.equal(features, task.real.take(range(COUNT))[0].flatten(1))


def test_random_features_are_those_of_fresh_weights() -> None:
    task = random_task()
    features = feature_space(task, Meter(Budget()), "random", steps=0, batch=1)
    weights = list(random_task().initial(random_task().generator("features")).values())
    expected = torch.relu(task.real.take(range(COUNT))[0].flatten(1) @ weights[0].T + weights[1])
    assert torch.allclose(features, expected, atol=1e-6)


def test_trained_features_equal_plain_training() -> None:
    task, meter = random_task(), Meter(Budget())
    features = feature_space(task, meter, "trained", steps=4, batch=5)
    other = random_task()
    network = other.network
    network.load_state_dict(other.initial(other.generator("features")))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(4):
        images, labels = other.real.batch(5, other.generator("features/real"))
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    expected = network.embed(other.real.take(range(COUNT))[0])  # type: ignore[operator]
    assert torch.allclose(features, expected, atol=1e-6)
    assert not features.requires_grad
    assert meter.done == {"feature network": 4}


def test_each_class_is_chosen_from_its_own_features() -> None:
    features = torch.tensor([0.0, 5.0, 3.0, 1.0, 4.0, 2.0])[:, None]
    members = {0: torch.tensor([0, 2, 4]), 1: torch.tensor([1, 3, 5])}
    real = SimpleNamespace(class_indices=members.get, take=lambda indices: (indices * 10, indices))
    task: Any = SimpleNamespace(classes=2, ipc=2, real=real)

    def largest(rows: Tensor, n: int) -> Tensor:
        return rows[:, 0].topk(n).indices

    assert choose_per_class(task, features, largest, 2).tolist() == [40, 20, 10, 50]
    assert choose_per_class(task, features, largest, 4).tolist() == [40, 20, 0, 40, 10, 50, 30, 10]  # of three, again


# -- siamese augmentation -----------------------------------------------------------------------------------------


def test_both_batches_get_the_same_draw() -> None:
    task = random_task()
    real = task.real.take(range(6))[0]
    generator = seeded(0)
    for _ in range(20):
        ours, theirs = siamese(task, real, real[:2], generator)
        assert torch.equal(ours[:2], theirs)


def one_by_one(task: Task, real: list[Tensor], synthetic: Tensor) -> tuple[list[Tensor], Tensor]:
    """Each class by a call of its own, from the same draws."""
    generator = task.generator("augment", device="cpu")
    pairs = [siamese(task, *own, generator) for own in zip(real, synthetic.chunk(task.classes), strict=True)]
    return [pair[0] for pair in pairs], torch.cat([pair[1] for pair in pairs])


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_classes_augmented_together_are_to_the_byte_those_augmented_alone(operation: str, ragged: bool) -> None:
    made = []
    for augment in (siamese_by_class, one_by_one):
        task, generator = random_task(30), seeded(1)
        task.classes, task.augmentation = 12, DSA(strategy=(operation, "flip"))
        real = [torch.randn(5 - (ragged and c % 3), 3, 12, 12, generator=generator) for c in range(12)]
        synthetic = torch.randn(24, 3, 12, 12, generator=generator, requires_grad=True)
        theirs, ours = augment(task, real, synthetic)
        (slope,) = torch.autograd.grad(ours.sin().sum(), synthetic)
        made.append([*theirs, ours.detach(), slope])
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


def test_many_classes_take_no_more_calls_than_there_are_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, apply = [], DSA.apply
    monkeypatch.setattr(DSA, "apply", lambda *given: calls.append(1) or apply(*given))
    task = random_task(30)
    task.classes = 100
    siamese_by_class(task, [torch.zeros(2, 1, 4, 4, device="meta")] * 100, torch.zeros(100, 1, 4, 4, device="meta"))
    assert len(calls) <= 2 * len(OPERATIONS)
