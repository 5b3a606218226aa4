"""`check_method` rejects a method for every clause of the contract, each with its own sentence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from ddbench import testing
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.meter.checkpoint import State
from ddbench.meter.meter import Meter
from ddbench.task.task import Task
from ddbench.testing import ATTRIBUTES, check_method

STEPS = 6


@dataclass(frozen=True)
class Sound:
    """Adds noise to real images, step by step; the others each break one clause."""

    name: ClassVar[str] = "sound"
    family: ClassVar[str] = "test"
    paper: ClassVar[str] = "https://example.org"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {}

    steps: int = STEPS

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        images, labels = task.real_init()
        state = State(images=images)

        def result() -> DistilledDataset:
            return DistilledDataset.pixels(state.images, labels)

        for step in meter.steps(self.steps, state, result):
            self.step(task, state, step)
        return result()

    def step(self, task: Task, state: State, step: int) -> None:
        state.images += torch.randn(state.images.shape, generator=task.generator("noise"))


def complaint(cls: type[Any]) -> str:
    (sentence,) = check_method(cls)
    return sentence


def test_a_sound_method_passes() -> None:
    assert check_method(Sound) == []


@pytest.mark.parametrize("missing", sorted(ATTRIBUTES))
def test_it_must_declare_what_others_read(missing: str) -> None:
    bare = {name: getattr(Sound, name) for name in ATTRIBUTES if name != missing}
    cls: Any = dataclass(frozen=True)(type("Bare", (), {**bare, "name": "bare", "distill": Sound.distill}))
    assert complaint(cls) == f"declare `{missing}`: {ATTRIBUTES[missing]}"


def test_all_that_is_not_declared_is_said_at_once() -> None:
    assert len(check_method(type("Bare", (), {}))) == len(ATTRIBUTES)


# -- what it returns --------------------------------------------------------------------------------------------------


def returning(change: Any) -> type[Any]:
    """A method that returns `change(task, images, labels)`."""

    @dataclass(frozen=True)
    class Returns(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            images, labels = task.real_init()
            artifact: DistilledDataset = change(task, images, labels)
            return artifact

    return Returns


pixels = DistilledDataset.pixels


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda task, images, labels: pixels(images[::2], labels[::2]),
            "its artefact is not what the task asks for: 3 images where the task asks for 3 classes x 2",
        ),
        (
            lambda task, images, labels: pixels(images.repeat(2, 1, 1, 1), labels.repeat(2)),
            "its artefact is not what the task asks for: image parts take 3072 bytes; 2 images a class are 1536",
        ),
        (
            lambda task, images, labels: pixels(images, labels.clamp(max=1)),
            "its artefact is not what the task asks for: classes have [2, 4, 0] images",
        ),
        (
            lambda task, images, labels: pixels(images, labels + 1),
            "its artefact is not what the task asks for: labels lie outside 0 to 2",
        ),
        (
            lambda task, images, labels: pixels(images, labels - 1),
            "its artefact is not what the task asks for: labels lie outside 0 to 2",
        ),
        (
            lambda task, images, labels: pixels(images[..., 1:, 1:], labels),
            "its artefact is not what the task asks for: images have shape (1, 7, 7)",
        ),
        (
            lambda task, images, labels: pixels(images / 0, labels),
            "it diverges on the tiny task: parts['images'] holds values that are not finite",
        ),
        (
            lambda task, images, labels: pixels(images * float("nan"), labels),
            "it diverges on the tiny task: parts['images'] holds values that are not finite",
        ),
        (
            lambda task, images, labels: pixels(images, labels.float()),
            "it raises ValueError on the tiny task: labels are (6,) float32; of kind 'index' they must be (N,) int64",
        ),
        (lambda task, images, labels: (images, labels), "distill returns tuple; return a DistilledDataset"),
        (lambda task, images, labels: None, "distill returns NoneType; return a DistilledDataset"),
        (lambda task, images, labels: images.nothing, "it raises AttributeError on the tiny task: "),
        (lambda task, images, labels: 1 / 0, "it raises ZeroDivisionError on the tiny task: division by zero"),
    ],
    ids=[
        "too few", "too many", "unbalanced", "labels above", "labels below", "another shape", "infinite", "NaN",
        "labels of another type", "a tuple", "nothing", "raises", "divides by zero",
    ],
)  # fmt: skip
def test_it_must_return_what_the_task_asks_for(change: Any, sentence: str) -> None:
    assert complaint(returning(change)).startswith(sentence)


def test_a_loss_that_is_not_finite_is_divergence() -> None:
    @dataclass(frozen=True)
    class Diverges(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            images, labels = task.real_init()
            for _ in meter.steps(STEPS, State()):
                meter.log(loss=float("nan"))
            return pixels(images, labels)

    assert complaint(Diverges) == "it diverges on the tiny task: loss became nan at step 0 of distil"


def test_tiny_settings_must_be_its_own() -> None:
    @dataclass(frozen=True)
    class Misspelt(Sound):
        tiny: ClassVar[dict[str, object]] = {"step": 2}

    assert complaint(Misspelt).startswith("its tiny configuration is refused: unknown hyper-parameter 'step' of sound")


def test_every_setting_it_declares_is_checked() -> None:
    @dataclass(frozen=True)
    class Fails(Sound):
        settings: ClassVar[tuple[str, ...]] = ("random", "fixed")

        def step(self, task: Task, state: State, step: int) -> None:
            if task.setting.name == "fixed":
                raise RuntimeError("not here")

    assert complaint(Fails) == "it raises RuntimeError on the tiny task: not here"


# -- two runs of one seed ---------------------------------------------------------------------------------------------

DIFFER = "two runs of one seed differ; draw every random number from task.generator(name)"


def test_the_global_generator_is_found_out() -> None:
    @dataclass(frozen=True)
    class Global(Sound):
        def step(self, task: Task, state: State, step: int) -> None:
            state.images += torch.randn(state.images.shape)

    assert complaint(Global) == DIFFER


def test_the_wall_clock_is_found_out() -> None:
    @dataclass(frozen=True)
    class Clock(Sound):
        def step(self, task: Task, state: State, step: int) -> None:
            state.images += time.perf_counter_ns() % 1000 / 1000

    assert complaint(Clock) == DIFFER


# -- the meter --------------------------------------------------------------------------------------------------------


def test_it_must_not_go_on_after_the_last_step() -> None:
    @dataclass(frozen=True)
    class GoesOn(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            images, labels = task.real_init()
            state = State(images=images)
            for _ in meter.steps(STEPS, state, lambda: pixels(state.images, labels)):
                state.images *= 0.5
            for _ in range(STEPS):
                state.images *= 0.5
            return pixels(state.images, labels)

    assert complaint(GoesOn).startswith("it goes on after the meter's last step; return what `result` gives")


def test_it_must_ask_the_meter_for_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "IDLE_SECONDS", 0.2)

    @dataclass(frozen=True)
    class NeverAsks(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            images, labels = task.real_init()
            for _ in work_without_end():
                images *= 0.5
            return pixels(images, labels)

    assert "over 0.2 seconds on the tiny task without asking the meter" in complaint(NeverAsks)


def test_it_must_not_work_on_without_end_after_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "IDLE_SECONDS", 0.2)

    @dataclass(frozen=True)
    class NeverEnds(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            artifact = super().distill(task, meter)
            for _ in work_without_end():
                artifact.to_bytes()
            return artifact

    assert "goes on after the meter's last one" in complaint(NeverEnds)


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_steps_may_together_take_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "IDLE_SECONDS", 0.2)

    @dataclass(frozen=True)
    class Patient(Sound):
        def step(self, task: Task, state: State, step: int) -> None:
            until = time.process_time() + 0.05
            while time.process_time() < until:
                state.images *= 1.0

    assert check_method(Patient) == []


def test_a_coreset_asks_for_nothing() -> None:
    assert check_method(returning(lambda task, images, labels: pixels(images, labels))) == []


def work_without_end() -> Iterator[None]:
    until = time.process_time() + 20
    while time.process_time() < until:  # an end all the same, should the limit not work
        yield


# -- snapshots, real images, resuming ---------------------------------------------------------------------------------


def test_a_snapshot_must_not_change_the_run() -> None:
    @dataclass(frozen=True)
    class Rounds(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            images, labels = task.real_init()
            state = State(images=images)

            def result() -> DistilledDataset:
                state.images = state.images.round()
                return pixels(state.images, labels)

            for step in meter.steps(STEPS, state, result):
                self.step(task, state, step)
            return result()

    assert complaint(Rounds).startswith("taking a snapshot changes the run; `result` must not change the state")


def test_what_a_snapshot_draws_is_put_back() -> None:
    @dataclass(frozen=True)
    class Draws(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            images, labels = task.real_init()
            state = State(images=images)

            def result() -> DistilledDataset:
                torch.rand(1, generator=task.generator("noise"))
                return pixels(state.images, labels)

            for step in meter.steps(STEPS, state, result):
                self.step(task, state, step)
            return result()

    assert check_method(Draws) == []


def test_it_must_not_change_the_real_images() -> None:
    @dataclass(frozen=True)
    class Vandal(Sound):
        def step(self, task: Task, state: State, step: int) -> None:
            task.real._images[step] = 0

    assert complaint(Vandal) == "it changes the real images; clone a batch before writing into it"


def test_what_a_loop_changes_must_be_in_its_state() -> None:
    @dataclass(frozen=True)
    class Forgets(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            images, labels = task.real_init()
            state, speed = State(images=images), 1.0
            for _ in meter.steps(STEPS, state, lambda: pixels(state.images, labels)):
                speed *= 0.5
                state.images += speed
            return pixels(state.images, labels)

    sentence = complaint(Forgets)
    assert sentence.startswith("a run interrupted after step ")
    assert "resumed differs from an unbroken one; keep everything the loop changes in State" in sentence


def test_state_must_be_read_through_itself() -> None:
    @dataclass(frozen=True)
    class Copies(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            images, labels = task.real_init()
            weights = [0.0]
            state = State(images=images, weights=weights)  # a list is replaced, which the local name does not see
            for step in meter.steps(STEPS, state, lambda: pixels(state.images, labels)):
                weights.append(float(step))
                state.images += sum(weights)
            return pixels(state.images, labels)

    assert complaint(Copies).startswith("a run interrupted after step ")


def test_state_that_cannot_be_kept_is_named() -> None:
    @dataclass(frozen=True)
    class Holds(Sound):
        def distill(self, task: Task, meter: Meter) -> DistilledDataset:
            images, labels = task.real_init()
            state = State(images=images, task=task)
            for _ in meter.steps(STEPS, state, lambda: pixels(state.images, labels)):
                state.images *= 0.5
            return pixels(state.images, labels)

    assert "a loop's state holds a Task, which cannot be resumed" in complaint(Holds)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_short_loops_are_checked_too(steps: int) -> None:
    @dataclass(frozen=True)
    class Short(Sound):
        tiny: ClassVar[dict[str, object]] = {"steps": steps}

    assert check_method(Short) == []
