"""Trajectory matching against plain graphs and TESLA's formula, and what its members add, by hand."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.generators import seeded
from ddbench.families.experts import Expert, expert_trajectories
from ddbench.families.synthetic_set import SyntheticSet
from ddbench.families.trajectory_matching import minibatches, random_segment, squared_distance
from ddbench.families.unrolling.recompute import made
from ddbench.families.unrolling.unroll import Unroll
from ddbench.meter.checkpoint import State, capture
from ddbench.meter.meter import Meter
from ddbench.networks.flatten import flatten, unflatten
from ddbench.records.cell import Budget
from ddbench.registry import discover
from ddbench.task.task import Task
from methods.difficulty_aligned_matching import DifficultyAlignedMatching, choose, mean_of_right
from methods.factorization import Factorization
from methods.flat_trajectory_matching import FlatTrajectoryMatching
from methods.scalable_trajectory_matching import ScalableTrajectoryMatching
from methods.tileable_textures import TileableTextures
from methods.trajectory_matching import TrajectoryMatching
from tasks import random_task

discover()
TINY: dict[str, Any] = {
    **TrajectoryMatching.tiny,
    "iterations": 1,
    "augment": False,
    "lr_images": 10.0,
    "lr_student": 0.3,
}
PARAMETERS = 16 * 5 + 5 + 5 * 3 + 3
FAMILY = [
    TrajectoryMatching,
    ScalableTrajectoryMatching,
    FlatTrajectoryMatching,
    DifficultyAlignedMatching,
    TileableTextures,
    Factorization,
]
every_member = pytest.mark.parametrize("cls", FAMILY, ids=lambda cls: cls.__name__)


def segment() -> tuple[Tensor, Tensor]:
    """Return where a student starts and what it is to reach, (P,) float64."""
    generator = seeded(7)
    start = 0.5 * torch.randn(PARAMETERS, generator=generator, dtype=torch.float64)
    return start, start + 0.2 * torch.randn(PARAMETERS, generator=generator, dtype=torch.float64)


def doubled(synthetic: SyntheticSet) -> SyntheticSet:
    """The same in float64, labels learned too where they are no indices."""
    for name, part in synthetic.parts.items():
        if part.is_floating_point():
            synthetic.parts[name] = part.detach().double().requires_grad_()
    return synthetic


def with_logits(task: Task) -> SyntheticSet:
    images, labels = task.real_init()
    logits = torch.randn(len(labels), 3, generator=seeded(1))
    return SyntheticSet(task, parts={"images": images, "labels": logits})


def ours(
    task: Task, synthetic: SyntheticSet, unroll: Unroll, lr: float = 0.3, augment: bool = False, student_steps: int = 5
) -> tuple[Tensor, list[Tensor]]:
    """Return the distance, and its gradients with respect to images, step size and, where they are learned, labels."""
    start, target = segment()
    step_size = torch.tensor(lr, dtype=torch.float64, requires_grad=True)
    student = flatten(
        unroll(unflatten(start, task.like), minibatches(task, synthetic, step_size, student_steps, 4, augment))
    )
    distance = squared_distance(student, target) / squared_distance(start, target)
    learned = [synthetic.parts["images"], step_size]
    if synthetic.parts["labels"].is_floating_point():
        learned.append(synthetic.parts["labels"])
    return distance.detach(), list(torch.autograd.grad(distance, learned))


def orders(generator: torch.Generator) -> list[Tensor]:
    """Five batches of at most four out of six images: three shuffles, of which the last is cut."""
    shuffles = [torch.randperm(6, generator=generator) for _ in range(3)]
    return [shuffles[0][:4], shuffles[0][4:], shuffles[1][:4], shuffles[1][4:], shuffles[2][:4]]


def gradient(task: Task, weights: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy, (P,), differentiable."""
    loss = F.cross_entropy(functional_call(task.network, dict(weights), (images,)), labels)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(weights.values()), create_graph=True)])


def plain_graph(task: Task, synthetic: SyntheticSet, lr: float, augment: bool = False) -> tuple[Tensor, list[Tensor]]:
    """What `ours` gives, by one graph through all steps: Cazenavette et al., CVPR 2022, Algorithm 1."""
    (weights, target), like = segment(), task.initial()
    start, step_size = weights, torch.tensor(lr, dtype=torch.float64, requires_grad=True)
    images, labels = synthetic.parts["images"], synthetic.parts["labels"]
    generator = task.generator("student", device="cpu")
    weights = start.clone().requires_grad_()
    for chosen in orders(generator):
        batch = task.augmentation(images[chosen], generator) if augment else images[chosen]
        shares = labels[chosen].softmax(1) if labels.is_floating_point() else labels[chosen]
        weights = weights - step_size * gradient(task, unflatten(weights, like), batch, shares)
    distance = (weights - target).square().sum() / (start - target).square().sum()
    learned = [images, step_size, *([labels] if labels.is_floating_point() else [])]
    return distance.detach(), list(torch.autograd.grad(distance, learned))


def two_passes(task: Task, synthetic: SyntheticSet, lr: float) -> tuple[Tensor, list[Tensor]]:
    """What `ours` gives, by the formula of Cui et al., ICML 2023: |start - lr G - target|^2, weights as constants."""
    (start, target), like = segment(), task.initial()
    images, labels = synthetic.parts["images"], synthetic.parts["labels"]
    soft = labels.is_floating_point()
    batches = orders(task.generator("student", device="cpu"))

    def gradient_at(point: Tensor, chosen: Tensor) -> Tensor:
        weights = unflatten(point.detach().requires_grad_(), like)
        return gradient(task, weights, images[chosen], labels[chosen].softmax(1) if soft else labels[chosen])

    points, total = [start], torch.zeros_like(start)
    for chosen in batches:
        total = total + gradient_at(points[-1], chosen).detach()
        points.append(start - lr * total)
    far = (start - target).square().sum()
    cotangent = lr * (target - start) + lr**2 * total
    gradients = [torch.zeros_like(images), torch.zeros_like(labels)]
    for point, chosen in zip(points, batches, strict=False):
        found = torch.autograd.grad(cotangent @ gradient_at(point, chosen), [images, labels] if soft else [images])
        gradients = [sum_ + 2 * part / far for sum_, part in zip(gradients, found, strict=False)]
    of_lr = 2 * total @ (lr * total + target - start) / far
    distance = (points[-1] - target).square().sum() / far
    return distance, [gradients[0], of_lr, *gradients[1:]]


def close(ours: tuple[Tensor, list[Tensor]], theirs: tuple[Tensor, list[Tensor]]) -> bool:
    """Equal to 1e-9 of the largest number."""
    pairs = zip([ours[0], *ours[1]], [theirs[0], *theirs[1]], strict=True)
    return all(bool((a - b).abs().max() <= 1e-9 * b.abs().max()) for a, b in pairs)


# -- gradients of the distance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "logits"])
@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_exact_gradient_is_that_of_the_plain_graph(soft: bool, augment: bool, recompute: bool) -> None:
    task, twin = random_task(30), random_task(30)
    synthetic = doubled(with_logits(task) if soft else SyntheticSet(task))
    found = ours(task, synthetic, Unroll(task.loss, task.compiler, recompute), augment=augment)
    assert close(found, plain_graph(twin, synthetic, 0.3, augment))


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "logits"])
def test_the_approximate_gradient_is_that_of_two_passes(soft: bool) -> None:
    task, twin, third = random_task(30), random_task(30), random_task(30)
    synthetic = doubled(with_logits(task) if soft else SyntheticSet(task))
    found = ours(task, synthetic, Unroll(task.loss, task.compiler, chained=False))
    assert close(found, two_passes(twin, synthetic, 0.3))
    assert not close(found, plain_graph(third, synthetic, 0.3))


def test_for_a_single_step_both_gradients_are_the_same() -> None:
    synthetic = doubled(with_logits(random_task(30)))
    found = []
    for chained in (False, True):
        task = random_task(30)
        found.append(ours(task, synthetic, Unroll(task.loss, task.compiler, True, chained), student_steps=1))
    assert close(*found)


@pytest.mark.parametrize("chained", [False, True])
def test_a_student_that_stays_is_one_away(chained: bool) -> None:
    task = random_task(30)
    unroll = Unroll(task.loss, task.compiler, True, chained)
    distance, (of_images, _) = ours(task, doubled(SyntheticSet(task)), unroll, lr=0.0)
    assert distance == 1
    assert not of_images.any()


# -- outer steps ------------------------------------------------------------------------------------------------------


class Watched(Meter):
    """Keeps the loop's state before the first and after every step, and the gradients that the optimiser saw."""

    def __init__(self) -> None:
        super().__init__(Budget())
        self.state = State()
        self.begun: dict[str, Any] = {}
        self.states: list[dict[str, Any]] = []
        self.gradients: list[list[Any]] = []

    def steps(self, n: int, state: State, result: Any = None, name: str = "distil") -> Iterator[int]:
        if name == "distil":
            self.state, self.begun = state, capture(state)
        for step in super().steps(n, state, result, name):
            yield step
            if name == "distil":
                self.states.append(capture(state))
                groups = state.optimizer.param_groups
                found = [part.grad for group in groups for part in group["params"]]
                self.gradients.append([None if part is None else part.clone() for part in found])


class Recording(Unroll):
    """Keeps the images and labels of every student's steps."""

    students: list[list[tuple[Tensor, Tensor]]]

    def __call__(self, state: Any, steps: Any) -> Any:
        walk = list(steps)
        self.students.append([(made(images).detach().clone(), labels.detach().clone()) for images, labels, _ in walk])
        return super().__call__(state, walk)


@pytest.fixture
def students(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[Tensor, Tensor]]]:
    """Images and labels of each step of each student of the methods."""
    monkeypatch.setattr(Recording, "students", [], raising=False)
    for cls in FAMILY:
        monkeypatch.setattr(f"{cls.__module__}.Unroll", Recording)
    return Recording.students


def paths() -> Tensor:
    """Trajectories of two experts, (2, 4, P)."""
    return 0.3 * torch.randn(2, 4, PARAMETERS, generator=seeded(5)).cumsum(1)


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives every method the trajectories of `paths`."""
    for cls in FAMILY:
        monkeypatch.setattr(f"{cls.__module__}.expert_trajectories", lambda task, meter, expert: paths())


def distilled(cls: Any, meter: Meter, iterations: int = 3, **settings: Any) -> DistilledDataset:
    method = cls(**{**cls.tiny, **TINY, "iterations": iterations, "lr_lr": 1e-3, **settings})
    artifact: DistilledDataset = method.distill(random_task(30), meter)
    return artifact


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.usefixtures("ready")
@every_member
def test_images_step_size_and_labels_each_descend_with_their_own_momentum(cls: Any) -> None:
    meter = Watched()
    labels = {"lr_labels": 0.5, "largest": 1e6} if cls is DifficultyAlignedMatching else {}
    distilled(cls, meter, **labels)
    # by hand: velocity <- momentum * velocity + gradient, value <- value - lr * velocity
    rules = {name: (10.0, 0.5) for name in meter.begun["synthetic"] if name != "labels"} | {"lr": (1e-3, 0.5)}
    rules |= {"labels": (0.5, 0.9)} if labels else {}
    for index, (name, (lr, momentum)) in enumerate(rules.items()):
        value = meter.begun["lr"] if name == "lr" else meter.begun["synthetic"][name]
        velocity = torch.zeros_like(value)
        for state, gradients in zip(meter.states, meter.gradients, strict=True):
            velocity = momentum * velocity + gradients[index]
            value = value - lr * velocity
            found = state["lr"] if name == "lr" else state["synthetic"][name]
            assert gradients[index].abs().max() > 0
            assert torch.allclose(found, value, atol=1e-6)


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("cls", [TrajectoryMatching, ScalableTrajectoryMatching, FlatTrajectoryMatching])
def test_labels_that_are_not_learned_stay(cls: Any) -> None:
    artifact = distilled(cls, Watched())
    assert artifact.parts["labels"].tolist() == [0, 0, 1, 1, 2, 2]
    assert artifact.label_kind == "index"


def test_segments_start_in_the_range_and_follow_their_expert() -> None:
    task = random_task(30)
    positions = torch.arange(20.0).view(2, 10, 1).expand(-1, -1, PARAMETERS)  # 0 to 9, and 10 to 19
    experts = set()
    for first in range(4):
        drawn = [random_segment(task, positions, 2, range(first, first + 3)) for _ in range(20)]
        assert {float((target - start).unique()) for start, target in drawn} == {2}
        starts = [float(start[0]) for start, _ in drawn]
        assert {start % 10 for start in starts} == {first, first + 1, first + 2}
        experts |= {start // 10 for start in starts}
    assert experts == {0, 1}


def watched_segments(monkeypatch: pytest.MonkeyPatch, cls: Any) -> list[tuple[int, range, Tensor]]:
    """Note the length, the start epochs and the target of every segment that the method asks for."""
    asked = []

    def watched(task: Task, trajectories: Tensor, epochs: int, starts: range) -> tuple[Tensor, Tensor]:
        start, target = random_segment(task, trajectories, epochs, starts)
        asked.append((epochs, starts, target))
        return start, target

    monkeypatch.setattr(f"{cls.__module__}.random_segment", watched)
    return asked


@pytest.mark.usefixtures("ready")
@every_member
def test_students_start_below_the_largest_epoch(monkeypatch: pytest.MonkeyPatch, cls: Any) -> None:
    asked = watched_segments(monkeypatch, cls)
    bound = {"current_start": 2} if cls is DifficultyAlignedMatching else {}
    distilled(cls, Meter(Budget()), max_start=2, match_epochs=2, **bound)
    assert [(epochs, starts) for epochs, starts, _ in asked] == [(2, range(2))] * 3


@pytest.mark.usefixtures("ready")
def test_a_distance_above_the_largest_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = iter([1.0, 1.0, 1e6, 1.0, 1.0, 1.0])  # of the student's and the expert's way, step by step
    monkeypatch.setattr(
        "methods.difficulty_aligned_matching.squared_distance", lambda a, b: next(factors) * squared_distance(a, b)
    )
    meter = Watched()
    distilled(DifficultyAlignedMatching, meter, largest=100.0, lr_labels=0.5)
    first, second, third = meter.states
    assert first["optimizer"]["state"]  # momentum among what must stay
    assert same(first, second)
    for part in ("images", "labels"):
        assert not torch.equal(second["synthetic"][part], third["synthetic"][part])
    assert [step for step, _ in meter.history["loss"]] == [0, 1, 2]
    assert meter.history["loss"][1] == (1, 100.0)  # as if it were the largest
    assert meter.history["skipped"] == [(0, 0.0), (1, 1.0), (2, 0.0)]


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(("largest", "far"), [(2.0, 42.5), (1.999, 0.0)])
def test_a_distance_of_exactly_the_largest_counts(monkeypatch: pytest.MonkeyPatch, largest: float, far: float) -> None:
    meter = Watched()

    def distance(a: Tensor, b: Tensor) -> Tensor:
        if not a.requires_grad:
            return torch.ones(())
        images = meter.state.synthetic.parts["images"]
        return 2 + (images - images.detach()).sum()  # 2, with a gradient of 1

    monkeypatch.setattr("methods.difficulty_aligned_matching.squared_distance", distance)
    artifact = distilled(DifficultyAlignedMatching, meter, largest=largest)
    moved = meter.begun["synthetic"]["images"] - artifact.parts["images"]
    # 10 times velocities of 1, 1.5 and 1.75
    assert torch.allclose(moved, torch.full_like(moved, far), atol=1e-4)


@pytest.mark.usefixtures("ready")
def test_the_running_average_is_returned() -> None:
    meter = Watched()
    artifact = distilled(FlatTrajectoryMatching, meter, averaging=0.75)
    average = random_task(30).real_init()[0]
    for state in meter.states:
        average = 0.75 * average + 0.25 * state["synthetic"]["images"]
        assert torch.allclose(state["average"]["images"], average, atol=1e-6)
        assert set(state["average"]) == {"images"}
    assert torch.allclose(artifact.parts["images"], average, atol=1e-6)
    assert not torch.allclose(artifact.parts["images"], meter.states[-1]["synthetic"]["images"], atol=1e-3)
    assert artifact.parts["labels"].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.usefixtures("ready")
def test_averaging_does_not_disturb_what_is_learned() -> None:
    plain, averaged, unweighted = Watched(), Watched(), Watched()
    artifact = distilled(TrajectoryMatching, plain)
    distilled(FlatTrajectoryMatching, averaged, averaging=0.9)
    for ours, theirs in zip(plain.states, averaged.states, strict=True):
        assert same(ours["synthetic"], theirs["synthetic"])
    assert torch.equal(artifact.parts["images"], plain.states[-1]["synthetic"]["images"])
    latest = distilled(FlatTrajectoryMatching, unweighted, averaging=0.0)
    assert torch.equal(artifact.parts["images"], latest.parts["images"])


class Hook:
    """Does nothing, and lives as long as the graph it is registered in."""

    def __call__(self, gradient: Tensor) -> None: ...


@pytest.mark.usefixtures("ready")
@every_member
def test_the_graph_of_a_student_is_gone_before_the_next_trains(monkeypatch: pytest.MonkeyPatch, cls: Any) -> None:
    hooks: list[weakref.ref[Any]] = []
    alive = []

    class Watching(Unroll):
        def __call__(self, state: Any, steps: Any) -> Any:
            alive.append(sum(hook() is not None for hook in hooks))
            end = super().__call__(state, steps)
            for weight in end.values():
                hook = Hook()
                weight.register_hook(hook)
                hooks.append(weakref.ref(hook))
            return end

    monkeypatch.setattr(f"{cls.__module__}.Unroll", Watching)
    distilled(cls, Meter(Budget()))
    assert alive == [0, 0, 0]


# -- what a student sees ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ready")
def test_new_labels_are_put_in_place_before_every_step(
    monkeypatch: pytest.MonkeyPatch, students: list[list[tuple[Tensor, Tensor]]]
) -> None:
    asked, meter = watched_segments(monkeypatch, ScalableTrajectoryMatching), Watched()
    artifact = distilled(ScalableTrajectoryMatching, meter, soft_labels=True)
    network = random_task(30).network
    for (_, _, target), before, steps in zip(asked, [meter.begun, *meter.states], students, strict=False):
        torch.nn.utils.vector_to_parameters(target, network.parameters())
        expected = network(before["synthetic"]["images"]).softmax(1)
        for images, labels in steps:
            assert torch.allclose(network(images).softmax(1), labels, atol=1e-6)
            assert torch.allclose(labels.sort(0).values, expected.sort(0).values, atol=1e-6)
    assert len(students) == 3
    assert torch.allclose(artifact.parts["labels"], expected, atol=1e-6)
    assert artifact.label_kind == "probabilities"


def test_a_student_reads_logits_as_probabilities() -> None:
    task = random_task(30)
    synthetic = with_logits(task)
    shares = synthetic.parts["labels"].softmax(1)
    for images, labels, _ in minibatches(task, synthetic, torch.tensor(0.3), 2, None, augment=False):
        order = [int((synthetic.parts["images"] == image).flatten(1).all(1).nonzero()) for image in made(images)]
        assert sorted(order) == [0, 1, 2, 3, 4, 5]
        assert torch.allclose(labels, shares[order])


def test_a_fresh_decoder_decodes_anew_at_every_student_step() -> None:
    task, twin = random_task(30), random_task(30)
    synthetic = SyntheticSet(task, "canvas,factor=1", "noise")
    canvases = synthetic.parts["canvases"].detach().clone()
    steps = list(minibatches(task, synthetic, torch.tensor(0.3), 2, None, augment=False))
    orders, corners = twin.generator("student", device="cpu"), twin.generator("decode", device="cpu")
    shuffles = [torch.randperm(6, generator=orders) for _ in range(2)]
    windows = []
    for shuffle, (images, labels, _) in zip(shuffles, steps, strict=True):
        places = (torch.rand(6, 2, generator=corners) * 4).long().tolist()
        rolled = [canvas.roll((-down, -right), (1, 2)) for canvas, (down, right) in zip(canvases, places, strict=True)]
        assert torch.equal(made(images), torch.stack(rolled)[shuffle])
        assert torch.equal(labels, task.labels()[shuffle])
        windows.append(torch.stack(rolled))
    assert not torch.equal(*windows)


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(("decoder", "decodings"), [("canvas,factor=1", 3), ("multi_formation", 1), ("pixels", 1)])
def test_other_decoders_decode_once_a_student(monkeypatch: pytest.MonkeyPatch, decoder: str, decodings: int) -> None:
    calls = []
    images = SyntheticSet.images
    monkeypatch.setattr(SyntheticSet, "images", lambda self: calls.append(self) or images(self))
    distilled(TrajectoryMatching, Meter(Budget()), 1, student_steps=3, batch_synthetic=4, decoder=decoder)
    assert len(calls) == decodings


# -- in constant memory, with soft labels -----------------------------------------------------------------------------


def test_exact_recomputation_is_trajectory_matching() -> None:
    settings = {**TINY, "iterations": 2, "student_steps": 3, "lr_images": 0.01}
    ours = ScalableTrajectoryMatching(**settings, gradient="exact").distill(random_task(30), Meter(Budget()))
    theirs = TrajectoryMatching(**settings).distill(random_task(30), Meter(Budget()))
    settings["iterations"] = 1
    theirs_at_first = TrajectoryMatching(**settings).distill(random_task(30), Meter(Budget()))
    rough = ScalableTrajectoryMatching(**settings).distill(random_task(30), Meter(Budget()))
    assert torch.allclose(ours.parts["images"], theirs.parts["images"], atol=1e-6)
    assert not torch.allclose(rough.parts["images"], theirs_at_first.parts["images"], atol=1e-6)


def test_soft_labels_are_what_the_expert_says_at_the_end_of_the_stretch() -> None:
    settings = ScalableTrajectoryMatching(**TINY, soft_labels=True)
    meter = Watched()
    artifact = settings.distill(random_task(30), meter)
    twin = random_task(30)
    network = twin.network
    target = expert_trajectories(twin, Meter(Budget()), settings.expert())
    reached = artifact.parts["labels"]
    images = random_task(30).real_init()[0]  # as they were before the step
    said = []
    for path in target:
        torch.nn.utils.vector_to_parameters(path[1], network.parameters())
        said.append(network(images).softmax(1))
    assert sum(bool(torch.allclose(reached, labels, atol=1e-6)) for labels in said) == 1
    assert artifact.label_kind == "probabilities"
    assert not torch.equal(artifact.parts["images"], images)


# -- flat trajectories ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "sharpness"),
    [
        (TrajectoryMatching, None),
        (ScalableTrajectoryMatching, None),
        (FlatTrajectoryMatching, (0.1, 0.5)),
        (DifficultyAlignedMatching, (0.1, 0.5)),
        (TileableTextures, None),
        (Factorization, None),
    ],
)
def test_experts_of_flat_trajectories_are_sharpness_aware(
    monkeypatch: pytest.MonkeyPatch, cls: type[Any], sharpness: tuple[float, float] | None
) -> None:
    asked = []
    monkeypatch.setattr(
        f"{cls.__module__}.expert_trajectories", lambda task, meter, expert: asked.append(expert) or paths()
    )
    settings = {**cls.tiny, "augment": True, **({"radius": 0.1, "surrogate": 0.5} if sharpness else {})}
    cls(**settings).distill(random_task(30), Meter(Budget()))
    epochs = 3 if cls is DifficultyAlignedMatching else 1  # its labels are those of the last epoch
    assert asked == [Expert(2, epochs, batch=16, lr=0.01, epoch_batches=2, augment=True, sharpness=sharpness)]


def test_flat_trajectories_give_the_running_average() -> None:
    meter = Watched()
    artifact = FlatTrajectoryMatching(**{**TINY, "iterations": 2, "lr_images": 1.0}, averaging=0.5).distill(
        random_task(30), meter
    )
    first, second = (state["synthetic"]["images"] for state in meter.states)
    expected = 0.25 * random_task(30).real_init()[0] + 0.25 * first + 0.5 * second
    assert torch.allclose(artifact.parts["images"], expected, atol=1e-6)


# -- aligned with difficulty ------------------------------------------------------------------------------------------


def test_the_range_of_starts_grows_as_by_hand() -> None:
    starts = DifficultyAlignedMatching()._start_epochs  # from 10 to 20 over 1000 steps
    found = {step: starts(step) for step in (0, 99, 100, 550, 999, 1000, 9999)}
    assert {step: epochs.stop for step, epochs in found.items()} == {
        0: 10, 99: 10, 100: 11, 550: 15, 999: 19, 1000: 20, 9999: 20,
    }  # fmt: skip
    assert {epochs.start for epochs in found.values()} == {0}
    constant = DifficultyAlignedMatching(min_start=2, current_start=4, max_start=4)._start_epochs
    assert {constant(step) for step in (0, 500, 5000)} == {range(2, 4)}


def test_students_start_in_the_range_of_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = watched_segments(monkeypatch, DifficultyAlignedMatching)
    settings = {"iterations": 6, "expert_epochs": 4, "max_start": 3, "min_start": 0, "current_start": 1, "growing": 4}
    distilled(DifficultyAlignedMatching, Meter(Budget()), **settings)
    starts = [epochs for _, epochs, _ in asked]
    assert starts == [range(1), range(1), range(2), range(2), range(3), range(3)]


def logits_for(answers: list[list[int]], sure: list[list[float]]) -> Tensor:
    """Logits of two classes, (experts, images, 2): what each expert answers, and by how much."""
    rows = [
        [[margin, 0.0] if answer == 0 else [0.0, margin] for answer, margin in zip(*pair, strict=True)]
        for pair in zip(answers, sure, strict=True)
    ]
    return torch.tensor(rows)


def test_images_are_chosen_by_the_first_expert_that_is_right() -> None:
    # class 0: the first expert is right about the third image, the second about the first two as well
    # class 1: nobody is right; least wrong are the second, then the third
    answers = [[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    sure = [[9.0, 9.0, 0.1, 3.0, 0.5, 1.0], [0.1, 5.0, 0.1, 3.0, 0.5, 1.0]]
    logits, labels = logits_for(answers, sure), torch.tensor([0, 0, 0, 1, 1, 1])
    assert choose(logits, labels, 1).tolist() == [2, 4]
    assert choose(logits, labels, 2).tolist() == [2, 0, 4, 5]
    assert choose(logits, labels, 3).tolist() == [2, 0, 1, 4, 5, 3]


def test_of_images_as_good_the_first_are_chosen() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    logits = logits_for([[1, 0, 0, 0, 0, 1, 1, 1]], [[1.0, 2.0, 9.0, 3.0, 1.0, 0.1, 7.0, 1.0]])
    assert choose(logits, labels, 2).tolist() == [1, 2, 5, 6]


def test_wrongly_answered_images_come_after_all_right_ones() -> None:
    # the first image is nearly right by the mean, the second is right for the last of three experts alone
    logits = torch.tensor([[[0.0, 0.1], [0.0, 9.0]], [[0.0, 0.1], [0.0, 9.0]], [[0.0, 0.1], [0.1, 0.0]]])
    one_class = torch.cat([logits, torch.zeros(3, 2, 2)], 1)
    assert choose(one_class, torch.tensor([0, 0, 1, 1]), 2).tolist()[:2] == [1, 0]


def test_labels_are_the_mean_of_the_experts_that_are_right() -> None:
    first = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [4.0, 0.0, 1.0]])  # of three experts
    second = torch.tensor([[3.0, 1.0, 0.0], [5.0, 1.0, 2.0], [4.0, 1.0, 1.0]])
    labels = torch.tensor([0, 1])
    found = mean_of_right(torch.stack([first, second], 1), labels)
    # right about the first image are the first and the last; about the second none: the mean (4, 1, 1) is turned
    assert torch.allclose(found, torch.tensor([[3.0, 0.5, 0.5], [1.0, 4.0, 1.0]]))
    assert torch.equal(found.argmax(1), labels)


def begin_in_a_loop(logits: Tensor, labels: Tensor, ipc: int) -> tuple[list[int], Tensor]:
    """The authors' way: expert by expert, image by image, until a class has enough."""
    chosen: list[int] = []
    for c in range(logits.shape[2]):
        own: list[int] = []
        for answers in logits.argmax(2):
            own += [i for i in torch.nonzero(labels == c).flatten().tolist() if answers[i] == c and i not in own]
        assert len(own) >= ipc
        chosen += own[:ipc]
    right = [[found for found in logits[:, i] if found.argmax() == labels[i]] for i in chosen]
    return chosen, torch.stack([torch.stack(found).mean(0) for found in right])


def test_difficulty_aligned_matching_begins_as_a_loop_would(monkeypatch: pytest.MonkeyPatch) -> None:
    twin, meter = random_task(30), Watched()
    method = DifficultyAlignedMatching(candidates=8, max_start=10, iterations=1, student_steps=1)
    trained = torch.stack([flatten(random_task(30).initial(seeded(number))) for number in range(6)])
    still = trained[:, None].expand(-1, method.expert_epochs + 1, -1)
    monkeypatch.setattr("methods.difficulty_aligned_matching.expert_trajectories", lambda *_: still)
    method.distill(random_task(30), meter)
    images, logits = meter.begun["synthetic"]["images"], meter.begun["synthetic"]["labels"]
    candidates, labels = twin.real.batch(8, twin.generator("real_init"), of=range(3))
    answers = []
    for weights in trained:
        torch.nn.utils.vector_to_parameters(weights, twin.network.parameters())
        answers.append(twin.network(candidates).detach())
    chosen, expected = begin_in_a_loop(torch.stack(answers), labels, 2)
    assert torch.equal(images, candidates[chosen])
    assert torch.allclose(logits, expected, atol=1e-6)


def test_difficulty_aligned_matching_learns_logits() -> None:
    meter = Watched()
    settings = {**DifficultyAlignedMatching.tiny, "iterations": 3, "largest": 1e6, "lr_labels": 0.5}
    artifact = DifficultyAlignedMatching(**settings).distill(random_task(30), meter)
    assert artifact.label_kind == "logits"
    assert artifact.parts["labels"].shape == (6, 3)
    labels = [state["synthetic"]["labels"] for state in meter.states]
    assert not torch.equal(labels[0], labels[1])
    assert torch.equal(artifact.parts["labels"], labels[2])
    assert meter.states[-1]["optimizer"]["param_groups"][2]["momentum"] == 0.9
