"""What a person sees while a board runs: a live display on a terminal, a line a run elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from ddbench.boards.jobs import Job
from ddbench.records.schema import Record
from ddbench.runs.plan import Event, Plan

NARROW, WIDE = 80, 110
"""columns of a terminal below which there is no bar, and from which stages have room"""
DISTILLING = 0.8
"""share of a run that distilling is taken for; the rest is evaluation"""


class TimeLeft(ProgressColumn):
    """The time left, if what is left takes as long as what is done took: over the whole time, not the last moments."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Write `1:23:45 left`, or nothing before a hundredth is done."""
        share = task.completed / task.total if task.total else 0.0
        if not task.elapsed or share < 0.01 or share >= 1:
            return Text("")
        minutes, seconds = divmod(round(task.elapsed * (1 - share) / share), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left", style="cyan")


class Done(ProgressColumn):
    """How much is done: runs of a board, percent of a run."""

    def render(self, task: Task) -> Text:
        """Write `3/95`, or `42 %`."""
        if task.fields.get("counted"):
            return Text(f"{int(task.completed)}/{int(task.total or 0)}")
        return Text(f"{task.percentage:.0f} %")


def _columns(width: int) -> list[ProgressColumn]:
    """Return the columns that a line of this width has room for, the description whole."""
    described = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=24))
    stage = TextColumn(
        "{task.fields[stage]}", style="dim", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
    )  # a data set may be named "[/x]"
    bar = [BarColumn(bar_width=24 if width >= WIDE else 10)] if width >= NARROW else []
    return [described, *bar, Done(), *([TimeElapsedColumn()] if width >= WIDE else []), TimeLeft(), stage]


class _Bars:
    """Bars on a terminal, for as long as the context lasts; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._progress = Progress(*_columns(console.width), console=console, transient=True)

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()


class Display(_Bars):
    """Use as a context manager; hand `todo` and `event` to `evaluate`."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._all: TaskID | None = None
        self._runs: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}
        """how far the runs at work are"""
        self._said: set[str] = set()
        self._left = self._count = 0

    def todo(self, todo: Plan) -> None:
        """Say what is left, and which methods changed since their records were made."""
        for method in todo.changed:
            self._console.print(f"{method} changed since its records were made; they are kept: --again runs it anew")
        for sentence in todo.damaged:
            self._console.print(f"warning: {sentence}", soft_wrap=True)
        if todo.records:
            self._console.print(f"{len(todo.records)} runs are done already, {len(todo.jobs)} to do")
        self._left = len(todo.jobs)
        self._all = self._progress.add_task("board", total=self._left, stage="", counted=True)

    def event(self, event: Event) -> None:
        if event.kind == "finished" and event.record is not None:
            self._finish(event.job, event.record)
        elif event.kind == "started":
            self._runs[event.job.folder] = self._progress.add_task(_title(event.job), total=100, stage="")
        elif event.kind == "warning":
            self._say_once(f"warning: {event.stage}")
        elif event.kind == "stopping":
            self._say_once("stopping: every run keeps its state at its next step; Control-C again ends at once")
        else:
            evaluating = event.stage.startswith("evaluate")
            share = DISTILLING + (1 - DISTILLING) * event.fraction if evaluating else DISTILLING * event.fraction
            self._shares[event.job.folder] = share
            self._progress.update(self._runs[event.job.folder], completed=100 * share, stage=event.stage)
            self._advance()

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._console.print(sentence, soft_wrap=True)
        self._said.add(sentence)

    def _finish(self, job: Job, record: Record) -> None:
        self._count += 1
        self._progress.remove_task(self._runs.pop(job.folder))
        self._shares.pop(job.folder, None)
        self._advance()
        accuracy = "" if record.accuracy is None else f"{100 * record.accuracy:5.1f} %"
        reason = f": {record.result.reason}" if record.result.reason else ""
        line = f"{self._count:4d}/{self._left} {_title(job):44s} {accuracy} {record.result.status}{reason}"
        self._console.print(line, highlight=False, soft_wrap=True)

    def _advance(self) -> None:
        if self._all is not None:
            self._progress.update(self._all, completed=self._count + sum(self._shares.values()))


class Gauge(_Bars):
    """How far a command is: use as a context manager, and call it with a stage and the share of it that is done."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._stages: dict[str, TaskID] = {}

    def __call__(self, stage: str, share: float) -> None:
        if stage not in self._stages:
            for earlier in self._stages.values():
                self._progress.update(earlier, visible=False)
            self._stages[stage] = self._progress.add_task(stage, total=100, stage="")
        self._progress.update(self._stages[stage], completed=100 * share)


def _title(job: Job) -> str:
    cell = job.cell
    return f"{cell.method} {cell.dataset} ipc {cell.ipc} seed {job.seed}"
