"""What a run has in hand while it runs: the newest artefact that was scored, all scored alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddbench.records.schema import Budget, Record
from ddbench.stats import Interval, interval

SHARE = 0.9
"""of the best accuracy in the table"""


@dataclass(frozen=True)
class Artefact:
    """One that a run had made by then."""

    seconds: float
    """charged"""
    accuracy: float
    """in [0, 1], of one network under the protocol's short form"""


@dataclass(frozen=True)
class Anytime:
    accuracy: Interval
    """in [0, 1]: the area under accuracy in hand against charged seconds, divided by the budget, over runs: what a run
    would have given on average if it had been stopped at any moment of its budget"""
    seconds: float | None
    """charged until a run had 90 % of the best in hand, median over runs; None where half of them never had"""


def anytime(table: Sequence[Sequence[Record]]) -> list[Anytime | None]:
    """The way of each row of a table, from the runs of each.

    In hand is the newest artefact at or before a moment, nothing and accuracy 0 before the first: a step function,
    which needs no guess of what lies between two snapshots. The range is the budget in seconds, or the longest run
    under the same budget where that does not limit seconds. Snapshots are scored with one network and the protocol's
    short form; the finished artefact counts among them by its score with the same network where the short form is the
    whole protocol, and otherwise the last snapshot stands for it: nothing is compared that was scored in two ways.

    The best is the best last artefact of the table, mean over the runs of a row.

    Returns:
        None for a row whose way is not known, and for all where no run has snapshots.
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
    """What a run had in hand, one after the other."""
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
    """Runs whose way is known: those with snapshots, or all of a method without steps, which has nothing on the way."""
    with_snapshots = [run for run in runs if run.result.curve]
    return with_snapshots or [run for run in runs if "distil" not in run.result.steps_planned]


def _finished(run: Record) -> float | None:
    """Accuracy of the finished artefact as snapshots are scored: with network 0, if the short form is the whole."""
    whole = run.protocol.get("steps") or run.protocol.get("epochs")
    if whole is None or run.protocol.get("short") != whole:
        return None
    cell = run.result.cell
    return next((score.accuracy for score in run.result.scores if (score.network, score.seed) == (cell.network, 0)),
                None)  # fmt: skip
