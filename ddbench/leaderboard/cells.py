"""Which records belong together, and which attempt of a run is shown."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from ddbench.files import canonical_json
from ddbench.record_files import dump_record
from ddbench.records import Cell, Record

NEUTRAL = {"decoder": "pixels", "init": "real", "schedule": "halved", "networks_per_step": 1}
"""hyper-parameters that methods got later, with the values under which they change nothing"""

OWN = {"method", "hyperparameters", "budget", "also"}
"""fields in which cells may differ that stand in one table"""


def identity(cell: Cell) -> str:
    """Everything of a cell, as one string: runs that differ only by seed share it."""
    return canonical_json(cell.model_dump(mode="json") | {"hyperparameters": telling(cell)}).decode()


def telling(cell: Cell) -> dict[str, Any]:
    """The hyper-parameters without those that have a neutral value: a record from before they came is of one cell
    with a later one."""
    return {name: value for name, value in cell.hyperparameters.items() if NEUTRAL.get(name) != value}


def conditions(cell: Cell) -> str:
    """What two cells must share to stand in one table: everything that decides the headline but the method, its
    settings and its budget."""
    return canonical_json(cell.model_dump(mode="json", exclude=OWN)).decode()


def storage_conditions(cell: Cell) -> str:
    """What two cells must share to be compared by what they store: `conditions`, whatever their ipc."""
    return canonical_json(cell.model_dump(mode="json", exclude=OWN | {"ipc"})).decode()


def runs_by_cell(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The newest attempt of each run, by seed, below the identity of its cell; whatever the order of the records."""
    newest: dict[tuple[str, int], Record] = {}
    for record in oldest_first(records):
        newest[identity(record.result.cell), record.result.seed] = record
    cells: dict[str, list[Record]] = {}
    for (cell, _), record in sorted(newest.items(), key=lambda item: item[0]):
        cells.setdefault(cell, []).append(record)
    return cells


def oldest_first(records: Iterable[Record]) -> list[Record]:
    """By the time they finished; equal times are ordered by content, so that ties do not depend on file order."""
    by_time = sorted(records, key=_finished)
    return [record for _, tied in groupby(by_time, _finished) for record in _by_content(list(tied))]


def _by_content(tied: list[Record]) -> list[Record]:
    return sorted(tied, key=dump_record) if len(tied) > 1 else tied


def _finished(record: Record) -> datetime:
    return _instant(record.measured.finished)


def _instant(finished: str) -> datetime:
    """A date without a zone is read as UTC; one that is no ISO 8601 date loses against any that is."""
    try:
        date = datetime.fromisoformat(finished)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return date if date.tzinfo else date.replace(tzinfo=UTC)
