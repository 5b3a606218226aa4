"""Which records belong together, and which attempt of a run is shown."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby

from ddbench.compute.environment import instant
from ddbench.io.atomic import canonical_json
from ddbench.records.files import dump_record
from ddbench.records.schema import Cell, Record

OWN = {"method", "hyperparameters", "budget", "also"}
"""fields in which cells may differ that stand in one table"""


def identity(cell: Cell) -> str:
    """What makes a row, as one string: runs that differ only by seed share it, or by how else they were scored."""
    return canonical_json(
        cell.model_dump(mode="json", exclude={"also"}) | {"hyperparameters": cell.distinguishing}
    ).decode()


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
    """What is no ISO 8601 date loses against any that is."""
    try:
        return instant(record.measured.finished)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
