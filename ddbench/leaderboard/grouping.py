"""Grouping of records into cells and tables, and the choice of the newest attempt of each run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from ddbench.compute.environment import instant
from ddbench.io.atomic import canonical_json
from ddbench.records.cell import Cell
from ddbench.records.files import dump_record
from ddbench.records.schema import Record

OWN = {"method", "hyperparameters", "budget", "also", "precision", "capture"}
"""fields in which cells of one table may differ"""


def identity(cell: Cell) -> str:
    """Return a string that identifies a row: runs that differ only by seed or by further scores have the same."""
    return canonical_json(_fields(cell, {"also"}) | {"hyperparameters": cell.distinguishing}).decode()


def conditions(cell: Cell) -> str:
    """What two cells must share to stand in one table: everything that decides the headline except the method, its
    settings and its budget."""
    return canonical_json(_fields(cell, OWN)).decode()


def storage_conditions(cell: Cell) -> str:
    """Return what two cells must share to be compared by their storage: `conditions` without the ipc."""
    return canonical_json(_fields(cell, OWN | {"ipc"})).decode()


def runs_by_cell(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the newest attempt of each run, by cell identity and seed, whatever the order of the records.

    A replay is no attempt: it shows what another record is worth.
    """
    newest: dict[tuple[str, int], Record] = {}
    for record in oldest_first(record for record in records if record.replays is None):
        newest[identity(record.result.cell), record.result.seed] = record
    cells: dict[str, list[Record]] = {}
    for (cell, _), record in sorted(newest.items(), key=lambda item: item[0]):
        cells.setdefault(cell, []).append(record)
    return cells


def oldest_first(records: Iterable[Record]) -> list[Record]:
    """Sort by the time they finished; equal times are ordered by content, so that ties do not depend on file order."""
    by_time = sorted(records, key=_finished)
    return [record for _, tied in groupby(by_time, _finished) for record in _by_content(list(tied))]


def _fields(cell: Cell, without: set[str]) -> dict[str, Any]:
    """Return every field of a cell but these, None for one that is at rest, so that the order of tables is stable."""
    return {name: None for name in Cell.model_fields if name not in without} | cell.model_dump(
        mode="json", exclude=without
    )


def _by_content(tied: list[Record]) -> list[Record]:
    return sorted(tied, key=dump_record) if len(tied) > 1 else tied


def _finished(record: Record) -> datetime:
    """Return when a record was finished; the earliest date of all if that is no ISO 8601 date."""
    try:
        return instant(record.measured.finished)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
