"""Checks that a record's cell is one of its board's, and that its method's file can be looked up."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ddbench.boards.board import PlannedCell, load_board
from ddbench.boards.jobs import Selection, resolve
from ddbench.errors import UserError
from ddbench.records.cell import Cell
from ddbench.records.schema import Record
from ddbench.records.source_digest import PREFIX, made_by, source_file
from ddbench.registry import METHODS
from ddbench.submissions.checks import differences
from ddbench.submissions.history import REVISION, committed_digest

UNNAMED = ("mine", "distill")
"""boards that the command line makes of options, unless a file in `configs/` has the name"""
FREE = {"device", "dataset"}
"""what a board leaves to the machine; data are compared by their digest, wherever they lie"""
OWN = FREE | {"method", "hyperparameters"}
"""and what it cannot say of a method that it does not know"""


@dataclass(frozen=True)
class _Alike(Selection):
    """Cells of the same data sets as a record's: those of others need not be at hand."""

    cell: Cell = field(kw_only=True)

    def takes(self, cell: PlannedCell) -> bool:
        named = (cell.pool.weights or cell.pool.dataset) if cell.pool else None
        given = self.cell.pool.name if self.cell.pool else None
        return super().takes(cell) and _stem(cell.dataset) == self.cell.dataset and _stem(named) == _stem(given)


def board_complaint(record: Record, configs: Path) -> str | None:
    """Why a record does not belong to the board that it names; None when it does, or when the board is new.

    A method that is not known here belongs to a board under the conditions of one of its cells.

    Args:
        configs: the folder of the boards' YAML files
    """
    cell, file = record.result.cell, configs / f"{record.board}.yaml"
    if record.board in UNNAMED and not file.is_file():
        return (
            f"board {record.board!r} is made of options; `ddbench evaluate` with the same ones and --save-board "
            f"configs/{record.board}.yaml writes its cells into a YAML, and repeats no run"
        )
    if not file.is_file():
        return None
    board, known = load_board(file), cell.method in METHODS
    free = FREE if known else OWN
    selection = _Alike((cell.method,) if known else (), ipc=(cell.ipc,), cell=cell)
    if not any(map(selection.takes, board.cells())):
        return f"{file} has no cell of {cell.method} on {cell.dataset} with ipc {cell.ipc}; add it there, and run that"
    where = torch.device(cell.device)
    runs = [(_differences(cell, job.cell, free), job.seed) for job in resolve(board, where, selection)]
    nearest = min((different for different, _ in runs), key=len)
    if nearest:
        return f"is no cell of {file}: {'; '.join(nearest)}"
    seeds = sorted({seed for different, seed in runs if not different})
    if record.result.seed not in seeds:
        return f"has seed {record.result.seed}, and its cell in {file} {', '.join(map(str, seeds))}; run those"
    return None


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
    file, revision = source_file(METHODS.get(method)), str(record.measured.environment.get("git"))
    if made_by(file, record.method_source):
        return None
    if REVISION.fullmatch(revision):
        try:
            found = committed_digest(file, revision, record.method_source)
        except UserError as error:
            return str(error)
        untold = found is None and not record.method_source.startswith(PREFIX)
        if untold or found == record.method_source:
            return None
        return (
            f"the file of {method!r} is not at revision {revision} what the record says that ran "
            f"({record.method_source[:19]}); give it with --source, or run again from a commit, with --again"
        )
    return (
        f"the file of {method!r} is not the one here, and was not committed when it ran (revision {revision}); give it "
        "with --source, or run again from a commit, with --again"
    )


def _stem(place: str | None) -> str | None:
    return None if place is None else Path(place).stem


def _differences(cell: Cell, own: Cell, free: set[str]) -> list[str]:
    ours, theirs = ({name: value for name, value in _telling(one).items() if name not in free} for one in (cell, own))
    return [f"{name} is {left} where the board says {right}" for name, left, right in differences(ours, theirs)]


def _telling(cell: Cell) -> dict[str, Any]:
    return cell.model_dump(mode="json") | {"hyperparameters": cell.distinguishing}
