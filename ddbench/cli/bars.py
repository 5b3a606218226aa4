"""Bars on a terminal, in as many columns as it has room for."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

NARROW, WIDE = 80, 110
"""columns of a terminal below which there is no bar, and from which stages have room"""


class TimeLeft(ProgressColumn):
    """The time left, as a task's field `countdown` says it, see `stages.Countdown` and `countdown.BoardCountdown`.

    Without one, what is left takes as long as what is done took: over the whole time, not the last moments.
    """

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Write `1:23:45 left`, or nothing before a hundredth is done."""
        countdown = task.fields.get("countdown")
        left = _extrapolated(task) if countdown is None else countdown.left()
        if left is None:
            return Text("")
        minutes, seconds = divmod(round(left), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left", style="cyan")


def _extrapolated(task: Task) -> float | None:
    share = task.completed / task.total if task.total else 0.0
    return task.elapsed * (1 - share) / share if task.elapsed and 0.01 <= share < 1 else None


class Done(ProgressColumn):
    """How much is done: runs of a board, percent of a run."""

    def render(self, task: Task) -> Text:
        """Write `3/95`, or `42 %`, or nothing where nobody knows."""
        if task.fields.get("counted"):
            return Text(f"{int(task.completed)}/{int(task.total or 0)}")
        return Text("" if task.total is None else f"{task.percentage:.0f} %")


class Stage(ProgressColumn):
    """What a run is doing, in the room that the other columns leave."""

    def render(self, task: Task) -> Text:
        """Write the field `stage`, in which nothing is markup: a data set may be named "[/x]"."""
        return Text(task.fields["stage"], style="dim", no_wrap=True, overflow="ellipsis")


def _columns(width: int) -> list[ProgressColumn]:
    """Return the columns that a line of this width has room for, the description whole."""
    described = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=24))
    bar = [BarColumn(bar_width=24 if width >= WIDE else 10)] if width >= NARROW else []
    numbers = [*([TimeElapsedColumn(Column(no_wrap=True))] if width >= WIDE else []), TimeLeft(Column(no_wrap=True))]
    return [described, *bar, Done(Column(no_wrap=True)), *numbers, Stage()]


class Bars:
    """Bars on a terminal, for as long as the context lasts; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._progress = Progress(*_columns(console.width), console=console, transient=True)
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def say_once(self, sentence: str) -> None:
        """Print a sentence above the bars, unless it was printed before."""
        if sentence not in self._said:
            self._console.print(sentence, soft_wrap=True)
        self._said.add(sentence)
