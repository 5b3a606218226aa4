"""The rows of a table that may be compared: those under one budget whose labels have the same source."""

from __future__ import annotations

from dataclasses import dataclass

from ddbench.leaderboard.columns import Group
from ddbench.leaderboard.controls import is_learned, is_selection
from ddbench.leaderboard.rows import Row
from ddbench.records.schema import LabelSource


@dataclass(frozen=True)
class Comparison:
    """Rows of a table with scores, under one budget and with labels of one source, the best mean first."""

    labels: LabelSource
    budget: str
    distilled: tuple[Row, ...]
    """at least one"""
    selected: tuple[Row, ...]
    """real images that were chosen, under the same budget or within its seconds; maybe none"""


def comparisons(group: Group) -> list[Comparison]:
    """Return what a table compares, by source of labels and by budget.

    All rows of a table fill the storage of the same number of images. Nothing is compared under an attack, whose sets
    are not made to be accurate.
    """
    found = list[Comparison]()
    if group.rows[0].cell.attack is not None:
        return found
    for source in dict.fromkeys(row.labels for row in group.rows):
        rows = [row for row in group.rows if row.accuracy is not None and row.labels == source]
        for budget in group.budgets:
            distilled = tuple(row for row in rows if is_learned(row) and row.budget == budget)
            if distilled:
                selected = tuple(row for row in rows if is_selection(row) and _affords(distilled[0], row))
                found.append(Comparison(source, budget, distilled, selected))
    return found


def _affords(row: Row, selected: Row) -> bool:
    limit = row.cell.budget.seconds
    return selected.budget == row.budget or limit is None or selected.seconds <= limit
