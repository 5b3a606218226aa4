"""What a person sees while a board runs: a live display on a terminal, a line a run elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import TaskID

from ddbench.boards.jobs import Job
from ddbench.cli.bars import Bars
from ddbench.cli.stages import AROUND, latest, stage_of
from ddbench.records.schema import Record
from ddbench.runs.plan import Event, Plan

DISTILLING = 0.8
"""share of a run that distilling is taken for; the rest is evaluation"""


class Display(Bars):
    """Use as a context manager; hand `todo` and `event` to `evaluate`."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._all: TaskID | None = None
        self._runs: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}
        """how far the runs at work are"""
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
            self.say_once(f"warning: {event.stage}")
        elif event.kind == "stopping":
            self.say_once("stopping: every run keeps its state at its next step; Control-C again ends at once")
        elif event.kind == "progress":
            self._show(event)

    def _show(self, event: Event) -> None:
        name, run = stage_of(event), event.job.folder
        if name not in AROUND:
            distilling = DISTILLING * event.fraction
            self._shares[run] = DISTILLING + (1 - DISTILLING) * event.fraction if name == "evaluate" else distilling
        shown = " ".join(filter(None, (event.stage, latest(event))))
        self._progress.update(self._runs[run], completed=100 * self._shares.get(run, 0.0), stage=shown)
        self._advance()

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


class Gauge(Bars):
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
