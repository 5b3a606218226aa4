"""Going back through a training: its rules against PyTorch's optimisers, its gradients against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.compiling import Compiler, Weights
from ddbench.config import make_method
from ddbench.errors import UserError
from ddbench.generators import seeded
from ddbench.matching.bilevel import Outer, balanced_batch
from ddbench.matching.rules import Adam, GradientDescent, Momentum, Rule
from ddbench.matching.unroll import Unroll
from ddbench.meter import Meter
from ddbench.records import Budget
from ddbench.registry import METHODS
from ddbench.testing import tiny_task
from methods.addressable_memories import AddressableMemories
from methods.backprop import Backprop
from methods.truncated_backprop import TruncatedBackprop, clip, unit

RULES: dict[str, tuple[Callable[[], Rule], Callable[[Any], torch.optim.Optimizer]]] = {
    "gradient descent": (GradientDescent, lambda parameters: torch.optim.SGD(parameters, lr=0.1)),
    "momentum": (lambda: Momentum(0.9), lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9)),
    "adam": (Adam, lambda parameters: torch.optim.Adam(parameters, lr=0.1)),
}
every_rule = pytest.mark.parametrize("name", list(RULES))


def loss(weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
    hidden = torch.tanh(images.flatten(1) @ weights["first"])
    return F.cross_entropy(hidden @ weights["last"], labels)


def start() -> Weights:
    generator = seeded(0)
    return {
        "first": torch.randn(4, 3, generator=generator, dtype=torch.float64),
        "last": torch.randn(3, 2, generator=generator, dtype=torch.float64),
    }


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = seeded(1)
    return [
        (torch.randn(5, 1, 2, 2, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1]))
        for _ in range(count)
    ]


@every_rule
@pytest.mark.parametrize("recompute", [False, True])
def test_a_rule_steps_as_pytorch_does(name: str, recompute: bool) -> None:
    make, optimizer_of = RULES[name]
    rule = make()
    parameters = {key: nn.Parameter(weight.clone()) for key, weight in start().items()}
    optimizer = optimizer_of(parameters.values())
    for images, labels in batches(4):
        optimizer.zero_grad()
        loss(dict(parameters), images, labels).backward()
        optimizer.step()
    walk = [(images, labels, torch.tensor(0.1, dtype=torch.float64)) for images, labels in batches(4)]
    unroll = Unroll(loss, Compiler(), recompute, rule=rule)
    for end in (unroll(rule.begin(start()), walk), unroll.ahead(rule.begin(start()), walk)):
        weights = rule.weights(end)
        assert list(weights) == ["first", "last"]
        for key, parameter in parameters.items():
            assert torch.allclose(weights[key], parameter, atol=1e-5)


@pytest.mark.parametrize("recompute", [False, True])
def test_learned_labels_are_differentiated_too(recompute: bool) -> None:
    unroll = Unroll(loss, Compiler(), recompute)
    ((images, _),) = batches(1)
    lr = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    probabilities = torch.rand(5, 2, generator=seeded(2), dtype=torch.float64).requires_grad_()

    def trained(images: Tensor, labels: Tensor, lr: Tensor) -> tuple[Tensor, ...]:
        return tuple(unroll(start(), [(images, labels, lr), (2 * images, labels, lr)]).values())

    assert torch.autograd.gradcheck(trained, (images.requires_grad_(), probabilities, lr))


@every_rule
@pytest.mark.parametrize("recompute", [False, True])
def test_going_back_agrees_with_finite_differences(name: str, recompute: bool) -> None:
    rule = RULES[name][0]()
    unroll = Unroll(loss, Compiler(), recompute, rule=rule)
    (first, labels), (second, _) = batches(2)

    def trained(first: Tensor, second: Tensor, lr: Tensor) -> Tensor:
        end = rule.weights(
            unroll(rule.begin(start()), [(first, labels, lr), (second, labels, 2 * lr), (first, labels, lr)])
        )
        return torch.cat([weight.flatten() for weight in end.values()])

    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(trained, (first.requires_grad_(), second.requires_grad_(), lr), atol=1e-6)


@every_rule
def test_a_training_goes_on_where_an_undifferentiated_one_ended(name: str) -> None:
    rule = RULES[name][0]()
    unroll = Unroll(loss, Compiler(), rule=rule)
    walk = [(images, labels, torch.tensor(0.1, dtype=torch.float64)) for images, labels in batches(5)]
    whole = unroll(rule.begin(start()), walk)
    parts = unroll(unroll.ahead(rule.begin(start()), walk[:3]), walk[3:])
    assert all(torch.allclose(whole[key], parts[key], atol=1e-12) for key in whole)


def test_a_gradient_of_zero_can_be_differentiated_under_adam() -> None:
    rule = Adam()
    weights = {"w": torch.zeros(2)}

    def flat(weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
        return (weights["w"] * images[0, 0, 0] * torch.tensor([1.0, 0.0])).sum()

    images = torch.ones(1, 1, 1, 2, requires_grad=True)
    end = Unroll(flat, Compiler(), rule=rule)(rule.begin(weights), [(images, torch.zeros(1), torch.tensor(0.1))] * 2)
    end["w"].sum().backward()
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())


def test_balanced_batches_hold_as_many_of_each_class() -> None:
    labels, generator = torch.arange(3).repeat_interleave(6), seeded(0)
    drawn = torch.stack([balanced_batch(labels, 3, 2, generator) for _ in range(200)])
    assert drawn.shape == (200, 6)
    assert all(labels[positions].tolist() == [0, 0, 1, 1, 2, 2] for positions in drawn)
    assert all(len(set(positions.tolist())) == 6 for positions in drawn)
    counts = drawn.flatten().bincount(minlength=18)
    assert counts.min() > 40  # 66.7 expected of each
    assert balanced_batch(labels, 3, 9, generator).sort().values.tolist() == list(range(18))


def test_the_outer_loss_reaches_whatever_the_weights_depend_on() -> None:
    task, twin = tiny_task(), tiny_task()
    images = task.real_init()[0].requires_grad_()
    weights = {name: weight + images.mean() for name, weight in task.initial().items()}
    value = Outer(task, 12).backward(weights)
    twin_images = twin.real_init()[0].requires_grad_()
    moved = {name: weight + twin_images.mean() for name, weight in twin.initial().items()}
    expected = twin.loss(moved, *twin.real.batch(12, twin.generator("real")))
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert images.grad is not None
    assert twin_images.grad is not None
    assert torch.allclose(images.grad, twin_images.grad, rtol=1e-4)


def test_clipping_by_hand() -> None:
    part = torch.zeros(2, requires_grad=True)
    part.grad = torch.tensor([3.0, 4.0])
    mean = clip([part], torch.zeros(()), 2.0, first=True)
    assert (mean.item(), part.grad.tolist()) == (5.0, [3.0, 4.0])
    part.grad = torch.tensor([30.0, 40.0])
    mean = clip([part], mean, 2.0, first=False)  # the mean becomes 9.5, twice that is 19 of 50
    assert mean.item() == pytest.approx(9.5)
    assert part.grad.tolist() == pytest.approx([30 * 0.38, 40 * 0.38])


def test_noise_starts_at_length_one() -> None:
    lengths = unit(torch.randn(4, 1, 3, 3, generator=seeded(0))).flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(4))
    method = TruncatedBackprop(iterations=1, steps=1, window=1, batch_real=4, lr_images=1e-9)
    images = method.distill(tiny_task(), Meter(Budget())).parts["images"]
    assert torch.allclose(images.flatten(1).norm(dim=1), torch.ones(6), atol=1e-6)


def test_windows_begin_anywhere_that_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[int] = []
    walk = TruncatedBackprop._walk

    def watched(self: Any, task: Any, synthetic: Any, count: int, generator: Any) -> Any:
        walks.append(count)
        return walk(self, task, synthetic, count, generator)

    monkeypatch.setattr(TruncatedBackprop, "_walk", watched)
    TruncatedBackprop(iterations=60, steps=5, window=2, least=1, batch_real=4).distill(tiny_task(), Meter(Budget()))
    assert set(walks[0::2]) == {1, 2, 3}
    assert set(walks[1::2]) == {2}


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="window 60 and least 150 of truncated_backprop do not fit into 200 steps"):
        TruncatedBackprop(least=150)


def test_memories_hold_more_images_than_pixels_would_and_no_more_bytes() -> None:
    task = tiny_task(ipc=4)
    settings = {**METHODS.get("linba").tiny, "decoder": "linear_bases,bases=4"}
    artifact = make_method(AddressableMemories, settings).distill(task, Meter(Budget()))
    # 3 * 4 * 64 numbers; 4 bases of 16 leave 704 for 4 coefficients of 3 * 58 images
    assert artifact.parts["coefficients"].shape == (3 * 58, 4)
    assert artifact.stored_bytes()["images"] == 4 * (4 * 16 + 3 * 58 * 4)
    assert artifact.decode()[0].shape == (174, 1, 8, 8)


@pytest.mark.parametrize(("largest", "schedule"), [(None, "halved"), (0.01, "cosine")])
def test_outer_gradients_are_clipped_and_step_sizes_fall_as_asked(
    largest: float | None, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms, lrs = list[float](), list[float]()

    class Watched(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            (group,) = self.param_groups
            norms.append(float(torch.stack([part.grad.norm() for part in group["params"]]).norm()))
            lrs.append(group["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    values: dict[str, Any] = {"largest": largest, "schedule": schedule}
    method = Backprop(iterations=4, batch_real=16, lr_images=0.1, decay_every=2, **values)
    method.distill(tiny_task(), Meter(Budget()))
    assert (max(norms) > 0.02) == (largest is None)
    if largest is None:
        assert lrs == pytest.approx([0.1, 0.1, 0.05, 0.05])
    else:
        assert max(norms) == pytest.approx(largest, rel=1e-4)
        assert lrs == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])


def test_jitter_moves_where_a_training_starts_by_shares_of_each_parameter_and_falls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts: list[Weights] = []
    unrolled = Unroll.__call__

    def watched(self: Unroll, state: Weights, steps: Any) -> Weights:
        starts.append({name: weight.clone() for name, weight in state.items()})
        return unrolled(self, state, steps)

    monkeypatch.setattr(Unroll, "__call__", watched)
    task = tiny_task(setting="fixed")
    fixed = task.initial()
    method = Backprop(iterations=4, batch_real=16, schedule="cosine", jitter=0.5)
    artifact = method.distill(task, Meter(Budget()))
    for step, start in enumerate(starts):
        share = 0.25 * (1 + math.cos(math.pi * step / 4))
        moved = torch.cat([((start[n] - w) / w.std(correction=0)).flatten() for n, w in fixed.items() if w.std() > 0])
        assert moved.std().item() == pytest.approx(share, rel=0.1)
    assert artifact.initial is not None
    assert all(torch.equal(artifact.initial[name], weight) for name, weight in fixed.items())  # stored without it
