"""Whether a record's cell is one of its board's, and whether its method's file can be looked up."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ddbench.claims.fields import differences
from ddbench.config import load_board
from ddbench.jobs import Selection, resolve
from ddbench.records import Cell, Record
from ddbench.registry import METHODS
from ddbench.source_code import source_digest

UNNAMED = ("mine", "distill")
"""boards that the command line makes of options"""
FREE = {"device"}
"""what a board leaves to the machine"""


def board_complaint(record: Record, configs: Path) -> str | None:
    """Why a record does not belong to the board that it names; None when it does, or when the board is new.

    Args:
        configs: the folder of the boards' YAML files
    """
    cell, file = record.result.cell, configs / f"{record.board}.yaml"
    if record.board in UNNAMED:
        return f"board {record.board!r} is made of options; write its cells into a YAML with a name, and run that"
    if not file.is_file() or cell.method not in METHODS:
        return None
    board, selection = load_board(file), Selection((cell.method,), (cell.dataset,), (cell.ipc,))
    if not any(selection.takes(cell) for cell in board.cells()):
        return f"{file} has no cell of {cell.method} on {cell.dataset} with ipc {cell.ipc}; add it there, and run that"
    nearest = min((_differences(cell, job.cell) for job in resolve(board, "cpu", selection)), key=len)
    return f"is no cell of {file}: {'; '.join(nearest)}" if nearest else None


def source_complaint(record: Record, given: Collection[str]) -> str | None:
    """Why a record's method cannot be looked up.

    Args:
        given: digests of method files that come with the record
    """
    method = record.result.cell.method
    if record.method_source in given:
        return None
    if method not in METHODS:
        return f"no method {method!r} here; add its file to methods/, or give it with --source"
    revision = record.measured.environment.get("git")
    if record.method_source == source_digest(METHODS.get(method)) or (revision and not str(revision).endswith("+")):
        return None
    return (
        f"the file of {method!r} is not the one here, and was not committed when it ran (revision {revision}); give it "
        "with --source, or run again from a commit"
    )


def _differences(cell: Cell, own: Cell) -> list[str]:
    ours, theirs = (one.model_dump(mode="json", exclude=FREE) for one in (cell, own))
    return [f"{name} is {left} where the board says {right}" for name, left, right in differences(ours, theirs)]
