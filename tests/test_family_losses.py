"""What the newer members of both matching families descend, by hand and against plain loops."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.bench import Setup
from ddbench.compute.compiling import Compiler
from ddbench.compute.generators import seeded
from ddbench.data.augmentation import DSA, Draw
from ddbench.errors import UserError
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching, Guide, unit_features
from ddbench.families.experts import Expert, expert_trajectories
from ddbench.families.gradient_matching import GradientDistance, absolute, layerwise_cosine, squared
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import SyntheticSet
from ddbench.meter.checkpoint import State, capture
from ddbench.meter.meter import Meter
from ddbench.networks.flatten import unflatten
from ddbench.records.cell import Budget, NetworkSpec
from ddbench.registry import METHODS, discover
from ddbench.task.task import Task
from ddbench.testing import tiny_task
from methods.attention_matching import attention
from methods.contrastive_gradient_matching import ContrastiveGradientMatching
from methods.efficient_parameterization import EfficientParameterization
from methods.feature_alignment import Target, alignment

discover()
CLASSES, REAL = 3, 20


def make_task(ipc: int = 2) -> Task:
    """Three classes of noise, 3x16x16, for a convnet of three blocks of eight channels."""
    task = Setup(ipc=ipc, width=8, side=16, classes=CLASSES).task()
    task.compiler = Compiler()
    return task


def loaded(task: Task, weights: Mapping[str, Tensor]) -> nn.Module:
    task.network.load_state_dict(weights)
    return task.network


def real_of(task: Task) -> tuple[Tensor, ...]:
    """The next batch of each class."""
    return task.real.batch(REAL, task.generator("real"), of=range(CLASSES))[0].chunk(CLASSES)


def draws_of(task: Task) -> list[Draw]:
    """The next augmentation of each class."""
    return [task.augmentation.draw((), task.generator("augment", device="cpu"), shared=True) for _ in range(CLASSES)]


def augmented(augmentation: DSA, images: tuple[Tensor, ...], draws: list[Draw]) -> list[Tensor]:
    return [augmentation.apply(own, draw) for own, draw in zip(images, draws, strict=True)]


def activations(network: nn.Module, images: Tensor) -> list[Tensor]:
    """What every ReLU gives, by hooks, and what the classifier reads."""
    found: list[Tensor] = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.ReLU | nn.Linear)]
    hooks = [
        layer.register_forward_hook(lambda m, given, out: found.append(out if isinstance(m, nn.ReLU) else given[0]))
        for layer in layers
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return found


class Watched(Meter):
    """Keeps the gradients that the optimiser of the images saw, and the state after every step."""

    def __init__(self) -> None:
        super().__init__(Budget(), snapshots=())
        self.gradients: list[Tensor] = []
        self.states: list[dict[str, Any]] = []

    def steps(self, n: int, state: State, result: Any = None, name: str = "distil") -> Iterator[int]:
        for step in super().steps(n, state, result, name):
            yield step
            if name == "distil":
                (part,) = state.synthetic.learned
                self.gradients.append(part.grad.clone())
                self.states.append(capture(state))


def watched(name: str, task: Task, **settings: Any) -> Watched:
    meter = Watched()
    METHODS.get(name)(**{"iterations": 1, "batch_real": REAL, **settings}).distill(task, meter)
    return meter


def close(ours: Tensor, theirs: Tensor, rounded: float = 1e-4) -> None:
    """Equal to so much of the largest number."""
    assert theirs.abs().max() > 0
    assert (ours - theirs).abs().max() <= rounded * theirs.abs().max()


# -- attention --------------------------------------------------------------------------------------------------------


def test_attention_by_hand() -> None:
    maps = torch.tensor([[[[-1.0, 3.0]], [[2.0, -1.0]]]])  # two channels of 1x2
    assert torch.allclose(attention(maps, 1.0), torch.tensor([[0.6, 0.8]]))  # 3 and 4
    length = math.hypot(17, 82)  # 1 + 16 and 81 + 1
    assert torch.allclose(attention(maps, 4.0), torch.tensor([[17 / length, 82 / length]]))


def test_attention_is_of_length_one_for_every_image_and_zero_without_any() -> None:
    maps = torch.randn(5, 4, 3, 3, generator=seeded(0))
    maps[0] = 0
    looks = attention(maps, 4.0)
    assert looks.shape == (5, 9)
    assert torch.allclose(looks.norm(dim=1), torch.tensor([0.0, 1, 1, 1, 1]))


def test_attention_is_refused_where_there_are_no_maps() -> None:
    with pytest.raises(UserError, match=r"attention needs maps, .* not \(60, 128\); choose network convnet"):
        attention(torch.zeros(60, 128), 4.0)


@pytest.mark.parametrize("exponent", [1.0, 4.0])
def test_attention_matching_equals_a_loop_over_layers_and_classes(exponent: float) -> None:
    meter = watched("attention_matching", make_task(), exponent=exponent)
    twin = make_task()
    images = twin.real_init()[0].requires_grad_()
    network, real, draws = loaded(twin, twin.initial()), real_of(twin), draws_of(twin)
    total = torch.zeros(())
    pairs = (augmented(twin.augmentation, own, draws) for own in (real, images.chunk(CLASSES)))
    for theirs, ours in zip(*pairs, strict=True):
        *maps, _, last = zip(activations(network, theirs), activations(network, ours), strict=True)
        assert len(maps) == 2
        for layer in maps:
            means = []
            for found in layer:
                looks = [(image.abs() ** exponent).sum(0).flatten() for image in found]
                means.append(sum(look / look.norm() for look in looks) / len(looks))
            total = total + 100 * (means[0] - means[1]).square().sum()
        total = total + 100 * 0.01 * (last[0].mean(0) - last[1].mean(0)).square().sum()
    assert meter.history["loss"][0][1] == pytest.approx(total.item(), rel=1e-4)
    close(meter.gradients[0], torch.autograd.grad(total, images)[0])


# -- feature alignment ------------------------------------------------------------------------------------------------


def test_alignment_by_hand() -> None:
    real = Target(torch.tensor([[5.0, 1.0], [0.0, 0.0]]), torch.tensor([[1.0], [0.0]]), torch.tensor([0, 1]))
    means, centres = torch.tensor([[4.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0], [0.0]])
    # distances 1 and 1; logits (1, 0) and (0, 0)
    expected = 2 + 0.01 * (math.log(1 + math.exp(-1)) + math.log(2))
    assert alignment(real, means, centres, discrimination=0.01).item() == pytest.approx(expected)


def test_alignment_sums_cross_entropy_over_real_images() -> None:
    real = Target(torch.zeros(2, 3), torch.zeros(9, 2), torch.tensor([0] * 7 + [1] * 2))
    found = alignment(real, torch.zeros(2, 3), torch.zeros(2, 2), discrimination=1.0)
    assert found.item() == pytest.approx(9 * math.log(2))


@pytest.mark.parametrize("ipc", [1, 3])
def test_feature_alignment_equals_a_loop_over_layers(ipc: int) -> None:
    meter = watched("feature_alignment", make_task(ipc), probe=4)
    twin = make_task(ipc)
    images = SyntheticSet(twin, init="noise").parts["images"]
    network, real = loaded(twin, twin.initial()), real_of(twin)
    of_real, of_ours = ([activations(network, own) for own in groups] for groups in (real, images.chunk(CLASSES)))
    total = torch.zeros(())
    for layer, weight in enumerate((0.1, 0.1, 1.0, 2.0)):
        for c in range(CLASSES):
            total = total + weight * (of_real[c][layer].mean(0) - of_ours[c][layer].mean(0)).square().sum()
    centres = torch.stack([own[-1].mean(0) for own in of_ours])
    for c in range(CLASSES):
        for features in of_real[c][-1]:
            total = total - 0.01 * (centres @ features).log_softmax(0)[c]
    assert meter.history["loss"][0][1] == pytest.approx(total.item(), rel=1e-4)
    close(meter.gradients[0], torch.autograd.grad(total, images)[0])


# -- contrastive gradients --------------------------------------------------------------------------------------------


def gradients(network: nn.Module, images: Tensor, labels: Tensor, graph: bool = False) -> list[Tensor]:
    loss = F.cross_entropy(network(images), labels)
    return list(torch.autograd.grad(loss, list(network.parameters()), create_graph=graph))


def labels_of(groups: tuple[Tensor, ...]) -> list[Tensor]:
    return [torch.full((len(own),), c) for c, own in enumerate(groups)]


@pytest.mark.parametrize("augment", [False, True])
def test_the_contrastive_distance_is_that_of_whole_gradients(augment: bool) -> None:
    task, twin = make_task(), make_task()
    ours, labels = SyntheticSet(task).images()
    theirs = task.real.by_class(REAL, task.generator("real"))
    view = ours
    if augment:
        theirs, view = siamese_by_class(task, theirs, ours)
    distance = GradientDistance(task, layerwise_cosine)
    gradient, loss = distance.of_all(task.initial(), theirs, (view, labels))
    view.backward(gradient)
    images = twin.real_init()[0].requires_grad_()
    network, real = loaded(twin, twin.initial()), real_of(twin)
    seen = images
    if augment:
        draws = draws_of(twin)
        real = tuple(augmented(twin.augmentation, real, draws))
        seen = torch.cat(augmented(twin.augmentation, images.chunk(CLASSES), draws))
    by_class = [gradients(network, own, labels) for own, labels in zip(real, labels_of(real), strict=True)]
    target = [sum(own) / CLASSES for own in zip(*by_class, strict=True)]
    total = torch.zeros(())
    for a, b in zip(target, gradients(network, seen, twin.labels(), graph=True), strict=True):
        if a.ndim > 1:
            for row, other in zip(a.flatten(1), b.flatten(1), strict=True):
                total = total + 1 - row @ other / (row.norm() * other.norm() + 1e-6)
    assert loss.item() == pytest.approx(total.item(), rel=1e-4)
    assert ours.grad is not None
    close(ours.grad, torch.autograd.grad(total, images)[0])


def test_either_count_ends_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    for name, short in (("by_class", "."), ("of_all", "+")):

        def noted(self: GradientDistance, *batches: Any, short: str = short) -> tuple[Tensor, Tensor]:
            turns.append(short)
            return torch.zeros_like(batches[2][0]), torch.zeros(())

        monkeypatch.setattr(GradientDistance, name, noted)
    settings = {"matchings": 4, "epochs": 0, "warmup_networks": 2, "warmup_matchings": 3}
    ContrastiveGradientMatching(iterations=3, **settings).distill(make_task(), Meter(Budget(), snapshots=()))
    assert "".join(turns) == "...+...+++++"


# -- gradients of convolutions ----------------------------------------------------------------------------------------


def test_distances_of_convolutions_by_hand() -> None:
    shapes = {"conv.weight": (1, 2, 1, 1), "conv.bias": (1,), "norm.weight": (2,), "classifier.weight": (2, 2)}
    real = {name: torch.zeros(shape) for name, shape in shapes.items()}
    synthetic = {name: torch.full(shape, 9.0) for name, shape in shapes.items()}
    synthetic["conv.weight"] = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
    assert squared(real, synthetic) == 25
    assert absolute(real, synthetic) == 7
    for name in ("first.weight", "last.weight"):
        real[name], synthetic[name] = torch.ones(1, 1, 1, 2), torch.tensor([3.0, 2.0]).view(1, 1, 1, 2)
    assert squared(real, synthetic) == 25 + 2 * (4 + 1)
    assert absolute(real, synthetic) == 7 + 2 * (2 + 1)


def test_efficient_parameterization_needs_convolutions() -> None:
    task = tiny_task(network=NetworkSpec(name="mlp", parameters={"width": 4, "depth": 1}))
    with pytest.raises(UserError, match="compares gradients of convolutions, and this network has none; choose one"):
        EfficientParameterization(iterations=1, decoder="pixels").distill(task, Meter(Budget()))


@pytest.mark.parametrize("distance", ["squared", "absolute"])
@pytest.mark.parametrize("augment", [False, True])
def test_efficient_parameterization_equals_a_loop_over_classes(distance: str, augment: bool) -> None:
    settings = {"matchings": 1, "distance": distance, "augment": augment, "iterations": 1, "batch_real": REAL}
    task, twin, meter = make_task(), make_task(), Watched()
    EfficientParameterization(**settings).distill(task, meter)
    tiles = SyntheticSet(twin, "multi_formation").parts["tiles"]
    twin.initial()  # the method draws once before its first step
    network, real = loaded(twin, twin.initial()), real_of(twin)
    whole = F.interpolate(tiles.flatten(0, 1), scale_factor=2, mode="bilinear").chunk(CLASSES)
    if augment:
        draws = draws_of(twin)
        real, whole = (tuple(augmented(twin.augmentation, groups, draws)) for groups in (real, whole))
    total = torch.zeros(())
    for theirs, ours, c in zip(real, whole, range(CLASSES), strict=True):
        target = gradients(network, theirs, torch.full((REAL,), c))
        found = gradients(network, ours, torch.full((2 * 4,), c), graph=True)
        for a, b, parameter in zip(target, found, network.parameters(), strict=True):
            if parameter.ndim == 4:
                total = total + ((a - b) ** 2 if distance == "squared" else (a - b).abs()).sum()
    assert meter.history["loss"][0][1] == pytest.approx(total.item(), rel=1e-4)
    close(meter.gradients[0], torch.autograd.grad(total, tiles)[0])


# -- distributions ----------------------------------------------------------------------------------------------------


def mean_apart(real: Tensor, ours: Tensor) -> Tensor:
    return (real.mean(0) - ours.mean(0)).square().sum()


def kernel_apart(real: Tensor, ours: Tensor) -> Tensor:
    """Five Gaussian kernels on all pairs, and the mean over the blocks: Zhang et al., AAAI 2024."""
    points = torch.cat([ours, real])
    distances = (points[:, None] - points[None]).square().sum(2)
    n, m = len(points), len(ours)
    bandwidth = distances.detach().sum() / (n**2 - n)
    kernels = torch.stack([torch.exp(-distances / (bandwidth * 2.0**power)) for power in range(-2, 3)]).sum(0)
    return kernels[:m, :m].mean() - 2 * kernels[:m, m:].mean() + kernels[m:, m:].mean()


def energy_apart(real: Tensor, ours: Tensor) -> Tensor:
    between, within, own = (torch.cdist(a, b).mean() for a, b in ((real, ours), (real, real), (ours, ours)))
    return 2 * between - within - own


def sliced_apart(real: Tensor, ours: Tensor, directions: Tensor) -> Tensor:
    """Every point is repeated until both sets are as large; sorted ones then face each other."""
    size = math.lcm(len(real), len(ours))
    a, b = ((own @ directions.T).repeat_interleave(size // len(own), 0).sort(0).values for own in (real, ours))
    return (a - b).square().mean()


def characteristic_apart(real: Tensor, ours: Tensor, frequencies: Tensor) -> Tensor:
    """Amplitude and phase of the characteristic functions, half and half: Wang et al., CVPR 2025, equation 8."""
    p, q = (torch.exp(1j * (F.normalize(found, dim=1) @ frequencies.T)).mean(0) for found in (real, ours))
    amplitude = (p.abs() - q.abs()).square()
    phase = 2 * (p.abs() * q.abs() - p.real * q.real - p.imag * q.imag)
    return (0.5 * amplitude + 0.5 * phase).sqrt().mean()


def enlarged(tiles: Tensor) -> tuple[Tensor, ...]:
    """Four images for each stored one, class by class."""
    return F.interpolate(tiles.flatten(0, 1), scale_factor=2, mode="bilinear").chunk(CLASSES)


def guidance(network: nn.Module, groups: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """Mean cross-entropy of a trained network on all synthetic images."""
    return F.cross_entropy(network(torch.cat(list(groups))), torch.cat(labels_of(tuple(groups))))


@pytest.mark.parametrize("name", ["mean", "mmd_rbf", "energy", "sliced_wasserstein", "characteristic"])
@pytest.mark.parametrize("guided", [False, True])
def test_the_objective_is_the_sum_over_classes_and_the_guide(name: str, guided: bool) -> None:
    task = make_task()
    discrepancy, features = DISCREPANCIES[name], unit_features(task)
    weights, guide = task.initial(), task.initial()
    images, labels = task.real_init()
    real, drawn = real_of(task), discrepancy.draw(32, 16, seeded(3))
    target = discrepancy.summary(torch.stack([features(weights, own) for own in real]))
    images.requires_grad_()
    extra = Guide(guide, torch.tensor(3.0)) if guided else None
    value = FeatureMatching(task, features, discrepancy).objective(images, labels, weights, target, drawn, extra)
    total = torch.zeros(())
    network = loaded(task, weights)
    for theirs, ours in zip(real, images.chunk(CLASSES), strict=True):
        a, b = (F.normalize(activations(network, own)[-1], dim=1) for own in (theirs, ours))
        apart = {"mean": mean_apart, "mmd_rbf": kernel_apart, "energy": energy_apart}.get(name)
        along = {"sliced_wasserstein": sliced_apart, "characteristic": characteristic_apart}.get(name)
        total = total + (apart(a, b) if apart else along(a, b, drawn))
    (gradient,) = torch.autograd.grad(total, images, retain_graph=True)
    if guided:
        extra_loss = 3 * CLASSES * guidance(loaded(task, guide), images.chunk(CLASSES))
        total, gradient = total + extra_loss, gradient + torch.autograd.grad(extra_loss, images)[0]
    rounded = 3e-4 if name == "energy" else 1e-4  # an image's distance to itself is the root of what rounding leaves
    assert value.item() == pytest.approx(total.item(), rel=rounded)
    close(torch.autograd.grad(value, images)[0], gradient, rounded)


@pytest.mark.parametrize("ipc", [1, 2])
def test_a_step_of_maximum_mean_discrepancy_equals_a_loop_over_classes(ipc: int) -> None:
    meter = watched("maximum_mean_discrepancy", make_task(ipc), iterations=2, uses=2)
    for step in range(2):
        twin = make_task(ipc)
        tiles = SyntheticSet(twin, "multi_formation").parts["tiles"]
        if step:
            tiles = meter.states[0]["synthetic"]["tiles"].requires_grad_()
            real_of(twin), draws_of(twin)
        network, real, draws = loaded(twin, twin.initial()), real_of(twin), draws_of(twin)
        pairs = (augmented(twin.augmentation, groups, draws) for groups in (real, enlarged(tiles)))
        found = ([activations(network, own)[-1] for own in groups] for groups in pairs)
        total = sum(kernel_apart(theirs, ours) for theirs, ours in zip(*found, strict=True))
        assert meter.history["loss"][step][1] == pytest.approx(total.item(), rel=1e-4)
        close(meter.gradients[step], torch.autograd.grad(total, tiles)[0])


def test_a_step_of_characteristic_matching_equals_a_loop_over_classes() -> None:
    settings = {"experts": 2, "expert_steps": 3, "batch_expert": 8, "frequencies": 64, "guidance": 0.5}
    meter = watched("characteristic_matching", make_task(), lr_images=0.01, **settings)
    twin = make_task()
    expert = Expert(
        count=2, epochs=1, epoch_batches=3, batch=8, lr=0.01, momentum=0.9, weight_decay=5e-4, augment=True
    )  # fmt: skip
    ends = expert_trajectories(twin, Meter(Budget()), expert)
    tiles = SyntheticSet(twin, "multi_formation").parts["tiles"]
    generator = twin.generator("between", device="cpu")
    first, last = ends[int(torch.randint(2, (), generator=generator))]
    share = float(torch.rand((), generator=generator))
    like = twin.initial(seeded(0))
    real, draws = real_of(twin), draws_of(twin)
    frequencies = torch.randn(64, 32, generator=twin.generator("draws"))
    real, whole = (augmented(twin.augmentation, groups, draws) for groups in (real, enlarged(tiles)))
    network = loaded(twin, unflatten(share * first + (1 - share) * last, like))
    found = ([activations(network, own)[-1] for own in groups] for groups in (real, whole))
    total = sum(characteristic_apart(theirs, ours, frequencies) for theirs, ours in zip(*found, strict=True))
    (gradient,) = torch.autograd.grad(total, tiles, retain_graph=True)
    extra = 0.5 * CLASSES * guidance(loaded(twin, unflatten(last, like)), whole)
    gradient = gradient + torch.autograd.grad(extra, tiles)[0]
    assert meter.history["loss"][0][1] == pytest.approx((total + extra).item(), rel=1e-4)
    close(meter.gradients[0], gradient)
    moved = tiles.detach().clone().requires_grad_()
    moved.grad = meter.gradients[0]
    torch.optim.AdamW([moved], lr=0.01, weight_decay=5e-4).step()
    assert torch.allclose(meter.states[0]["synthetic"]["tiles"], moved, atol=1e-6)


def test_an_iteration_of_dual_view_alignment_is_two_steps_of_momentum() -> None:
    settings = {"experts": 2, "expert_steps": 3, "batch_expert": 8}
    meter = watched("dual_view_alignment", make_task(), lr_images=0.5, **settings)
    twin = make_task()
    expert = Expert(
        count=2, epochs=1, epoch_batches=3, batch=8, lr=0.01, momentum=0.9, weight_decay=5e-4, augment=True
    )  # fmt: skip
    ends = expert_trajectories(twin, Meter(Budget()), expert)
    tiles = SyntheticSet(twin, "multi_formation").parts["tiles"].detach().requires_grad_()
    generator = twin.generator("between", device="cpu")
    first, last = ends[int(torch.randint(2, (), generator=generator))]
    share = float(torch.rand((), generator=generator))
    like = twin.initial(seeded(0))
    real, draws = real_of(twin), draws_of(twin)
    network = loaded(twin, unflatten(share * first + (1 - share) * last, like))
    pairs = (augmented(twin.augmentation, groups, draws) for groups in (real, enlarged(tiles)))
    found = ([activations(network, own)[-1] for own in groups] for groups in pairs)
    total = sum(mean_apart(theirs, ours) for theirs, ours in zip(*found, strict=True))
    (velocity,) = torch.autograd.grad(total, tiles)
    moved = (tiles - 0.5 * velocity).detach().requires_grad_()
    images = twin.augmentation(torch.cat(list(enlarged(moved))), twin.generator("augment", device="cpu"))
    extra = CLASSES * guidance(loaded(twin, unflatten(last, like)), images.chunk(CLASSES))
    (gradient,) = torch.autograd.grad(extra, moved)
    assert meter.history["loss"][0][1] == pytest.approx(total.item(), rel=1e-4)
    assert meter.history["calibration"][0][1] == pytest.approx(extra.item(), rel=1e-4)
    after = moved - 0.5 * (0.5 * velocity + gradient)
    assert torch.allclose(meter.states[0]["synthetic"]["tiles"], after, atol=1e-5)


def guided_step(twin: Task, member: Mapping[str, Any], tiles: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Improved distribution matching in that member of the queue, `strength` for each percent: loss and gradient."""
    network, real, draws = loaded(twin, member["weights"]), real_of(twin), draws_of(twin)
    real, whole = (augmented(twin.augmentation, groups, draws) for groups in (real, enlarged(tiles)))
    found = ([activations(network, own)[-1] for own in groups] for groups in (real, whole))
    total = sum(mean_apart(theirs, ours) for theirs, ours in zip(*found, strict=True))
    total = total + strength * 100 * member["accuracy"] * CLASSES * guidance(network, whole)
    return total.detach(), torch.autograd.grad(total, tiles)[0]


def test_steps_of_improved_distribution_matching_equal_a_loop_over_classes() -> None:
    settings = {"begin": 3, "every": 100, "train": 3, "train_steps": 2, "batch_train": 60, "guidance": 0.5}
    meter = watched("improved_distribution_matching", make_task(), iterations=2, **settings)
    twin = make_task()
    fresh = [{"weights": twin.initial(), "accuracy": 0.0} for _ in range(3)]
    trained = meter.states[0]["source"]["members"]
    assert min(member["accuracy"] for member in trained) > 0
    starts = (
        SyntheticSet(twin, "multi_formation").parts["tiles"],
        meter.states[0]["synthetic"]["tiles"].requires_grad_(),
    )
    for step, (members, tiles) in enumerate(zip((fresh, trained), starts, strict=True)):
        order = torch.randperm(3, generator=twin.generator("queue", device="cpu"))
        torch.randperm(3, generator=twin.generator("queue", device="cpu"))  # who trains afterwards
        value, gradient = guided_step(twin, members[order[0]], tiles, 0.5)
        assert meter.history["loss"][step][1] == pytest.approx(value.item(), rel=1e-4)
        close(meter.gradients[step], gradient)
