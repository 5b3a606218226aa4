"""What counting a step's operations costs is not charged, and nothing else hides in the step that is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddbench import State
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.load import MachineLoad
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from tasks import random_task


def walk(meter: Meter, clock: Any, lengths: list[float]) -> None:
    images, labels = random_task().real_init()
    for step in meter.steps(len(lengths), State(), lambda: DistilledDataset.pixels(images, labels)):
        clock.advance(lengths[step])
    meter.finish()


@pytest.mark.parametrize(
    ("lengths", "budget", "excused"),
    [
        ([1.5, 1.0, 1.0], None, 0.5),  # what the next step does not take
        ([0.9, 0.1, 0.1], None, 0.4),  # at most four times the next step
        ([9.0, 5.0, 5.0], None, 1.0),  # at most a second
        ([9.0, 5.0, 5.0], 100.0, 2.0),  # and a hundredth of the budget
        ([1.0, 2.0, 1.0], None, 0.0),
        ([7.0], None, 0.0),
    ],
)
def test_the_counted_step_is_charged_as_the_next_one_within_bounds(
    clock: Any, lengths: list[float], budget: float | None, excused: float
) -> None:
    meter = Meter(Budget(seconds=budget), clock, snapshots=())
    walk(meter, clock, lengths)
    assert meter.uncharged.get("counting", 0.0) == pytest.approx(excused)
    assert meter.charged == pytest.approx(sum(lengths) - excused)
    assert meter.timer.accounted == pytest.approx(sum(lengths))


def test_a_loop_without_a_result_is_not_counted(clock: Any) -> None:
    meter = Meter(Budget(), clock, snapshots=())
    for step in meter.steps(2, State(), name="experts"):
        clock.advance(5.0 - step)
    assert (meter.charged, meter.flops_per_step) == (9.0, None)


def test_a_run_that_is_resumed_after_the_counted_step_is_charged_as_an_unbroken_one(clock: Any, tmp_path: Path) -> None:
    images, labels = random_task().real_init()

    def attempt(stop: int | None) -> Meter:
        meter = Meter(Budget(), clock, path=tmp_path / "checkpoint.pt", every=0, snapshots=())
        for step in meter.steps(3, State(), lambda: DistilledDataset.pixels(images, labels)):
            if step == stop:
                raise KeyboardInterrupt
            clock.advance(1.5 if step == 0 else 1.0)
        meter.finish()
        return meter

    with pytest.raises(KeyboardInterrupt):
        attempt(stop=1)
    meter = attempt(stop=None)
    assert meter.charged == pytest.approx(3.0)
    assert meter.uncharged["counting"] == pytest.approx(0.5)


def test_the_load_is_the_share_of_all_cores_that_was_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([{"user": 10.0, "idle": 90.0, "iowait": 0.0}, {"user": 40.0, "idle": 97.0, "iowait": 3.0}])
    monkeypatch.setattr("psutil.cpu_times", lambda: type("Times", (), {"_asdict": lambda self: next(times)})())
    load = MachineLoad()
    assert load.share() == 0.75


def test_a_moment_has_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    same = type("Times", (), {"_asdict": lambda self: {"user": 1.0, "idle": 1.0}})()
    monkeypatch.setattr("psutil.cpu_times", lambda: same)
    assert MachineLoad().share() is None
