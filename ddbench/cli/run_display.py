"""What a person sees while one run is under way: its stage on a terminal, a line a stage elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import TaskID

from ddbench.cli.bars import Bars
from ddbench.cli.stages import AROUND, Countdown, details, stage_of, title_of
from ddbench.runs.plan import Event, Plan


class RunDisplay(Bars):
    """Use as a context manager; hand `todo` and `event` to `distill`."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._countdown = Countdown(None, 0.0)
        self._task: TaskID | None = None

    def expect(self, distil: float | None, evaluate: float) -> None:
        """Count down from what the run is expected to take, in seconds."""
        self._countdown = Countdown(distil, evaluate)

    def todo(self, todo: Plan) -> None:
        """Say what is wrong with what an earlier attempt has left."""
        for sentence in todo.damaged:
            self.say_once(f"warning: {sentence}")

    def event(self, event: Event) -> None:
        if event.kind == "warning":
            self.say_once(f"warning: {event.stage}")
        elif event.kind == "stopping":
            self.say_once("stopping: the run keeps its state at its next step; Control-C again ends at once")
        elif event.kind == "progress":
            self._show(event)

    def _show(self, event: Event) -> None:
        if not self._live:
            self.say_once(title_of(event))
            return
        self._countdown.note(stage_of(event), event.fraction)
        if self._task is None:
            self._task = self._progress.add_task("", total=None, stage="", countdown=self._countdown)
        total = None if stage_of(event) in AROUND and not event.fraction else 100
        self._progress.update(
            self._task,
            description=title_of(event),
            total=total,
            completed=100 * event.fraction,
            stage=details(event),
        )
