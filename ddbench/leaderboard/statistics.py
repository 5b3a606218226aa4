"""Means and their uncertainty: pure functions of numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its two-sided 95 % confidence interval, in the unit of the values."""

    mean: float
    half_width: float | None
    """None for a single value, which says nothing of its spread"""
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.half_width is not None and abs(self.mean) > self.half_width


def interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean (Student, Biometrika 1908), n - 1 degrees of freedom.

    >>> interval([1.0, 2.0, 3.0]).mean
    2.0

    Raises:
        ValueError: when there is no value.
    """
    n = len(values)
    if n == 0:
        raise ValueError("the interval of no values is undefined; pass at least one")
    mean = statistics.fmean(values)
    if n == 1:
        return Interval(mean, None, 1)
    # The quantile behind scipy.stats.t.ppf, without the second that importing scipy.stats takes.
    quantile = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return Interval(mean, quantile * statistics.stdev(values) / math.sqrt(n), n)


def paired_difference(ours: Mapping[int, float], reference: Mapping[int, float]) -> Interval | None:
    """Interval of `ours - reference` over the seeds that both have; None when they share none."""
    common = sorted(ours.keys() & reference.keys())
    return interval([ours[seed] - reference[seed] for seed in common]) if common else None
