"""Curves of accuracy against charged seconds, from the snapshots of runs, over distillation seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from ddbench.leaderboard.columns import Group, groups
from ddbench.leaderboard.controls import REFERENCE, is_reference
from ddbench.leaderboard.origins import Origins
from ddbench.leaderboard.rows import Row, rows
from ddbench.records.schema import Record
from ddbench.stats import Interval

LOGARITHMIC_SPAN = 30
"""ratio of the longest run to the shortest from which seconds get a logarithmic axis"""


@dataclass(frozen=True)
class Point:
    """One snapshot over the seeds that reached it."""

    seconds: float
    """charged seconds, median"""
    low: float
    """accuracy in [0, 1] of the worst seed; the next two are the median and the best seed's"""
    median: float
    high: float


@dataclass(frozen=True)
class Curve:
    label: str
    method: str
    family: str
    """family of the method; empty where it is not known"""
    points: tuple[Point, ...]
    """snapshots; empty for a method that takes no steps"""
    seconds: float
    """seconds charged to the whole run, median"""
    final: Interval | None
    """headline accuracy in [0, 1], under the full protocol"""


@dataclass(frozen=True)
class Panel:
    """One plot: curves under equal conditions, and the reference that they should beat."""

    title: str
    curves: tuple[Curve, ...]
    reference: float | None
    """mean accuracy of `random_real`, in [0, 1]"""


def panels(records: Iterable[Record], origins: Origins | None = None) -> list[Panel]:
    """Return one panel for each table that has something to draw."""
    drawn = [panel(group) for group in groups(rows(records, origins=origins))]
    return [each for each in drawn if each.curves or each.reference is not None]


def panel(group: Group) -> Panel:
    means = [row.accuracy.mean for row in group.rows if is_reference(row) and row.accuracy]
    curves = [_curve(row, group.label(row)) for row in group.rows if row.method != REFERENCE]
    drawn = tuple(curve for curve in curves if curve.points or curve.final)
    return Panel(group.heading, drawn, statistics.fmean(means) if means else None)


def lengths(curves: Iterable[Curve]) -> list[float]:
    """Return the seconds of every curve that has points, where they are positive."""
    return [curve.seconds for curve in curves if curve.points and curve.seconds > 0]


def spans_decades(curves: Iterable[Curve]) -> bool:
    """Return True if seconds need a logarithmic axis; first snapshots, taken at almost 0 s, do not count."""
    found = lengths(curves)
    return bool(found) and max(found) / min(found) >= LOGARITHMIC_SPAN


def has_curve(records: Iterable[Record]) -> bool:
    return any(record.result.curve for record in records)


def _curve(row: Row, label: str) -> Curve:
    longest = max(len(run.result.curve) for run in row.representative)
    points = tuple(_point(row.representative, index) for index in range(longest))
    return Curve(label, row.method, row.origin.family if row.origin else "", points, row.seconds, row.accuracy)


def _point(runs: Iterable[Record], index: int) -> Point:
    reached = [run for run in runs if index < len(run.result.curve)]
    accuracies = [run.result.curve[index].accuracy for run in reached]
    seconds = statistics.median(run.measured.curve_seconds[index] for run in reached)
    return Point(seconds, min(accuracies), statistics.median(accuracies), max(accuracies))
