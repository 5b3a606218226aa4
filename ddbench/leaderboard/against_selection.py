"""Does any distilled set beat the best selected one of equal bytes, equal seconds and equal labels, and by how much?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ddbench.leaderboard.columns import Group, percent
from ddbench.leaderboard.comparisons import comparisons
from ddbench.leaderboard.rows import Row
from ddbench.stats import Interval, discoveries, welch, welch_difference

HEADING = "against selection"
"""what tables call the sentence"""


@dataclass(frozen=True)
class AgainstSelection:
    """The best distilled and the best selected row of a table under one budget, with labels of one source."""

    distilled: Row
    selected: Row
    difference: Interval
    """accuracy of the distilled set beyond that of the selected one"""
    count: int
    """distilled rows that there are"""
    better: tuple[Row, ...]
    """distilled rows that are significantly better than the selected one, best first"""
    worse: tuple[Row, ...]
    """distilled rows that are significantly worse, best first"""

    @property
    def significant(self) -> bool | None:
        """True if the two rows differ significantly; None where a single value of either leaves nothing to test."""
        if self.difference.half_width is None:
            return None
        return self.distilled in self.better or self.distilled in self.worse


def against_selection(group: Group) -> list[AgainstSelection]:
    """Compare the best distilled row with the best selected one, for each source of labels and each budget of a table.

    Best is who has the highest mean, chosen on the scores that are compared. Each distilled row is tested against the
    selected one by Welch's t-test, at a false discovery rate of 5 %.
    """
    return [_compared(one.distilled, one.selected[0]) for one in comparisons(group) if one.selected]


def sentences(group: Group, name: Callable[[Row], str], strong: Callable[[str], str] = str) -> list[str]:
    """Return the answer for each source of labels and each budget of a table, in words.

    Args:
        name: how a row is called
        strong: sets in bold what is significant
    """
    found = against_selection(group)
    several = [len(set(said)) > 1 for said in ([row.labels for row in group.rows], group.budgets)]
    return [_sentence(one, name, strong, several) for one in found]


def _compared(distilled: Sequence[Row], selected: Row) -> AgainstSelection:
    pairs = [(row.accuracies, selected.accuracies) for row in distilled]
    tested = [row for row, pair in zip(distilled, pairs, strict=True) if min(map(len, pair)) > 1]
    differ = discoveries([welch(row.accuracies, selected.accuracies) for row in tested])
    different = [row for row, differs in zip(tested, differ, strict=True) if differs]
    return AgainstSelection(
        distilled[0],
        selected,
        welch_difference(*pairs[0]),
        len(distilled),
        tuple(row for row in different if _mean(row) > _mean(selected)),
        tuple(row for row in different if _mean(row) < _mean(selected)),
    )


def _mean(row: Row) -> float:
    return row.accuracy.mean if row.accuracy else 0.0


def _sentence(
    one: AgainstSelection, name: Callable[[Row], str], strong: Callable[[str], str], several: Sequence[bool]
) -> str:
    points, told = f"{percent(one.difference, signed=True)} points", ", ".join(_conditions(one, several))
    verdict = {
        True: "yes" if one.distilled in one.better else "no",
        False: "not significantly",
        None: "one seed cannot tell",
    }
    counts = f"{len(one.better)} of {one.count} distilled sets significantly better, {len(one.worse)} worse"
    return (
        f"Does any distilled set beat the best selected one{f' ({told})' if told else ''}? "
        f"{verdict[one.significant].capitalize()}: {strong(points) if one.significant else points}, "
        f"{name(one.distilled)} {percent(one.distilled.accuracy)} against {name(one.selected)} "
        f"{percent(one.selected.accuracy)}{'' if one.significant is None else f'; {counts}'}."
    )


def _conditions(one: AgainstSelection, several: Sequence[bool]) -> Iterator[str]:
    if several[0]:
        yield f"{one.distilled.labels} labels"
    if several[1]:
        yield one.distilled.budget
