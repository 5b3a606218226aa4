"""What a person sees while a study runs: its distillations, then the row that is measured."""

from __future__ import annotations

from rich.console import Console
from rich.progress import TaskID

from ddbench.cli.progress import Display


class StudyDisplay(Display):
    """Use as a context manager; hand `todo`, `event` and `measure` to a study."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._rows: dict[str, TaskID] = {}

    def measure(self, row: str, share: float) -> None:
        """Show which row is measured, and how far that is."""
        if row not in self._rows:
            for earlier in self._rows.values():
                self._progress.update(earlier, visible=False)
            self._rows[row] = self._progress.add_task(f"measure {row}", total=100, stage="")
        self._progress.update(self._rows[row], completed=100 * share)
