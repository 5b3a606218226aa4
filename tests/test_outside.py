"""What a run used, as its parent sees it and as its meter accounts for it."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from ddbench.data.paths import DATA_VARIABLE
from ddbench.meter.checkpoint import State
from ddbench.meter.meter import Meter
from ddbench.meter.phases import GRACE_SECONDS, GRACE_SHARE
from ddbench.records.cell import Budget
from ddbench.records.run_folder import OUTSIDE
from ddbench.runs.executors import distilling
from ddbench.runs.executors.family import Family
from ddbench.runs.outside import Outside, note_outside, read_outside
from factories import make_record

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {BURN.format(seconds=0.5)!r}])
{{ending}}
print(flush=True)
input()
"""


def stepping(clock: Any, lengths: list[float], budget: float) -> Meter:
    """A meter after steps of these lengths."""
    meter = Meter(Budget(seconds=budget), clock)
    for step in meter.steps(len(lengths), State()):
        clock.advance(lengths[step])
    return meter


@pytest.mark.parametrize(
    ("lengths", "beyond"),
    [
        ([8.0] * 13, 0.0),  # ends at 104 of 100
        ([30.0] * 4, 0.0),  # at 120, by less than a step
        ([10.0] * 9 + [9.0, 25.0], 24.0),  # the last step is longer than the others
        ([600.0], 500.0),
        ([150.0], 0.0),  # of one step there are no others; up to half of the budget
        ([1.0] * 99 + [12.0 - 1e-9], 0.0),  # a tenth and a second
        ([1.0] * 99 + [12.5], 11.5),
        ([1.0] * 50, 0.0),
    ],
)
def test_a_budget_may_be_overdrawn_by_a_usual_step(clock: Any, lengths: list[float], beyond: float) -> None:
    assert (GRACE_SECONDS, GRACE_SHARE) == (1.0, 0.1)
    assert stepping(clock, lengths, 100.0).timer.overdraft(100.0) == pytest.approx(beyond)
    assert stepping(clock, lengths, 1e9).timer.overdraft(None) == 0.0


def test_steps_of_another_loop_do_not_say_what_a_step_usually_takes(clock: Any) -> None:
    meter = Meter(Budget(seconds=100), clock)
    for _ in meter.steps(90, State(), name="experts"):
        clock.advance(1)
    lengths = [1.0, 1.0, 40.0]
    for step in meter.steps(9, State()):
        clock.advance(lengths[step] if step < 3 else 8)
    assert (meter.charged, meter.timer.overdraft(100)) == (132, 32)


def test_a_device_that_runs_ahead_is_some_steps_late(clock: Any) -> None:
    timer = stepping(clock, [8.0] * 15, 1e9).timer
    assert timer.overdraft(100) == 20
    clock.ahead = 8
    assert timer.overdraft(100) == 0


def test_work_after_the_last_step_is_charged(clock: Any) -> None:
    meter = stepping(clock, [1.0] * 5, 10.0)
    clock.advance(20)
    meter.finish()
    assert meter.timer.overdraft(10) == 15


def test_only_the_harness_pauses_for_nothing(clock: Any) -> None:
    meter = stepping(clock, [1.0] * 5, 100.0)
    for name, seconds in (("compile", 4), ("thinking", 50)):
        with meter.paused(name):
            clock.advance(seconds)
    assert meter.uncharged == {"compile": 4, "thinking": 50}
    assert meter.timer.accounted == 5 + 4


def test_what_comes_from_the_cache_did_not_pass_here(clock: Any) -> None:
    meter = stepping(clock, [1.0] * 5, 100.0)
    meter.timer.charge("experts", 40)
    assert (meter.charged, meter.timer.accounted) == (45, 5)


def test_an_attempt_accounts_for_itself(clock: Any) -> None:
    timer = stepping(clock, [1.0] * 5, 100.0).timer
    timer.restore({"distil": 60.0})  # five seconds of this attempt are replaced by those of the earlier one
    clock.advance(7)
    timer.settle()
    assert (timer.charged, timer.accounted) == (67, 12)


def test_some_seconds_and_a_twentieth_are_nobodys_concern() -> None:
    assert not Outside(total=1e6, last=115.0).exceeds(100.0, "cpu")
    assert Outside(total=0.0, last=115.1).exceeds(100.0, "cpu")
    assert not Outside(total=0.0, last=9.9).exceeds(0.0, "cpu")
    assert not Outside(total=0.0, last=29.9).exceeds(0.0, "cuda")


def test_attempts_add_up(tmp_path: Path) -> None:
    assert read_outside(tmp_path) is None
    for seconds in (3.0, 4.0):
        note_outside(tmp_path, seconds)
    assert read_outside(tmp_path) == Outside(total=7.0, last=4.0)
    (tmp_path / OUTSIDE).unlink()
    assert read_outside(tmp_path) is None


def test_it_is_written_only_where_somebody_looked() -> None:
    """Records from before have no such field, and keep their bytes."""
    assert "outside_seconds" not in make_record().model_dump()["measured"]
    assert make_record(outside_seconds=2.5).model_dump()["measured"]["outside_seconds"] == 2.5


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="sees processes in /proc")
@pytest.mark.parametrize("ending", ["child.wait()", "pass"])
def test_a_family_counts_its_children_and_ends_with_them(ending: str) -> None:
    command = [sys.executable, "-c", CHILD.format(ending=ending)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        family = Family(parent.pid)
        try:
            assert parent.stdout is not None
            parent.stdout.readline()
            deadline = time.monotonic() + 60
            while family.core_seconds() < 0.5 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert 0.5 <= family.core_seconds() < 5
            assert family.alive
        finally:
            family.end()
    assert not family.alive
    assert parent.returncode < 0
    assert family.core_seconds() >= 0.5, "it is not forgotten"


def test_nobody_is_a_family_too() -> None:
    family = Family(None)
    assert (family.alive, family.core_seconds(), family.held_bytes) == (False, 0.0, 0)
    family.end()


def test_where_helpers_may_leave_unseen_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilling, "adopt_orphans", lambda: False)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in (distilling.COMPILED, DATA_VARIABLE):  # which are there again afterwards
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.warns(RuntimeWarning, match="what becomes of a helper process whose parent ends"):
        distilling._keep_to_itself(tmp_path, None)
    monkeypatch.setattr(distilling, "adopt_orphans", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distilling._keep_to_itself(tmp_path, None)
