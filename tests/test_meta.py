"""Whatever runs in steps runs on the `meta` device too, where the host can neither read numbers nor lend its own.

So nobody needs a GPU to see that a step never waits for one, and never mixes devices.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.compute import host
from ddbench.compute.generators import Generators, seeded
from ddbench.data import Preprocessing, RealData
from ddbench.data.augmentation import AUGMENTATIONS, DSA, OPERATIONS, cutmix
from ddbench.decoders import check_storage, make_decoder
from ddbench.errors import UserError
from ddbench.evaluation.kernel_evaluator import KernelEvaluator
from ddbench.evaluation.kernel_protocol import KernelProtocol
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.families.coresets import on_host
from ddbench.families.kernels.named import KERNELS, KernelName
from ddbench.meter.checkpoint import State
from ddbench.meter.meter import Meter
from ddbench.networks import InitialWeights, build_network
from ddbench.networks.base import parameter_count
from ddbench.networks.flatten import flatten
from ddbench.records.cell import Attack
from ddbench.registry import METHODS, PROTOCOLS, discover
from ddbench.task.pretrained import pool_for_training
from ddbench.task.settings import SETTINGS, SettingInputs
from ddbench.task.task import Task
from ddbench.testing import NETWORK, tiny_dataset
from meta_device import META, MetaDevice, Stray, Waited, distil_on_meta, distil_within, on_meta, stepping
from tasks import decoders_of_images

discover()
SHAPE, CLASSES = (1, 8, 8), 3
ATTACK = Attack(source=1, target=0)


# -- methods ----------------------------------------------------------------------------------------------------------


def options(cls: type[Any]) -> Iterator[dict[str, object]]:
    """Each choice of a method's fields that are switches, names among several, or numbers that may be missing."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, usual = hints[field.name], cls.tiny.get(field.name, field.default)
        kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        for one in kinds:
            choices: tuple[object, ...] = ()
            if one is bool:
                choices = (True, False)
            elif typing.get_origin(one) is Literal:
                choices = typing.get_args(one)
            elif one is type(None):
                choices = (None,)
            elif type(None) in kinds and usual is None:
                choices = (one(1),) if one in (int, float) else ()
            yield from ({field.name: choice} for choice in choices if choice != usual)


def variants() -> Iterator[Any]:
    """Every method in each of its settings, with each decoder that it takes, and with each of its options.

    Decoders are stepped on their own, too; so `.ci/run` carries out all methods with all of them.
    """
    for name in METHODS:
        cls = METHODS.get(name)
        for setting in cls.settings:
            yield pytest.param(name, {}, setting, 2, id=f"{name}-{setting}")
        for option in options(cls):
            ((field, value),) = option.items()
            yield pytest.param(name, option, "random", 2, id=f"{name}-{field}={value}")
        if any(field.name == "decoder" for field in dataclasses.fields(cls)):
            for decoder in decoders_of_images():
                place = f"{name}-{decoder}"
                yield pytest.param(
                    name, {"decoder": decoder}, "random", room(decoder), marks=pytest.mark.slow, id=place
                )


def room(decoder: str) -> int:
    """Return the fewest images of a class in whose storage a decoder has room at its defaults."""
    for ipc in range(1, 100):
        with suppress(UserError):
            check_storage(make_decoder(decoder, {}), SHAPE, CLASSES, ipc)
            return ipc
    raise AssertionError(decoder)


def few_steps(cls: type[Any]) -> dict[str, Any]:
    """The settings of the contract, with outer steps that are enough for each kind of step."""
    return {**cls.tiny, **({"iterations": 2} if cls.tiny.get("iterations", 0) > 2 else {})}


@pytest.mark.parametrize(("name", "option", "setting", "ipc"), list(variants()))
def test_no_step_of_a_method_waits_or_mixes_devices(
    name: str, option: dict[str, object], setting: str, ipc: int
) -> None:
    cls = METHODS.get(name)
    try:
        reads = distil_on_meta(cls, {**few_steps(cls), **option}, setting, ipc)
    except UserError as refusal:
        pytest.skip(f"the method refuses it: {refusal}")
    assert "artefact" in {wait for wait, _ in reads}  # it came to an end


@dataclasses.dataclass(frozen=True)
class Planted:
    """Adds noise to real images; the others each do what a GPU would wait for or refuse."""

    name: ClassVar[str] = "planted"
    settings: ClassVar[tuple[str, ...]] = ("random",)

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        images, labels = task.real_init()
        state = State(images=images)
        for step in meter.steps(2, state):
            noise = torch.randn(images.shape, generator=task.generator("noise"), device=task.device)
            state.images += noise
            self.step(task, state, step)
            meter.log(size=state.images.norm())
        return DistilledDataset.pixels(state.images, labels)

    def step(self, task: Task, state: State, step: int) -> None:
        """Do nothing else."""


def test_a_step_that_stays_on_the_device_passes() -> None:
    assert set(distil_on_meta(Planted, {})) == {("artefact", False)}


PLANTED: dict[str, tuple[Callable[[Task, State], object], type[Exception] | tuple[type[Exception], ...]]] = {
    "item": (lambda task, state: state.images.norm().item(), RuntimeError),
    "float": (lambda task, state: float(state.images.norm()), RuntimeError),
    "bool": (lambda task, state: bool(state.images.norm() > 1), RuntimeError),
    "tolist": (lambda task, state: state.images.tolist(), NotImplementedError),
    "cpu": (lambda task, state: state.images.cpu(), NotImplementedError),
    "nonzero": (lambda task, state: torch.nonzero(state.images), NotImplementedError),
    "mask": (lambda task, state: state.images[state.images > 0], NotImplementedError),
    "index of the device": (lambda task, state: state.images[task.labels()[0]], RuntimeError),
    "assignment by mask": (lambda task, state: state.images.__setitem__(state.images > 0, 0.0), Waited),
    "tensor": (lambda task, state: torch.tensor([1.0], device=task.device), Waited),
    "copy that waits": (lambda task, state: torch.ones(3).to(task.device), Waited),
    "assignment that waits": (lambda task, state: state.images[0].copy_(torch.ones(1, 8, 8)), Waited),
    "read": (lambda task, state: on_host(state.images), Waited),
    "sum with the host's": (lambda task, state: state.images + torch.ones(8, 8), (RuntimeError, Stray)),
    "product with the host's": (lambda task, state: state.images @ torch.ones(8, 8), Stray),
    "index of the host": (lambda task, state: state.images[torch.arange(2)], Stray),
    "generator of the host": (lambda task, state: state.images.normal_(generator=seeded(0)), Stray),
    "generator elsewhere": (lambda task, state: task.generator("noise", device="cpu"), Stray),
    "draw on the host": (lambda task, state: torch.rand(3, generator=task.generator("noise")), Stray),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_a_gpu_waits_for_or_refuses_is_found(what: str) -> None:
    act, error = PLANTED[what]

    class Does(Planted):
        def step(self, task: Task, state: State, step: int) -> None:
            if step == 1:
                act(task, state)

    with pytest.raises(error):
        distil_on_meta(Does, {})


def test_the_host_may_send_what_it_drew_and_need_not_wait() -> None:
    class Draws(Planted):
        def step(self, task: Task, state: State, step: int) -> None:
            order = torch.randperm(len(state.images), generator=task.generator("order", device="cpu"))
            state.images = state.images[order.to(task.device, non_blocking=True)]

    assert distil_on_meta(Draws, {})


# -- decoders and augmentations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", decoders_of_images())
def test_no_decoder_waits_or_mixes_devices(name: str) -> None:
    with on_meta() as device:
        decoder, generator = make_decoder(name, {}), seeded(0, META)
        parts = decoder.start(
            lambda n: torch.zeros(CLASSES * n, *SHAPE, device=META), SHAPE, CLASSES, room(name), generator
        )
        with stepping(device):
            learned = [part.requires_grad_() for part in parts.values() if part.is_floating_point()]
            images, labels = decoder.decode(parts, 1, seeded(0))
            slopes = torch.autograd.grad(images.square().sum(), learned)
    assert all(tensor.is_meta for tensor in (images, labels, *slopes))


def augmentations() -> Iterator[Any]:
    """Every function of (images, generator) that augments, by its name."""
    for operation in OPERATIONS:
        yield pytest.param(DSA(strategy=(operation,)), id=operation)
    for name, make in AUGMENTATIONS.items():
        yield pytest.param(make("cifar10").apply, id=name)
    yield pytest.param(siamese_pair, id="siamese")
    yield pytest.param(mixed, id="cutmix")


def siamese_pair(images: Tensor, generator: torch.Generator) -> Tensor:
    dsa = DSA()
    draw = dsa.draw(tuple(images.shape), generator, shared=True)
    return dsa.apply(images, draw) + dsa.apply(images[:1], draw)


def mixed(images: Tensor, generator: torch.Generator) -> Tensor:
    labels = torch.zeros(len(images), 3, device=images.device)
    images, labels = cutmix(images, labels, generator, probability=1.0)
    return images * labels.sum()


@pytest.mark.parametrize("augment", list(augmentations()))
def test_no_augmentation_waits_or_mixes_devices(augment: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    with on_meta() as device, stepping(device):
        images, generator = torch.zeros(4, 3, 8, 8, device=META, requires_grad=True), seeded(0)
        for _ in range(4):  # of several operations
            made = augment(images, generator)
            (slope,) = torch.autograd.grad(made.square().sum(), images, create_graph=True)
            (second,) = torch.autograd.grad(slope.square().sum(), images)
            assert made.is_meta
            assert second.shape == images.shape


# -- training for a score ---------------------------------------------------------------------------------------------


def evaluator(protocol: Protocol, setting: str = "random", network: Any = NETWORK) -> ImageEvaluator:
    data, generators = tiny_dataset(), Generators("meta")
    module = build_network(network.name, data.shape, len(data.classes), network.parameters)
    fresh = InitialWeights(module)
    vectors = torch.stack([flatten(fresh(seeded(0)))] * 2)
    pool = dataclasses.replace(pool_for_training(vectors, module), held_out=vectors)
    made = SETTINGS[setting](SettingInputs(fresh, generators, META, pool, ATTACK))
    transform = Preprocessing.for_dataset(data).fit(data)
    return ImageEvaluator(data.to("meta"), transform, protocol, network, META, made, held_out=data.to("meta"))


def short(name: str) -> Protocol:
    """The protocol with two steps or epochs."""
    protocol = PROTOCOLS.get(name)
    assert isinstance(protocol, Protocol)
    table = protocol.steps_by_size and ((1, 2),)
    return dataclasses.replace(protocol, steps=protocol.steps and 2, epochs=protocol.epochs and 2, steps_by_size=table)


def artefacts() -> dict[str, DistilledDataset]:
    labels, draw = torch.arange(3).repeat_interleave(2), torch.rand(6, 3)
    images = torch.rand(6, 1, 8, 8)
    order = torch.arange(6).view(2, 3)
    recipe = Recipe(lr=torch.full((4,), 0.1), order=order, epochs=2, momentum=0.5)
    canvas = make_decoder("canvas", {"factor": 1})
    return {
        "index": DistilledDataset.pixels(images, labels),
        "probabilities": DistilledDataset.pixels(images, draw.softmax(1), label_kind="probabilities"),
        "logits": DistilledDataset.pixels(images, draw, label_kind="logits"),
        "targets": DistilledDataset.pixels(images, draw, label_kind="targets"),
        "weights": DistilledDataset.pixels(images, draw - 0.5, label_kind="weights"),
        "recipe": DistilledDataset.pixels(images, labels, recipe=recipe),
        "fresh": DistilledDataset({"canvases": images, "labels": labels}, canvas),
    }


def trainings() -> Iterator[tuple[str, str]]:
    """Every protocol that trains, and every kind of artefact that it takes, under those that tell them apart."""
    for name in PROTOCOLS:
        protocol = PROTOCOLS.get(name)
        if not isinstance(protocol, Protocol):
            continue
        apart = protocol.honours or protocol.losses or AUGMENTATIONS[protocol.augmentation]("cifar10").mixes
        refused = ("targets", "weights") if "kl" in dict(protocol.losses) else ()
        yield from ((name, kind) for kind in artefacts() if kind not in refused and (apart or kind == "index"))


@pytest.mark.parametrize(("name", "kind"), list(trainings()))
def test_no_training_for_a_score_waits_or_mixes_devices(name: str, kind: str) -> None:
    score_on_meta(short(name), artefacts()[kind])


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_kernel_waits_or_mixes_devices_while_it_predicts(kernel: KernelName) -> None:
    with on_meta() as device:
        scored = evaluator(short("quick-300@1")).under(NETWORK, KernelProtocol("k@1", "test", kernel))
        assert isinstance(scored, KernelEvaluator)
        for kind in ("index", "targets", "fresh"):
            with stepping(device):
                answers = scored.train(artefacts()[kind], 0)(torch.zeros(5, *SHAPE, device=META))
            assert (answers.shape, answers.is_meta) == ((5, CLASSES), True)
        scored.score(artefacts()["index"], seed=0)
    assert {wait for wait, _ in device.reads} == {"answers"}


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_waits_or_mixes_devices(setting: str) -> None:
    fresh = InitialWeights(build_network(NETWORK.name, (1, 8, 8), 3, NETWORK.parameters))
    artefact = dataclasses.replace(artefacts()["index"], initial=fresh(seeded(0)))
    score_on_meta(short("own-recipe@1"), artefact, setting)


def score_on_meta(protocol: Protocol, artefact: DistilledDataset, setting: str = "random") -> None:
    with on_meta() as device:
        scored = evaluator(protocol, setting)
        with stepping_while_training(scored, device) as trained:
            trained.score(artefact, seed=0)
    assert {wait for wait, _ in device.reads} == {"answers"}


@contextmanager
def stepping_while_training(scored: ImageEvaluator, device: MetaDevice) -> Iterator[ImageEvaluator]:
    """The evaluator, whose steps are marked: from the first report to the next reading."""
    answers = ImageEvaluator._answers

    def started(share: float) -> None:
        device.stepping = True

    def ended(self: ImageEvaluator, weights: Any, data: Any) -> Tensor:
        device.stepping = False
        return answers(self, weights, data)

    ImageEvaluator._answers = ended  # type: ignore[method-assign]
    try:
        yield scored.reporting(started)
    finally:
        ImageEvaluator._answers, device.stepping = answers, False  # type: ignore[method-assign]


# -- the list of what must wait ---------------------------------------------------------------------------------------


class Bare(nn.Module):
    """A network with a parameter of no known distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.remake = Bare


def draw_own_weights(device: MetaDevice) -> None:
    fresh = InitialWeights(Bare())
    with stepping(device):
        assert fresh(seeded(0, META))["scale"].is_meta


def start_linear_bases(device: MetaDevice) -> None:
    make_decoder("linear_bases", {"bases": 4}).start(
        lambda n: torch.zeros(CLASSES * n, *SHAPE, device=META), SHAPE, CLASSES, 4, seeded(0, META)
    )


def digest_pool(device: MetaDevice) -> None:
    module = build_network(NETWORK.name, SHAPE, CLASSES, NETWORK.parameters)
    assert pool_for_training(torch.zeros(2, parameter_count(module), device=META), module).digest


def serve_real_images(device: MetaDevice) -> None:
    data = tiny_dataset()
    RealData(data.to("meta"), Preprocessing.for_dataset(data).fit(data), META)


def run_method(name: str) -> Callable[[MetaDevice], None]:
    return lambda device: distil_within(device, METHODS.get(name), few_steps(METHODS.get(name)))


def score_once(device: MetaDevice) -> None:
    evaluator(short("quick-300@1")).score(artefacts()["index"], seed=0)


PROVOKED: dict[str, Callable[[MetaDevice], None]] = {
    "accuracy": run_method("feature_alignment"),
    "trajectory": run_method("trajectory_matching"),
    "own weights": draw_own_weights,
    "class table": serve_real_images,
    "unused bases": start_linear_bases,
    "clusters": run_method("k_means"),
    "pool": digest_pool,
    "artefact": run_method("random_real"),
    "answers": score_once,
}


def test_every_wait_of_the_list_is_provoked_here() -> None:
    assert PROVOKED.keys() == host.WAITS.keys()


@pytest.mark.parametrize("wait", host.WAITS)
def test_what_the_list_says_waits_does(wait: str) -> None:
    with on_meta() as device:
        PROVOKED[wait](device)
    assert {stepped for name, stepped in device.reads if name == wait} >= {host.WAITS[wait].within_steps}


def test_what_is_not_in_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match="the host waits for 'whim', which is not in WAITS; add it with the reason"):
        host.read(torch.zeros(1), "whim")


def test_numbers_are_read_as_they_are_and_shapes_as_a_count() -> None:
    tensor = torch.rand(3, requires_grad=True)
    read = host.read(tensor, "artefact")
    assert read.tolist() == tensor.tolist()
    assert read.data_ptr() != tensor.data_ptr()
    assert not read.requires_grad
    assert host.read(torch.zeros(2, 2, device=META), "artefact").tolist() == [[1, 2], [3, 4]]
    assert host.sent(torch.zeros(2, device=META)).tolist() == [1, 2]
