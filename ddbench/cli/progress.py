"""What a person sees while a board runs: a live display on a terminal, a line a run elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn

from ddbench.boards.jobs import Job
from ddbench.records.schema import Record
from ddbench.runs.plan import Event, Plan


class _Bars:
    """Bars on a terminal, for as long as the context lasts; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),  # a data set may be named "[/x]"
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeLeftColumn(),
            TextColumn("{task.fields[stage]}", style="dim", markup=False),
            console=console,
            transient=True,
        )

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
        self._all = self._progress.add_task("board", total=self._left, stage="")

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
            done = round(100 * event.fraction)
            self._progress.update(self._runs[event.job.folder], completed=done, stage=event.stage)

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._console.print(sentence, soft_wrap=True)
        self._said.add(sentence)

    def _finish(self, job: Job, record: Record) -> None:
        self._count += 1
        self._progress.remove_task(self._runs.pop(job.folder))
        if self._all is not None:
            self._progress.advance(self._all)
        accuracy = "" if record.accuracy is None else f"{100 * record.accuracy:5.1f} %"
        reason = f": {record.result.reason}" if record.result.reason else ""
        line = f"{self._count:4d}/{self._left} {_title(job):44s} {accuracy} {record.result.status}{reason}"
        self._console.print(line, highlight=False, soft_wrap=True)


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
