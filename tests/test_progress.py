"""The displays of a board and of one run: readable at any width, and their time left true."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from ddbench.boards.jobs import Job
from ddbench.cli.bars import TimeLeft
from ddbench.cli.countdown import ALIKE, BoardCountdown, Expected, expectations
from ddbench.cli.progress import Display
from ddbench.cli.run_display import RunDisplay
from ddbench.cli.stages import Countdown, details, stage_of
from ddbench.meter.hooks import Progress
from ddbench.registry import discover
from ddbench.runs.forecast import CellForecast, Forecast
from ddbench.runs.plan import Event, Plan
from factories import jobs_of, make_record

discover()


@pytest.mark.parametrize(
    ("completed", "total", "elapsed", "left"),
    [
        (25, 100, 60.0, "0:03:00 left"),
        (0.5, 95, 30.0, ""),
        (2.5, 95, 1000.0, "10:16:40 left"),
        (95, 95, 1000.0, ""),
        (0, 0, 10.0, ""),
    ],
)
def test_the_time_left_is_by_what_all_of_it_took(completed: float, total: float, elapsed: float, left: str) -> None:
    task: Any = SimpleNamespace(completed=completed, total=total, elapsed=elapsed, fields={})
    assert TimeLeft().render(task).plain == left


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("width", [70, 100, 160])
def test_a_line_says_whole_what_runs_and_how_far_it_is(width: int, tmp_path: Path) -> None:
    (job, other) = jobs_of("dm", "random_real")
    shown = io.StringIO()
    with Display(Console(file=shown, width=width, force_terminal=True, color_system=None)) as display:
        display.todo(Plan([(job, tmp_path), (other, tmp_path)], [], [], []))
        display.event(Event(job, "started"))
        display.event(Event(job, "progress", "distil 12/200", 0.5, Progress("distil", 12, 200, 3.0, 0.5, {"l": 0.25})))
        display._progress.refresh()
        line = [line for line in shown.getvalue().splitlines() if "distribution_matching" in line][-1]
        board = [line for line in shown.getvalue().splitlines() if "board" in line][-1]
    assert "distribution_matching digits ipc 1 seed 0" in line
    assert "40 %" in line  # half of the distillation
    assert "distil 12/200 l 0.25" in line or width < 100
    assert "0/2" in board
    assert len(line.rstrip()) <= width


@pytest.mark.usefixtures("short")
def test_a_board_is_as_far_as_its_runs(tmp_path: Path) -> None:
    jobs = jobs_of("dm", "random_real", "class_mean", "herding")
    display = Display(Console(file=io.StringIO()))
    display.todo(Plan([(job, tmp_path) for job in jobs], [], [], []))
    for job in jobs[:2]:
        display.event(Event(job, "started"))
        display.event(Event(job, "progress", "distil 1/4", 0.25))
    (board, *_) = display._progress.tasks
    assert board.completed == pytest.approx(2 * 0.8 * 0.25)
    display.event(Event(jobs[0], "progress", "evaluate", 0.5))
    assert board.completed == pytest.approx(0.9 + 0.2)
    display.event(Event(jobs[0], "finished", record=make_record()))
    assert board.completed == pytest.approx(1.2)


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_of_a_board_weighs_runs_by_what_they_are_expected_to_take() -> None:
    clock = Clock()
    board = BoardCountdown({"quick": Expected(0, 20), "long": Expected(60, 20)}, workers=1, clock=clock)
    assert board.left() == 100  # the forecast
    board.start("quick")
    clock.now = 10.0
    board.note("quick", scoring=True, share=0.0)  # preparing is no scoring
    assert board.left() == pytest.approx(100)
    clock.now = 50.0  # scoring takes twice as long as was expected, so it will again
    board.finish("quick")
    scoring = 20 * (40 + 2) / (20 + 2)
    assert board.left() == pytest.approx(60 + scoring)
    board.start("long")
    clock.now = 80.0
    board.note("long", scoring=True, share=0.0)  # the first that is heard of it: an earlier command distilled
    assert board.left() == pytest.approx(scoring)
    board.finish("long")
    assert board.left() is None


def test_distilling_and_scoring_have_a_pace_each() -> None:
    clock = Clock()
    runs = {"one": Expected(10, 20), "other": Expected(10, 20)}
    board = BoardCountdown(runs, workers=1, clock=clock)
    board.start("one")
    board.note("one", scoring=False, share=0.0)
    clock.now = 30.0
    board.note("one", scoring=True, share=0.0)  # what passed until now was distilling
    assert board.left() == pytest.approx(10 * (30 + 1) / (10 + 1) + 40)
    clock.now = 35.0
    board.note("one", scoring=True, share=0.5)
    assert board.left() == pytest.approx(10 * (30 + 1) / (10 + 1) + 30 * (5 + 2) / (10 + 2))


def test_runs_that_have_not_begun_are_prepared_as_the_others_were() -> None:
    clock = Clock()
    board = BoardCountdown({str(n): Expected(10, 0) for n in range(4)}, workers=1, clock=clock)
    for number, preparing in enumerate((11.0, 1.0)):  # the first waited for processes to start
        board.start(str(number))
        clock.now += preparing
        board.note(str(number), scoring=False, share=0.0)
        clock.now += 10.0
        board.finish(str(number))
        assert board.left() == pytest.approx(30 if number == 0 else 2 * (10 + 1))


def test_a_board_takes_at_least_as_long_as_its_longest_run() -> None:
    runs = {"short": Expected(1, 1), "long": Expected(80, 20)}
    assert BoardCountdown(runs, workers=2, clock=Clock()).left() == 100


def test_without_a_forecast_runs_are_alike() -> None:
    clock = Clock()
    board = BoardCountdown({"one": ALIKE, "other": ALIKE}, clock=clock)
    clock.now = 10.0
    assert board.left() is None
    board.note("one", scoring=False, share=0.0)
    board.note("one", scoring=True, share=0.0)
    assert board.left() == pytest.approx(10 * 6 / 4)


@pytest.mark.usefixtures("short")
def test_what_is_unknown_of_a_run_is_expected_as_of_the_others() -> None:
    jobs = jobs_of("dm", "dc", budget="20s")
    known, unknown = (
        CellForecast(job.cell, 1, distil, 3.0, 0, "records") for job, distil in zip(jobs, (8.0, None), strict=True)
    )
    expected = expectations(jobs, Forecast([known, unknown]))
    assert [expected[job.folder] for job in jobs] == [Expected(8.0, 3.0)] * 2
    assert expectations(jobs, None)[jobs[0].folder] == ALIKE


# -- one run ----------------------------------------------------------------------------------------------------------


def reports(job: Job) -> list[Event]:
    """What a run of a trajectory method says, from its start to its end."""
    loops = [
        Progress("experts/0", 0, 50, 0.0, 0.0),
        Progress("experts/1", 12, 50, 4.0, 0.2),
        Progress("distil", 1204, 20_000, 8.06, 0.403, {"loss": 0.25, "lr": 0.01}),
    ]
    told = [Event(job, "progress", at.stage, at.fraction, at) for at in loops]
    before, compiling = Event(job, "progress", "prepare"), Event(job, "progress", "compile")
    scoring = [Event(job, "progress", "evaluate"), Event(job, "progress", "evaluate 2/5", 0.3)]
    return [Event(job, "started"), before, told[0], compiling, *told[1:], compiling, told[2], *scoring]


@pytest.mark.usefixtures("short")
def test_a_run_says_its_stages_in_words() -> None:
    (job,) = jobs_of("dm", budget="20s")
    told = [event for event in reports(job) if event.kind == "progress"]
    assert [(stage_of(event), details(event)) for event in told] == [
        ("prepare", ""),
        ("experts", "experts/0, step 0 of 50, 0.0 of 20 s"),
        ("compile", ""),
        ("experts", "experts/1, step 12 of 50, 4.0 of 20 s"),
        ("distil", "step 1,204 of 20,000, 8.1 of 20 s, loss 0.25"),
        ("compile", ""),
        ("distil", "step 1,204 of 20,000, 8.1 of 20 s, loss 0.25"),
        ("evaluate", ""),
        ("evaluate", "network 2 of 5"),
    ]
    (unbounded,) = jobs_of("dm")
    at = Progress("feature network", 1, 2, 3.0, 0.0)
    assert details(Event(unbounded, "progress", at.stage, 0.0, at)) == "step 1 of 2, 3.0 s"


@pytest.mark.usefixtures("short")
def test_a_pipe_gets_a_line_a_stage() -> None:
    (job,) = jobs_of("dm")
    shown = io.StringIO()
    with RunDisplay(Console(file=shown, width=200)) as display:
        for event in [*reports(job), Event(job, "warning", "slower"), Event(job, "stopping")]:
            display.event(event)
    assert shown.getvalue().splitlines() == [
        "preparing data", "pretraining experts", "compiling", "distilling", "scoring", "warning: slower",
        "stopping: the run keeps its state at its next step; Control-C again ends at once",
    ]  # fmt: skip


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("width", [70, 100, 160])
def test_a_terminal_gets_one_line_that_moves(width: int) -> None:
    (job,) = jobs_of("dm", budget="20s")
    shown = io.StringIO()
    with RunDisplay(Console(file=shown, width=width, force_terminal=True, color_system=None)) as display:
        display.expect(20.0, 40.0)
        for event in reports(job)[:-2]:
            display.event(event)
            display._progress.refresh()
    line = [line for line in shown.getvalue().splitlines() if "distilling" in line][-1].removeprefix("\x1b[2K")
    assert "40 %" in line
    assert "left" in line
    assert "step 1,204 of" in line or width < 100
    assert len(line.rstrip()) <= width


def test_the_time_left_of_a_run_is_by_the_pace_of_its_stage(clock: Any) -> None:
    countdown = Countdown(20.0, 40.0, lambda: float(clock.now))
    countdown.note("prepare", 0.0)
    clock.advance(5)
    assert countdown.left() == 60  # nothing of what was expected is done
    countdown.note("distil", 0.0)
    clock.advance(4)
    assert countdown.left() == 56
    countdown.note("distil", 0.1)  # a tenth in 4 s: 36 s more
    assert countdown.left() == pytest.approx(76)
    countdown.note("compile", 0.0)
    clock.advance(10)
    assert countdown.left() == pytest.approx(76)
    countdown.note("distil", 0.1)
    clock.advance(2)
    countdown.note("distil", 0.2)  # a fifth in 6 s: 24 s more
    assert countdown.left() == pytest.approx(64)
    countdown.note("evaluate", 0.0)
    assert countdown.left() == 40
    clock.advance(10)
    countdown.note("evaluate", 0.5)
    clock.advance(1)
    assert countdown.left() == pytest.approx(9)


def test_what_nobody_knows_is_not_counted_down(clock: Any) -> None:
    countdown = Countdown(None, 40.0, lambda: float(clock.now))
    for stage in ("prepare", "experts"):
        countdown.note(stage, 0.0)
        clock.advance(5)
        assert countdown.left() is None
    countdown.note("distil", 0.0)
    clock.advance(5)
    countdown.note("distil", 0.5)
    assert countdown.left() == pytest.approx(45)
