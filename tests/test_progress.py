"""The display of a board: readable at any width, and its time left true."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from ddbench.cli.progress import Display, TimeLeft
from ddbench.registry import discover
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
    task: Any = SimpleNamespace(completed=completed, total=total, elapsed=elapsed)
    assert TimeLeft().render(task).plain == left


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("width", [70, 100, 160])
def test_a_line_says_whole_what_runs_and_how_far_it_is(width: int, tmp_path: Path) -> None:
    (job, other) = jobs_of("dm", "random_real")
    shown = io.StringIO()
    with Display(Console(file=shown, width=width, force_terminal=True, color_system=None)) as display:
        display.todo(Plan([(job, tmp_path), (other, tmp_path)], [], [], []))
        display.event(Event(job, "started"))
        display.event(Event(job, "progress", "distil 12/200", 0.5))
        display._progress.refresh()
        line = [line for line in shown.getvalue().splitlines() if "distribution_matching" in line][-1]
        board = [line for line in shown.getvalue().splitlines() if "board" in line][-1]
    assert "distribution_matching digits ipc 1 seed 0" in line
    assert "40 %" in line  # half of the distillation
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
