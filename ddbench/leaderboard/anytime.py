"""Anytime performance: the accuracy of the newest scored artefact at each moment of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddbench.records.cell import Budget
from ddbench.records.loops import main_loop
from ddbench.records.schema import Record
from ddbench.stats import Interval, interval

SHARE = 0.9
"""share of the table's best accuracy that a run has to reach"""


@dataclass(frozen=True)
class Artefact:
    """A scored artefact of a run and the time when it was made."""

    seconds: float
    """charged seconds when it was made"""
    accuracy: float
    """accuracy in [0, 1] of one network under the protocol's short form"""


@dataclass(frozen=True)
class Anytime:
    accuracy: Interval
    """area under accuracy in hand against charged seconds, divided by the budget, in [0, 1], over runs: what a run
    would have given on average, had it been stopped at a random moment of its budget"""
    seconds: float | None
    """charged seconds until a run had 90 % of the best in hand, median over runs; None where half of them never had"""


def anytime(table: Sequence[Sequence[Record]]) -> list[Anytime | None]:
    """The anytime performance of each row of a table, from the runs of each.

    A run has in hand the newest artefact made so far, and accuracy 0 before the first: a step function, which needs no
    guess of what lies between two snapshots. Time ends with the budget in seconds, or, where the budget does not limit
    them, with the longest run under that budget. Snapshots are scored with one network and the protocol's short form.
    Where the short form is the whole protocol, the finished artefact counts too, by its score with the same network;
    elsewhere the last snapshot stands for it, so that all artefacts compared were scored in the same way.

    The best is the best last artefact of the table, averaged over the runs of a row.

    Returns:
        One entry a row: None where it is not known, and for all rows where no run has snapshots.
    """
    if not any(run.result.curve for runs in table for run in runs):
        return [None] * len(table)
    rows = [[run for run in _watched(runs) if artefacts(run)] for runs in table]
    best = max((statistics.fmean(artefacts(run)[-1].accuracy for run in runs) for runs in rows if runs), default=0.0)
    longest: dict[Budget, float] = {}
    for run in (run for runs in rows for run in runs):
        budget = run.result.cell.budget
        longest[budget] = max(longest.get(budget, 0.0), run.charged_seconds)
    return [_anytime(runs, longest, SHARE * best) if runs else None for runs in rows]


def artefacts(run: Record) -> list[Artefact]:
    """Return the scored artefacts of a run in the order in which they were made."""
    pairs = zip(run.measured.curve_seconds, run.result.curve, strict=True)
    found = [Artefact(seconds, point.accuracy) for seconds, point in pairs]
    finished = _finished(run)
    return found if finished is None else [*found, Artefact(run.charged_seconds, finished)]


def _anytime(runs: Sequence[Record], longest: Mapping[Budget, float], wanted: float) -> Anytime | None:
    budget = runs[0].result.cell.budget
    seconds = budget.seconds or longest[budget]
    if seconds <= 0:
        return None
    areas = [_area(artefacts(run), seconds) / seconds for run in runs]
    reached = statistics.median(_first(artefacts(run), wanted) for run in runs)
    return Anytime(interval(areas), reached if math.isfinite(reached) else None)


def _area(steps: Sequence[Artefact], seconds: float) -> float:
    ends = [*(step.seconds for step in steps[1:]), seconds]
    return sum(
        step.accuracy * (min(end, seconds) - min(step.seconds, seconds))
        for step, end in zip(steps, ends, strict=True)
    )  # fmt: skip


def _first(steps: Sequence[Artefact], wanted: float) -> float:
    return next((step.seconds for step in steps if step.accuracy >= wanted), math.inf)


def _watched(runs: Sequence[Record]) -> list[Record]:
    """Return the runs with snapshots; for a row without any, its runs without steps, which make no snapshots."""
    with_snapshots = [run for run in runs if run.result.curve]
    return with_snapshots or [run for run in runs if main_loop(run) is None]


def _finished(run: Record) -> float | None:
    """Return the finished artefact's accuracy with network 0 if the short form is the whole protocol, else None."""
    whole = run.protocol.get("steps") or run.protocol.get("epochs")
    if whole is None or run.protocol.get("short") != whole:
        return None
    cell = run.result.cell
    return next((score.accuracy for score in run.result.scores if (score.network, score.seed) == (cell.network, 0)),
                None)  # fmt: skip
