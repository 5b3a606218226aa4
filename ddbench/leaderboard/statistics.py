"""Means and their uncertainty: pure functions of numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its two-sided 95 % confidence interval, in the unit of the values."""

    mean: float
    half_width: float | None
    """None for a single value, which says nothing of its spread"""
    n: int

    @property
    def within_accuracies(self) -> tuple[float, float]:
        """Its ends, of a mean of accuracies: not below 0 and not above 1."""
        half = self.half_width or 0.0
        return max(0.0, self.mean - half), min(1.0, self.mean + half)

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
    # The quantile behind scipy.stats.t.ppf, as `stdtr` below is the distribution function behind scipy.stats.t.cdf:
    # without the second that importing scipy.stats takes.
    quantile = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return Interval(mean, quantile * statistics.stdev(values) / math.sqrt(n), n)


def paired_difference(ours: Mapping[int, float], reference: Mapping[int, float]) -> Interval | None:
    """Interval of `ours - reference` over the seeds that both have; None when they share none."""
    common = sorted(ours.keys() & reference.keys())
    return interval([ours[seed] - reference[seed] for seed in common]) if common else None


def welch(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Two-sided p-value of Welch's t-test (Welch, Biometrika 1947) that two samples have the same mean.

    Two samples without spread differ for certain or not at all: then it is 0 or 1.

    Raises:
        ValueError: when a sample has fewer than two values.
    """
    if min(len(ours), len(theirs)) < 2:
        raise ValueError("one value says nothing of its spread; pass two or more of each sample")
    errors = [statistics.variance(sample) / len(sample) for sample in (ours, theirs)]
    error = sum(errors)
    if error == 0:
        return float(ours[0] == theirs[0])
    freedom = error**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(errors, (ours, theirs), strict=True))
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    return 2 * float(stdtr(freedom, -abs(difference) / math.sqrt(error)))


def discoveries(p_values: Sequence[float]) -> list[bool]:
    """Which of several tests reject at a false discovery rate of 5 % (Benjamini & Hochberg, JRSS B 1995)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    allowed = FALSE_DISCOVERY_RATE / max(1, len(p_values))
    largest = max((p_values[index] for place, index in enumerate(order, 1) if p_values[index] <= place * allowed),
                  default=-1.0)  # fmt: skip
    return [p_value <= largest for p_value in p_values]
