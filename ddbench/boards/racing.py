"""Who runs against whom in a race, and for how long: successive halving of a board's methods, then its controls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ddbench.boards.board import Board, Entry
from ddbench.boards.jobs import Job, resolve
from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json
from ddbench.records.cell import distinguishing
from ddbench.registry import CONTROL, find_method

VALIDATION = 0.2
"""share of the training images on which rounds score"""
LAST = 2
"""methods that are left in the last round"""


@dataclass(frozen=True)
class Candidate:
    """A method with its settings."""

    label: str
    entry: Entry
    control: bool
    """true if it learns no images"""


@dataclass(frozen=True)
class Conditions:
    """What the runs of a round have in common."""

    seconds: float | None
    steps: int | None
    validation: float | None
    """share of the training images to score on, which the methods do not see; None trains on all of them"""
    networks: int | None
    """networks that are trained on each set; None takes the protocol's number"""


def round_sizes(methods: int) -> list[int]:
    """Return how many methods each round has: half of those before, until two are left.

    Jamieson & Talwalkar, AISTATS 2016, arXiv 1502.07943: successive halving.

    >>> round_sizes(5), round_sizes(2), round_sizes(0)
    ([5, 3, 2], [2], [0])
    """
    sizes = [methods]
    while sizes[-1] > LAST:
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes


def wall_seconds(budget: float, runs: Sequence[int], overheads: Sequence[float], workers: int) -> float:
    """Return what rounds take by the wall, when the runs of each may spend twice what those of the one before may.

    Args:
        budget: seconds of a run of the first of these rounds
        runs: number of runs of each
        overheads: seconds of a run of each beside its budget
        workers: runs side by side

    >>> wall_seconds(10.0, [4, 2], [1.0, 1.0], 1)
    86.0
    """
    rounds = enumerate(zip(runs, overheads, strict=True))
    return math.fsum(math.ceil(count / workers) * (budget * 2**place + over) for place, (count, over) in rounds)


def first_budget(left: float, runs: Sequence[int], overheads: Sequence[float], workers: int) -> float:
    """Return the budget for which `wall_seconds` is what is left; negative where that is not enough for the rest."""
    beside = wall_seconds(0.0, runs, overheads, workers)
    return (left - beside) / (wall_seconds(1.0, runs, overheads, workers) - beside)


def candidates_of(
    board: Board, dataset: str, ipc: int, device: str, on_warning: Callable[[str], None]
) -> list[Candidate]:
    """Return the methods of a board that can run on a data set at an ipc, each with its settings once.

    An entry counts if it has the ipc, or says nothing of it; those of other data sets count all the same.

    Args:
        on_warning: told of each that is left out

    Raises:
        UserError: when none is left; with the reason of the first.
    """
    found, refused, seen = list[tuple[Entry, Job]](), list[UserError](), set[bytes]()
    for index, entry in enumerate(board.entries):
        for method in entry.methods if entry.ipc is None or ipc in entry.ipc else []:
            own = Entry(methods=[method], set=entry.set, chosen=entry.chosen)
            try:
                (job,) = round_jobs(board, dataset, ipc, [own], Conditions(None, 1, VALIDATION, 1), device)
            except UserError as error:
                refused.append(UserError(f"{board.place(index)}{error}"))
                on_warning(f"{method} is left out: {error}")
                continue
            key = canonical_json([job.cell.method, distinguishing(job.cell.hyperparameters)])
            if key not in seen:
                seen.add(key)
                found.append((own, job))
    if not found:
        raise refused[0] if refused else UserError(f"board {board.board!r} has no entry for ipc {ipc}; name another")
    return list(_labelled(found))


def round_jobs(
    board: Board, dataset: str, ipc: int, entries: Sequence[Entry], conditions: Conditions, device: str
) -> list[Job]:
    """Return the runs of a round, one for each entry.

    Raises:
        UserError: where one does not fit.
    """
    nothing: dict[str, Any] = {"also": [], "analyses": [], "studies": [], "snapshots": [], "peek": None, "seeds": 1}
    shared = board.model_copy(
        update={
            **nothing,
            "datasets": [dataset],
            "ipc": [ipc],
            "budget": conditions.seconds,
            "steps": conditions.steps,
            "validation": conditions.validation,
            "networks": conditions.networks,
            "entries": list(entries),
        }
    )
    shared._file = ""
    return resolve(shared, device)


def _labelled(found: Sequence[tuple[Entry, Job]]) -> Iterator[Candidate]:
    """Yield candidates under the names of their methods, with the settings where one is there twice."""
    counts = Counter(job.cell.method for _, job in found)
    for entry, job in found:
        name = job.cell.method
        settings = ", ".join(f"{key}={value}" for key, value in entry.set.items()) or "as shipped"
        label = name if counts[name] == 1 else f"{name} ({settings})"
        yield Candidate(label, entry, find_method(entry.methods[0]).family == CONTROL)
