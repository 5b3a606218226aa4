"""Going back through a training: its rules against PyTorch's optimisers, its gradients against finite differences."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.compute.compiling import Compiler, Weights
from ddbench.compute.generators import seeded
from ddbench.errors import UserError
from ddbench.families.backprop import OuterLoss, balanced_batch
from ddbench.families.unrolling.recompute import LazyBatch
from ddbench.families.unrolling.unroll import Unroll
from ddbench.families.unrolling.update_rules import Adam, GradientDescent, Momentum, Rule
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget, NetworkSpec
from ddbench.registry import METHODS
from ddbench.task.hyperparameters import make_method
from ddbench.task.task import Task
from ddbench.testing import tiny_task
from methods.addressable_memories import AddressableMemories
from methods.backprop import Backprop
from methods.truncated_backprop import TruncatedBackprop, clip_gradients, unit
from tasks import needs_compiler

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
    steps = [(images, labels, torch.tensor(0.1, dtype=torch.float64)) for images, labels in batches(4)]
    unroll = Unroll(loss, Compiler(), recompute, rule=rule)
    for end in (unroll(rule.begin(start()), steps), unroll.forward_only(rule.begin(start()), steps)):
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


@pytest.mark.parametrize("recompute", [False, True])
def test_images_made_for_a_step_are_differentiated_as_those_given(recompute: bool) -> None:
    unroll = Unroll(loss, Compiler(), recompute)
    shared = torch.randn(6, 1, 2, 2, generator=seeded(3), dtype=torch.float64).requires_grad_()
    lr = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    rows = [torch.tensor([0, 1, 2]), torch.tensor([2, 3, 5])]
    labels = torch.tensor([0, 1, 1])

    def gradients(steps: list[Any]) -> tuple[Tensor, ...]:
        end = unroll(start(), steps)
        return torch.autograd.grad(end["first"].square().sum() + end["last"].sum(), [shared, lr])

    given = gradients([(2 * shared[chosen], labels, lr) for chosen in rows])
    later = gradients([(LazyBatch(shared, lambda images, own=chosen: 2 * images[own]), labels, lr) for chosen in rows])
    for a, b in zip(given, later, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=0)
    assert given[0][4].tolist() == [[[0, 0], [0, 0]]]  # in no batch


def test_a_training_that_is_recomputed_keeps_none_of_its_batches() -> None:
    shared = torch.randn(6, 1, 2, 2, generator=seeded(3), dtype=torch.float64).requires_grad_()
    lr, labels, alive = torch.tensor(0.1, dtype=torch.float64), torch.tensor([0, 1, 1]), list[weakref.ref[Any]]()

    def most(recompute: bool, steps: int) -> int:
        """Batches that are alive at once, while training and while going back."""
        counts = list[int]()

        def make(images: Tensor) -> Tensor:
            batch = images[:3].tanh()
            alive.append(weakref.ref(batch.untyped_storage()))
            counts.append(sum(each() is not None for each in alive))
            return batch

        alive.clear()
        end = Unroll(loss, Compiler(), recompute)(start(), [(LazyBatch(shared, make), labels, lr)] * steps)
        end["last"].sum().backward()
        return max(counts)

    assert most(True, 5) == most(True, 40) <= 2
    assert most(False, 40) == 40


@pytest.mark.slow  # compiles for seconds; `.ci/run` carries it out
@every_rule
@needs_compiler
def test_a_compiled_training_is_differentiated_as_an_eager_one(name: str) -> None:
    rule = RULES[name][0]()
    (images, labels), (other, _) = batches(2)
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    images.requires_grad_()

    def gradients(compiled: bool) -> list[Tensor]:
        steps = [(images, labels, lr), (other, labels, 2 * lr), (images, labels, lr)]
        end = rule.weights(Unroll(loss, Compiler(compiled), rule=rule)(rule.begin(start()), steps))
        return list(torch.autograd.grad(end["first"].square().sum() + end["last"].sum(), [images, lr]))

    for ours, theirs in zip(gradients(True), gradients(False), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-12)


@every_rule
def test_a_training_goes_on_where_an_undifferentiated_one_ended(name: str) -> None:
    rule = RULES[name][0]()
    unroll = Unroll(loss, Compiler(), rule=rule)
    steps = [(images, labels, torch.tensor(0.1, dtype=torch.float64)) for images, labels in batches(5)]
    whole = unroll(rule.begin(start()), steps)
    parts = unroll(unroll.forward_only(rule.begin(start()), steps[:3]), steps[3:])
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
    value = OuterLoss(task, 12).backward(weights)
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
    mean = clip_gradients([part], torch.zeros(()), 2.0, first=True)
    assert (mean.item(), part.grad.tolist()) == (5.0, [3.0, 4.0])
    part.grad = torch.tensor([30.0, 40.0])
    mean = clip_gradients([part], mean, 2.0, first=False)  # the mean becomes 9.5, twice that is 19 of 50
    assert mean.item() == pytest.approx(9.5)
    assert part.grad.tolist() == pytest.approx([30 * 0.38, 40 * 0.38])


def test_noise_starts_at_length_one() -> None:
    lengths = unit(torch.randn(4, 1, 3, 3, generator=seeded(0))).flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(4))
    method = TruncatedBackprop(iterations=1, steps=1, window=1, batch_real=4, lr_images=1e-9)
    images = method.distill(tiny_task(), Meter(Budget())).parts["images"]
    assert torch.allclose(images.flatten(1).norm(dim=1), torch.ones(6), atol=1e-6)


def test_noise_of_memories_is_xaviers() -> None:
    still: dict[str, Any] = {"iterations": 1, "steps": 1, "images_per_step": 1, "batch_real": 4, "lr_images": 1e-9}
    made = {
        decoder: AddressableMemories(**still, decoder=decoder, init="noise").distill(tiny_task(), Meter(Budget())).parts
        for decoder in ("pixels", "linear_bases,bases=4")
    }
    images, bases = made["pixels"]["images"], made["linear_bases,bases=4"]["bases"]
    for part, bound in ((images, (6 / (6 + 64)) ** 0.5), (bases, (6 / (4 + 16)) ** 0.5)):  # items, numbers of one
        assert 0.9 * bound < part.abs().max() <= bound
        assert part.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_windows_begin_anywhere_that_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[str, list[int]] = {"forward_only": [], "__call__": []}

    def watch(name: str) -> None:
        train = getattr(Unroll, name)

        def watched(self: Unroll, state: Any, steps: Any) -> Any:
            taken = list(steps)
            counts[name].append(len(taken))
            return train(self, state, taken)

        monkeypatch.setattr(Unroll, name, watched)

    for name in counts:
        watch(name)
    TruncatedBackprop(iterations=60, steps=5, window=2, least=1, batch_real=4).distill(tiny_task(), Meter(Budget()))
    assert set(counts["forward_only"]) == {1, 2, 3}
    assert set(counts["__call__"]) == {2}
    assert len(counts["forward_only"]) == len(counts["__call__"]) == 60


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


# -- a method's whole step, against its paper's loop in plain PyTorch ---------------------------------------------


def plain_task(**options: Any) -> Task:
    """Without normalisation, whose biases have gradients of 0 up to rounding."""
    return tiny_task(
        network=NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8, "norm": "none"}), **options
    )


def cross_entropy(task: Task, weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(torch.func.functional_call(task.network, weights, (images,)), labels)


def loss_gradient(task: Task, weights: Weights, images: Tensor, labels: Tensor) -> Weights:
    gradients = torch.autograd.grad(
        cross_entropy(task, weights, images, labels), list(weights.values()), create_graph=True
    )
    return dict(zip(weights, gradients, strict=True))


def begun(task: Task) -> Weights:
    return {name: weight.requires_grad_() for name, weight in task.initial().items()}


def one_step(method: Any, **options: Any) -> tuple[Tensor, float]:
    meter = Meter(Budget(), snapshots=())
    images = method.distill(plain_task(**options), meter).parts["images"]
    return images, meter.history["loss"][0][1]


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The gradients that Adam's steps are given."""
    found: list[Tensor] = []

    class Watched(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            found.extend(parameter.grad.clone() for parameter in self.param_groups[0]["params"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    return found


def test_a_step_of_addressable_memories_is_the_papers() -> None:
    inner: dict[str, Any] = {"steps": 3, "images_per_step": 1, "lr_network": 0.2, "momentum": 0.8}
    inner |= {"batch_real": 12, "decoder": "pixels", "init": "real"}
    method = AddressableMemories(iterations=1, lr_images=500.0, largest=1e-3, **inner)
    after, logged = one_step(method)
    task = plain_task()
    before, labels = task.real_init()
    weights, images = begun(task), before.clone().requires_grad_()
    velocity = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    generator = task.generator("training", device="cpu")
    for _ in range(3):
        chosen = balanced_batch(labels, 3, 1, generator)
        gradient = loss_gradient(task, weights, images[chosen], labels[chosen])
        velocity = {name: 0.8 * velocity[name] + gradient[name] for name in weights}
        weights = {name: weights[name] - 0.2 * velocity[name] for name in weights}
    outer = cross_entropy(task, weights, *task.real.batch(12, task.generator("real")))
    (image_gradient,) = torch.autograd.grad(outer, images)
    assert logged == pytest.approx(outer.item(), rel=1e-5)
    norm = image_gradient.norm()
    assert norm > 2e-3
    assert torch.allclose(before - after, 0.5 * image_gradient / norm, rtol=1e-3, atol=1e-5)


def test_a_step_of_truncated_backprop_is_the_papers(gradients: list[Tensor]) -> None:
    inner = {"steps": 4, "window": 2, "least": 2, "images_per_step": 1, "lr_network": 0.01}
    method = TruncatedBackprop(iterations=1, largest=0.5, batch_real=12, init="real", **inner)
    _, logged = one_step(method)
    task = plain_task()
    before, labels = task.real_init()
    images, generator = before.clone().requires_grad_(), task.generator("training", device="cpu")
    assert 2 + int(torch.randint(1, (), generator=generator)) == 2  # the one place of the window
    weights = begun(task)
    first = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    second = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for step in range(1, 5):
        chosen = balanced_batch(labels, 3, 1, generator)
        gradient = loss_gradient(task, weights, images[chosen], labels[chosen])
        for name, g in gradient.items():
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            size = (second[name] / (1 - 0.999**step) + 1e-16).sqrt()
            weights[name] = weights[name] - 0.01 * first[name] / (1 - 0.9**step) / size
        if step == 2:  # the window begins, and nothing goes back beyond it
            weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
            first, second = ({name: value.detach() for name, value in each.items()} for each in (first, second))
    outer = cross_entropy(task, weights, *task.real.batch(12, task.generator("real")))
    (expected,) = torch.autograd.grad(outer, images)
    assert logged == pytest.approx(outer.item(), rel=1e-4)
    assert torch.allclose(gradients[0], 0.5 * expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_an_outer_step_follows_the_mean_over_its_networks(gradients: list[Tensor]) -> None:
    method = Backprop(iterations=1, epochs=1, batch_real=12, init="real", lr_initial=0.2, networks_per_step=3)
    _, logged = one_step(method, ipc=1)
    task = plain_task(ipc=1)
    before, labels = task.real_init()
    expected, losses = torch.zeros_like(before), []
    for _ in range(3):
        weights, images = begun(task), before.clone().requires_grad_()
        gradient = loss_gradient(task, weights, images, labels)
        trained = {name: weights[name] - 0.2 * gradient[name] for name in weights}
        outer = cross_entropy(task, trained, *task.real.batch(12, task.generator("real")))
        expected += torch.autograd.grad(outer, images)[0] / 3
        losses.append(outer.item())
    assert logged == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert torch.allclose(gradients[0], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    "decoder",
    [
        "multi_formation",
        "hallucinators,count=1,channels=1",
        "canvas,factor=2",
        pytest.param("linear_bases,bases=2", marks=pytest.mark.slow),
    ],
)
def test_backprop_learns_whatever_is_decoded(decoder: str) -> None:
    task = tiny_task(ipc=4)
    method = Backprop(iterations=3, epochs=2, batch_real=16, decoder=decoder)
    artifact = method.distill(task, Meter(Budget()))
    assert artifact.decoder.name == decoder.partition(",")[0]
    assert artifact.recipe.order is not None
    assert artifact.recipe.order.flatten().sort().values.tolist() == list(range(len(artifact.decode()[0])))
