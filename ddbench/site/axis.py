"""A common axis of accuracies, which tables draw beside their numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ddbench.site.charts import nice_ticks
from ddbench.stats import Interval


@dataclass(frozen=True)
class Whisker:
    """A 95 % interval on the axis, as shares of its width in percent."""

    left: float
    middle: float
    right: float


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, accuracies in [0, 1]."""

    low: float
    high: float

    @classmethod
    def around(cls, intervals: Iterable[Interval | None], others: Iterable[float] = ()) -> Axis:
        """Return the axis on which intervals, and other accuracies, just lie."""
        ends = [end for interval in intervals if interval for end in interval.within_accuracies] + [*others]
        return cls(min(ends), max(ends)) if ends else cls(0.0, 1.0)

    @property
    def widened(self) -> Axis:
        """The axis with its ends at whole tens of percent."""
        return Axis(math.floor(10 * self.low) / 10, math.ceil(10 * self.high) / 10)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places, in percent of the width, and their accuracies in percent."""
        return [(self.at(tick / 100), f"{tick:g}") for tick in nice_ticks(100 * self.low, 100 * self.high)]

    def at(self, accuracy: float) -> float:
        """Return the place of an accuracy, in percent of the width."""
        return round(100 * (accuracy - self.low) / ((self.high - self.low) or 1.0), 1)

    def whisker(self, value: Interval | None) -> Whisker | None:
        """Place an interval; None for none."""
        if value is None:
            return None
        first, last = value.within_accuracies
        return Whisker(self.at(first), self.at(value.mean), self.at(last))
