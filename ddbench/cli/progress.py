"""What a person sees while a board runs: a live display on a terminal, a line a run elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import TaskID

from ddbench.boards.jobs import Job
from ddbench.cli.bars import Bars
from ddbench.cli.countdown import BoardCountdown, Expected, expectations
from ddbench.cli.stages import AROUND, Countdown, latest, stage_of
from ddbench.records.schema import Record
from ddbench.runs.forecast import Forecast
from ddbench.runs.plan import Event, Plan


class Display(Bars):
    """Use as a context manager; hand `todo` and `event` to `evaluate`."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._all: TaskID | None = None
        self._runs: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}
        """how far the runs at work are"""
        self._expected: dict[str, Expected] = {}
        self._forecast: Forecast | None = None
        self._countdown = BoardCountdown({})
        self._countdowns: dict[str, Countdown] = {}
        """one for each run at work"""
        self._left = self._count = 0

    def todo(self, todo: Plan, forecast: Forecast | None = None) -> None:
        """Say what is left, and which methods changed since their records were made.

        Args:
            forecast: of what is left; without one, runs are taken to be alike
        """
        for method in todo.changed:
            self._console.print(f"{method} changed since its records were made; they are kept: --again runs it anew")
        for sentence in todo.damaged:
            self._console.print(f"warning: {sentence}", soft_wrap=True)
        if todo.records:
            self._console.print(f"{len(todo.records)} runs are done already, {len(todo.jobs)} to do")
        self._left = len(todo.jobs)
        self._forecast = forecast
        self._expected = expectations((job for job, _ in todo.jobs), forecast)
        self._countdown = BoardCountdown(self._expected, forecast.workers if forecast else None)
        self._all = self._progress.add_task(
            "board", total=self._left, stage="", counted=True, countdown=self._countdown
        )

    def event(self, event: Event) -> None:
        if event.kind == "finished" and event.record is not None:
            self._finish(event.job, event.record)
        elif event.kind == "started":
            self._start(event.job)
        elif event.kind == "warning":
            self.say_once(f"warning: {event.stage}")
        elif event.kind == "stopping":
            self.say_once("stopping: every run keeps its state at its next step; Control-C again ends at once")
        elif event.kind == "progress":
            self._show(event)

    def _start(self, job: Job) -> None:
        expected = self._expected[job.folder]
        countdown = Countdown(expected.distil, expected.evaluate) if self._forecast else Countdown(None, 0.0)
        self._countdowns[job.folder] = countdown
        self._countdown.start(job.folder)
        self._runs[job.folder] = self._progress.add_task(_title(job), total=100, stage="", countdown=countdown)

    def _show(self, event: Event) -> None:
        name, run = stage_of(event), event.job.folder
        self._countdowns[run].note(name, event.fraction)
        if name not in AROUND:
            scoring, expected = name == "evaluate", self._expected[run]
            self._shares[run] = expected.done(scoring, event.fraction) / max(expected.whole, 1e-9)
            self._countdown.note(run, scoring, event.fraction)
        shown = " ".join(filter(None, (event.stage, latest(event))))
        self._progress.update(self._runs[run], completed=100 * self._shares.get(run, 0.0), stage=shown)
        self._advance()

    def _finish(self, job: Job, record: Record) -> None:
        self._count += 1
        self._progress.remove_task(self._runs.pop(job.folder))
        self._shares.pop(job.folder, None)
        self._countdowns.pop(job.folder, None)
        self._countdown.finish(job.folder)
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
