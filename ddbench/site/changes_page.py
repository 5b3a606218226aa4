"""What came to the leaderboard, day by day, as a page and as a feed; and how to cite it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddbench.leaderboard.grouping import oldest_first
from ddbench.site.content import Content

PAGE, FEED, CITE = "changes.html", "changes.xml", "cite.html"


@dataclass(frozen=True)
class Change:
    """The records of a board that were finished on one day."""

    date: str
    board: str
    records: int
    cells: tuple[str, ...]
    """data sets and numbers of images a class"""
    methods: tuple[str, ...]
    first: tuple[str, ...]
    """methods of which the board had no record before"""

    @property
    def sentence(self) -> str:
        """What came, in words."""
        new = f"; first records of {', '.join(self.first)}" if self.first else ""
        count = f"{self.records} record{'s' * (self.records != 1)}"
        return f"{count} of {len(self.methods)} method{'s' * (len(self.methods) != 1)} ({'; '.join(self.cells)}){new}."


def changes(content: Content) -> list[Change]:
    """Return what came to each board on each day, the newest day first."""
    found = list[Change]()
    for board in content.boards:
        days: dict[str, list[Any]] = {}
        for record in oldest_first(entry.record for entry in board.entries):
            days.setdefault(record.measured.finished[:10], []).append(record)
        known = set[str]()
        for day, records in days.items():
            methods = {record.result.cell.method for record in records}
            cells = sorted({(record.result.cell.dataset, record.result.cell.ipc) for record in records})
            told = tuple(f"{dataset}, {ipc} a class" for dataset, ipc in cells)
            new = tuple(sorted(methods - known)) if known else ()
            found.append(Change(day, board.name, len(records), told, tuple(sorted(methods)), new))
            known |= methods
    return sorted(found, key=lambda change: (change.date, change.board), reverse=True)


def changes_values(found: Sequence[Change]) -> dict[str, Any]:
    """Return the values that the templates `changes.html` and `changes.xml` show."""
    days = dict.fromkeys(change.date for change in found)
    return {"days": [(day, [change for change in found if change.date == day]) for day in days]}
