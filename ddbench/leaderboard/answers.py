"""What a reader asks first of a table: which distilled set is best, by how much, and what it is worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ddbench.leaderboard.columns import Group, percent
from ddbench.leaderboard.comparisons import Comparison, comparisons
from ddbench.leaderboard.controls import ceilings, data_and_network
from ddbench.leaderboard.rows import Row
from ddbench.stats import Interval, welch_difference


@dataclass(frozen=True)
class Answer:
    """The best distilled row of a comparison, and what stands beside it."""

    group: Group
    comparison: Comparison
    ceiling: Row | None = None
    """all training data on the same network; None where that was not measured"""

    @property
    def best(self) -> Row:
        return self.comparison.distilled[0]

    @property
    def second(self) -> Row | None:
        """The best row of another method."""
        return next((row for row in self.comparison.distilled if row.method != self.best.method), None)

    @property
    def selected(self) -> Row | None:
        """The best selected real images."""
        return next(iter(self.comparison.selected), None)

    def beyond(self, other: Row) -> Interval:
        """Return by how much the best row's accuracy exceeds another's, with Welch's interval."""
        return welch_difference(self.best.accuracies, other.accuracies)

    @property
    def sentence(self) -> str:
        """The answer in words, figures in percent.

        Two rows differ significantly where Welch's interval of their difference excludes 0 and the other does not share
        rank 1.
        """
        return "; ".join(self._parts()) + "."

    def _parts(self) -> Iterator[str]:
        told = f"{self.group.name(self.best)} {percent(self.best.accuracy)}"
        yield told + (f", {self._ahead(self.second)}" if self.second else "")
        if self.selected:
            where = percent(self.selected.accuracy)
            yield f"best selected real images: {self.group.name(self.selected)} {where}, {self._behind(self.selected)}"
        if self.best.published:
            yield "published: " + " or ".join(f"{figure.accuracy:g}" for figure in self.best.published)
        if self.ceiling:
            yield f"all training data: {percent(self.ceiling.accuracy)}"

    def _ahead(self, other: Row) -> str:
        return f"{_points(self.beyond(other))} above {self.group.name(other)} ({self._verdict(other)})"

    def _behind(self, other: Row) -> str:
        side = "below" if self.beyond(other).mean >= 0 else "above"
        return f"{_points(self.beyond(other))} {side} it ({self._verdict(other)})"

    def _verdict(self, other: Row) -> str:
        difference = self.beyond(other)
        if difference.half_width is None:
            return "one seed cannot tell"
        tied = self.best.rank == other.rank == 1
        return "significant" if difference.excludes_zero and not tied else "not significant"


def answers(group: Group, rows: Iterable[Row]) -> list[Answer]:
    """Return the answer of each comparison of a table.

    Args:
        rows: those of its board, among which the row of all training data may be
    """
    ceiling = ceilings(rows).get(data_and_network(group.rows[0]))
    return [Answer(group, one, ceiling) for one in comparisons(group)]


def _points(difference: Interval) -> str:
    """Write the size of a difference, with its interval."""
    half = "" if difference.half_width is None else f" ± {100 * difference.half_width:.1f}"
    return f"{100 * abs(difference.mean):.1f}{half}"
