"""Equal tuning: as many trials of each method of a board, all under one budget, on a validation split."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ddbench.boards.board import Board, CellFields, Entry, PlannedCell
from ddbench.boards.jobs import Job, resolve
from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json
from ddbench.records.cell import distinguishing
from ddbench.registry import find_method
from ddbench.task.search_space import Range, ranges_of, sobol_points

POINTS = 32
"""points that are looked at for each trial, most of them where few settings go together"""
EXAMPLE = "lr: Annotated[PositiveFloat, LogRange(0.01, 1.0)] = 0.1"


@dataclass(frozen=True)
class Trial:
    """Settings of a method that are tried; number 0 has those that it ships with, or that the board gives."""

    number: int
    settings: dict[str, Any]
    """what differs from the method's defaults, or may"""
    jobs: tuple[Job, ...]
    """one a seed"""


@dataclass(frozen=True)
class Search:
    """The trials of a method on a data set at an ipc."""

    method: str
    dataset: str
    ipc: int
    trials: tuple[Trial, ...]


def searches_of(board: Board, trials: int, validation: float, device: str = "auto") -> list[Search]:
    """Return the trials of every method, data set and ipc of a board.

    Trial 0 has the settings that the board gives, which are the method's own where it gives none. Trial i has those of
    the next point of `sobol_points` that the method takes and no earlier trial had. What an entry sets is not searched.

    Args:
        trials: of each method
        validation: share of the training images of each class on which they are scored; the methods do not see them

    Raises:
        UserError: when a part of the board does not fit, or would tune methods unequally, or not at all.
    """
    _check_equal(board)
    held_out = board.model_copy(update=_common(board, validation))
    held_out._file = ""
    found = list[Search]()
    for planned in board.cells():
        try:
            chosen = itertools.islice(_trials(held_out, planned, trials, device), trials)
            found.append(Search(planned.method, planned.dataset, planned.ipc, tuple(chosen)))
        except UserError as error:
            raise UserError(f"{board.place(planned.entry)}{error}") from error
    return found


def _common(board: Board, validation: float) -> dict[str, Any]:
    """Return what the board of the trials has in place of a board's own fields: nothing but a score is asked for."""
    nothing: dict[str, Any] = {"also": [], "analyses": [], "studies": [], "snapshots": [], "peek": None}
    return {**nothing, "board": f"{board.board}-tuning", "validation": validation, "curve_seeds": 0}


def _check_equal(board: Board) -> None:
    """Raise UserError for an entry under conditions of its own, for one method in two entries, or without a budget."""
    for index, entry in enumerate(board.entries):
        own = next((name for name in CellFields.model_fields if getattr(entry, name) is not None), None)
        if own is not None:
            raise UserError(
                f"{board.place(index)}{', '.join(entry.methods)} has {own} {getattr(entry, own)!r} of its own, and "
                "methods are tuned under one budget and equal conditions; leave it out of the entry"
            )
    if board.budget is None and board.steps is None:
        raise UserError("name what a trial may spend, --budget 60s or --steps 500: methods are tuned under one budget")
    seen = set[tuple[str, str, int]]()
    for planned in board.cells():
        key = find_method(planned.method).name, planned.dataset, planned.ipc
        if key in seen:
            raise UserError(
                f"{board.place(planned.entry)}{key[0]} is there twice for {key[1]} at ipc {key[2]}, and would have "
                "twice the trials of others; leave out one"
            )
        seen.add(key)


def _trials(board: Board, planned: PlannedCell, count: int, device: str) -> Iterator[Trial]:
    free, seen, number = _free(planned), set[bytes](), itertools.count()
    points = {canonical_json(point): point for point in sobol_points(free, POINTS * count)}  # each once
    for point in [{}, *points.values()]:
        settings = planned.set | point
        entry = Entry(methods=[planned.method], datasets=[planned.dataset], ipc=[planned.ipc], set=settings)
        try:
            jobs = tuple(resolve(board.model_copy(update={"entries": [entry]}), device))
        except UserError:
            if not point:
                raise
            continue  # settings that do not go together
        key = canonical_json(distinguishing(jobs[0].cell.hyperparameters))
        if key not in seen:
            seen.add(key)
            yield Trial(next(number), settings, jobs)


def _free(planned: PlannedCell) -> dict[str, Range]:
    """Return the ranges of a method's fields that the board does not set."""
    method = find_method(planned.method)
    ranges = ranges_of(method)
    if not ranges:
        raise UserError(f"{method.name} declares no search range; declare one on a field, `{EXAMPLE}`, or leave it out")
    free = {name: one for name, one in ranges.items() if name not in planned.set}
    if not free:
        raise UserError(f"every field of {method.name} with a search range is set; leave one of them free")
    return free
