"""What a person sees while a study runs: its distillations, then the row that is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import TaskID

from ddbench.cli.analyses import measure_lines
from ddbench.cli.app import say
from ddbench.cli.progress import Display

if TYPE_CHECKING:
    from ddbench.records.studies import StudyRecord
    from ddbench.runs.plan import Plan
    from ddbench.studies.conduct import Watcher


class StudyDisplay(Display):
    """Use as a context manager; hand `todo`, `event` and `measure` to a study."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._rows: dict[str, TaskID] = {}
        self.failures: list[str] = []
        """a sentence for each row that is not measured"""

    def watcher(self, silent: bool) -> Watcher:
        """Return what a study tells; silent, rows are not written on standard output."""
        from ddbench.studies.conduct import Watcher

        def start(todo: Plan, forecast: str) -> None:
            self.todo(todo)
            say(forecast)

        def found(record: StudyRecord, path: Path) -> None:
            if not silent:
                typer.echo(_text(record, path))

        def failed(sentence: str) -> None:
            self.failures.append(sentence)
            say(sentence)

        return Watcher(start, self.event, self.measure, found, failed)

    def measure(self, row: str, share: float) -> None:
        """Show which row is measured, and how far that is."""
        if row not in self._rows:
            for earlier in self._rows.values():
                self._progress.update(earlier, visible=False)
            self._rows[row] = self._progress.add_task(f"measure {row}", total=100, stage="")
        self._progress.update(self._rows[row], completed=100 * share)


def _text(record: StudyRecord, path: Path) -> str:
    """Describe a row: its method and file, then a measure a line."""
    spent = f"{record.distil_seconds:.1f} s distilling a seed" if record.runs else "nothing distilled"
    head = f"{record.label}: {record.study}, {record.seeds} seeds, {spent}; {path}"
    return "\n".join([head, *measure_lines(record.findings)])
