"""How far measures order methods as accuracy does, over all of a table's rows and over those that compare alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ddbench.records.findings import IMAGES_PER_CLASS
from ddbench.records.metrics import Metric
from ddbench.stats import kendall_interval, kendall_tau, spearman, spearman_interval

if TYPE_CHECKING:
    from ddbench.leaderboard.findings import AnalysedRow

Numbers = Sequence[float]
ALL, EQUAL, OTHERS = "all", "equal images", "equal images, not minimised"
"""which rows are compared"""
NOTE = (
    "Spearman's rank correlation and Kendall's tau of each measure with accuracy over the rows, each with a 95 % "
    "bootstrap interval over rows: 1 where both order them alike, -1 where they order them oppositely, as a distance "
    "does that is smaller where accuracy is higher. *Equal images* are the rows whose artefacts decode to as many "
    "images a class as their ipc says, and *not minimised* those of them whose method's family does not minimise the "
    "measure. Methods of a family are no independent rows."
)


def agreement(rows: Sequence[AnalysedRow], metrics: Sequence[Metric]) -> Iterator[dict[str, str]]:
    """Yield the texts of a line for each measure and each set of rows in which its agreement can be told."""
    for metric in metrics:
        known, before = [row for row in rows if metric.name in row.measures], -1
        for name, chosen in _sets(known, metric):
            accuracies, values = [row.accuracy for row in chosen], [row.measures[metric.name].mean for row in chosen]
            found = [
                _text(estimate, ends, accuracies, values)
                for estimate, ends in ((spearman, spearman_interval), (kendall_tau, kendall_interval))
            ]
            if len(chosen) != before and found[0] and found[1]:
                said = {"measure": metric.name, "among": name, "rows": str(len(chosen))}
                yield said | {"Spearman": found[0], "tau": found[1]}
            before = len(chosen)


def _sets(rows: Sequence[AnalysedRow], metric: Metric) -> Iterator[tuple[str, list[AnalysedRow]]]:
    """Yield sets of rows, each of which holds the next."""
    chosen = list(rows)
    yield ALL, chosen
    if not all(IMAGES_PER_CLASS in row.measures for row in chosen):
        return
    chosen = [row for row in chosen if row.measures[IMAGES_PER_CLASS].mean == row.row.ipc]
    yield EQUAL, chosen
    yield OTHERS, [row for row in chosen if row.row.origin is None or row.row.origin.family not in metric.minimised_by]


def _text(
    estimate: Callable[[Numbers, Numbers], float | None],
    ends: Callable[[Numbers, Numbers], tuple[float, float] | None],
    one: Numbers,
    other: Numbers,
) -> str:
    """Write an estimate with its interval; "" where it cannot be told."""
    value, interval = estimate(one, other), ends(one, other)
    if value is None or interval is None:
        return ""
    return f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
