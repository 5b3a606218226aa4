"""The contract: what a method promises, checked on a tiny task. For this repository's methods and everybody else's."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.generators import Generators, seeded
from ddbench.data import Dataset, Preprocessing, RealData, make_dataset
from ddbench.data.augmentation import DSA
from ddbench.errors import UserError
from ddbench.evaluation.images import ImageTraining
from ddbench.evaluation.modality import Training
from ddbench.io.atomic import digest
from ddbench.meter.checkpoint import State
from ddbench.meter.log import Diverged
from ddbench.meter.meter import Meter
from ddbench.networks import InitialWeights, build_network
from ddbench.networks.flatten import flatten
from ddbench.records.cell import Attack, Budget, NetworkSpec
from ddbench.registry import MODALITIES
from ddbench.task.hyperparameters import make_method
from ddbench.task.pretrained import pool_for_training
from ddbench.task.search_space import ranges_of
from ddbench.task.settings import SETTINGS, SettingInputs
from ddbench.task.task import Task

IDLE_SECONDS = 5.0
"""process time that a method may work on the tiny task without asking the meter"""
IPC = 2
IMAGES = "images"
"""the kind of data of methods that name none"""
NETWORK = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8})
ATTRIBUTES = {
    "paper": "the address of the paper",
    "family": "the family it belongs to",
    "settings": "the settings it works in, ('random',) for most",
    "tiny": "hyper-parameters with which a run on the tiny task takes a second",
}


class Complaint(Exception):
    """A clause of the contract that a method breaks, as a sentence."""


class _Interrupted(Exception):
    """Stands in for a kill."""


class _Endless(BaseException):
    """Reaches through whatever a method or a library may catch."""


def check_method(cls: type[Any]) -> list[str]:
    """Check a registered method against the contract; a sentence for what it breaks, none for a sound one.

    It is run a handful of times on 3 classes of 20 grey 8 x 8 images, 2 a class, or on the tiny task of each kind of
    data that its `modalities` name. It must: declare what `ATTRIBUTES` lists; return the images asked for, finite,
    balanced; give the same result twice from one seed, with or without snapshots; leave the real images alone; ask the
    meter for its work and stop at its last step; go on after an interruption as if there had been none.
    """
    missing = [f"declare `{name}`: {meaning}" for name, meaning in ATTRIBUTES.items() if not hasattr(cls, name)]
    if missing:
        return missing
    try:
        ranges_of(cls)
        for modality, setting in product(modalities_of(cls), cls.settings):
            _check_setting(cls, modality, setting)
    except (Complaint, UserError) as complaint:
        return [str(complaint)]
    return []


def modalities_of(cls: type[Any]) -> tuple[str, ...]:
    """Return the kinds of data that a method distils: images, unless its `modalities` name others."""
    return tuple(getattr(cls, "modalities", (IMAGES,)))


def tiny_training(modality: str, setting: str, generators: Generators, ipc: int = IPC, device: str = "cpu") -> Training:
    """Return the tiny task of a kind of data, and the check of what comes out: `tiny_task`, or a modality's `tiny`."""
    if modality != IMAGES:
        made: Training = MODALITIES.get(modality).tiny(setting, generators, ipc, device)  # type: ignore[attr-defined]
        return made
    return ImageTraining(tiny_task(ipc, setting, generators, device=device), {}, {})


def names_no_paper(cls: type[Any]) -> bool:
    """Return whether a method's link to a paper is the one that `ddbench new` writes."""
    return str(cls.paper).endswith("...")


def tiny_dataset() -> Dataset:
    """3 classes of 20 training and 5 test images, (1, 8, 8): a bright bar at a place of its own, with noise."""
    random = np.random.RandomState(0)
    labels = np.arange(75) % 3
    images = random.randint(0, 60, (75, 8, 8, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[1 + 2 * label : 3 + 2 * label] += 150
    return make_dataset("tiny", images[:60], labels[:60], images[60:], labels[60:])


def tiny_task(
    ipc: int = IPC,
    setting: str = "random",
    generators: Generators | None = None,
    data: Dataset | None = None,
    network: NetworkSpec = NETWORK,
    preprocessing: str = "normalize",
    device: str = "cpu",
) -> Task:
    """The task of `tiny_dataset` with a network of one layer; a pool has two, which nobody trained.

    Args:
        data: other ones than `tiny_dataset`
        device: where it lives
    """
    data, place = data or tiny_dataset(), torch.device(device)
    module = build_network(network.name, data.shape, len(data.classes), network.parameters).to(place)
    fresh, generators, generator = InitialWeights(module), generators or Generators("contract"), seeded(0)
    pool = pool_for_training(torch.stack([flatten(fresh(generator)) for _ in range(2)]).to(place), module)
    inputs = SettingInputs(fresh, generators, place, pool, Attack(source=0, target=1))
    return Task(
        RealData(data, Preprocessing.for_dataset(data, preprocessing).fit(data), place),
        module,
        shape=data.shape,
        classes=len(data.classes),
        ipc=ipc,
        setting=SETTINGS[setting](inputs),
        augmentation=DSA.for_dataset("digits"),
        generators=generators,
        device=place,
    )


def _check_setting(cls: type[Any], modality: str, setting: str) -> None:
    attempt = partial(_attempt, modality)
    first = attempt(cls, setting)
    if first.real_changed:
        raise Complaint("it changes the real images; clone a batch before writing into it")
    if first.went_on:
        raise Complaint("it goes on after the meter's last step; return what `result` gives when the loop ends")
    if attempt(cls, setting, snapshots=(0.0, 0.3, 0.6)).digest != first.digest:
        if attempt(cls, setting).digest != first.digest:
            raise Complaint("two runs of one seed differ; draw every random number from task.generator(name)")
        raise Complaint("taking a snapshot changes the run; `result` must not change the state or draw from generators")
    stops = sorted({first.steps // 3, first.steps // 2, first.steps - 1} - {0, -1})
    if _resumed(attempt, cls, setting, stops) != first.digest:
        alone = [stop for stop in stops if _resumed(attempt, cls, setting, [stop]) != first.digest]
        raise Complaint(
            f"a run interrupted after step {' and '.join(map(str, alone[:1] or stops))} and resumed differs from an "
            "unbroken one; keep everything the loop changes in State and read it through that"
        )


@dataclass(frozen=True)
class _Outcome:
    digest: str
    steps: int
    went_on: bool
    real_changed: bool


class _WatchedMeter(Meter):
    """Notes when it is asked, what the artefact was at the last step, and plays the kill."""

    def __init__(self, *, stop_after: int | None, touch: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._stop_after, self._touch = stop_after, touch
        self.at_end: str | None = None

    def steps(
        self, n: int, state: State, result: Callable[[], DistilledDataset] | None = None, name: str = "distil"
    ) -> Iterator[int]:
        self._touch()
        for step in super().steps(n, state, result, name):
            if self._stop_after is not None and sum(self.done.values()) >= self._stop_after:
                raise _Interrupted
            yield step
            self._touch()
        self.at_end = digest(result().to_bytes()) if result is not None else None


def _attempt(
    modality: str,
    cls: type[Any],
    setting: str,
    *,
    snapshots: tuple[float, ...] = (),
    stop_after: int | None = None,
    path: Path | None = None,
) -> _Outcome:
    """One run. The global generators start differently each time: nothing may depend on them."""
    _scramble()
    generators = Generators("contract")
    training = tiny_training(modality, setting, generators)
    real = training.task.real
    before = real.take(torch.arange(len(real)))[0]
    with _idle_limit() as touch:
        meter = _WatchedMeter(
            stop_after=stop_after,
            touch=touch,
            budget=Budget(),
            generators=generators,
            path=path,
            every=0.0,
            snapshots=snapshots,
        )
        artifact = _distilled(cls, training, meter)
    final = digest(artifact.to_bytes())
    return _Outcome(
        final,
        sum(meter.done.values()),
        went_on=meter.at_end is not None and meter.at_end != final,
        real_changed=not torch.equal(before, real.take(torch.arange(len(real)))[0]),
    )


def _distilled(cls: type[Any], training: Training, meter: Meter) -> DistilledDataset:
    artifact = _returned(cls, training.task, meter)
    if not isinstance(artifact, DistilledDataset):
        raise Complaint(f"distill returns {type(artifact).__name__}; return a DistilledDataset")
    try:
        training.check(artifact)
    except ValueError as error:
        raise Complaint(f"its artefact is not what the task asks for: {error}") from error
    return artifact


def _returned(cls: type[Any], task: Any, meter: Meter) -> object:
    try:
        returned = make_method(cls, cls.tiny).distill(task, meter)
        meter.finish()
    except _Interrupted:
        raise
    except UserError as error:
        raise Complaint(f"its tiny configuration is refused: {error}") from error
    except (Diverged, FloatingPointError) as error:
        raise Complaint(f"it diverges on the tiny task: {error}") from error
    except Exception as error:
        raise Complaint(f"it raises {type(error).__name__} on the tiny task: {error}") from error
    return returned


def _resumed(attempt: Callable[..., _Outcome], cls: type[Any], setting: str, stops: Iterable[int]) -> str:
    """Return the digest of a run that is interrupted after each of these steps, and goes on each time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        for stop in stops:
            with suppress(_Interrupted):
                return attempt(cls, setting, stop_after=stop, path=path).digest
        return attempt(cls, setting, path=path).digest


def _scramble() -> None:
    torch.seed()
    np.random.seed(time.monotonic_ns() % 2**32)


@contextmanager
def _idle_limit() -> Iterator[Callable[[], None]]:
    """Raise a Complaint when IDLE_SECONDS of process time pass between two calls of what is yielded.

    Windows has no timer of process time, so that a method without an end is not ended there.
    """
    if sys.platform == "win32":
        yield lambda: None
        return

    def expired(signum: int, frame: object) -> None:
        raise _Endless

    def touch() -> None:
        signal.setitimer(signal.ITIMER_PROF, IDLE_SECONDS)

    previous = signal.signal(signal.SIGPROF, expired)
    try:
        try:
            touch()
            yield touch
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, previous)
    except _Endless:
        raise Complaint(
            f"it works for over {IDLE_SECONDS:g} seconds on the tiny task without asking the meter for a step, or goes "
            "on after the meter's last one; take every step from meter.steps and stop when it ends"
        ) from None
