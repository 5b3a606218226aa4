"""Statistics of accuracies: intervals, tests, ranks, fronts and agreement, as pure functions of numbers."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts load when they are used
from numpy.typing import NDArray

CONFIDENCE = 0.95
FALSE_DISCOVERY_RATE = 0.05
RESAMPLES = 2000
"""number of draws of a bootstrap"""
LEAST_PAIRS = 4
"""smallest number of pairs whose order is bootstrapped"""
MOST_UNDEFINED = 0.05
"""share of a bootstrap's draws for which a correlation may not be defined"""


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its two-sided 95 % confidence interval, in the unit of the values."""

    mean: float
    half_width: float | None
    """half-width of the interval; None for a single value, which shows no spread"""
    n: int

    @property
    def within_accuracies(self) -> tuple[float, float]:
        """Ends of the interval of a mean of accuracies, cut to [0, 1]."""
        half = self.half_width or 0.0
        return max(0.0, self.mean - half), min(1.0, self.mean + half)

    @property
    def leaves_accuracies(self) -> bool:
        """True if the interval, as that of a mean of accuracies, reaches beyond [0, 1]."""
        return self.half_width is not None and not self.half_width <= self.mean <= 1 - self.half_width

    @property
    def excludes_zero(self) -> bool:
        return self.half_width is not None and abs(self.mean) > self.half_width


def interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean (Student, Biometrika 1908), with n - 1 degrees of freedom.

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
    return Interval(mean, student_quantile(n - 1) * statistics.stdev(values) / math.sqrt(n), n)


def student_quantile(freedom: float) -> float:
    """Half-width of the 95 % interval of a mean, in standard errors, by degrees of freedom.

    >>> round(student_quantile(2), 3)
    4.303
    """
    # `stdtrit` is the quantile function behind scipy.stats.t.ppf, and `stdtr` below the distribution function behind
    # scipy.stats.t.cdf. Importing scipy.stats would take a second.
    return float(scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def bootstrapped_mean(values: Sequence[float]) -> tuple[float, float]:
    """Ends of the 95 % bootstrap interval of the mean (Efron, Annals of Statistics 1979), percentiles of `RESAMPLES`
    draws; the same values give the same ends.

    >>> bootstrapped_mean([0.5, 0.5])
    (0.5, 0.5)
    """
    numbers = np.asarray(values, dtype=np.float64)
    draws = np.random.RandomState(0).randint(len(numbers), size=(RESAMPLES, len(numbers)))
    low, high = np.quantile(numbers[draws].mean(1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def paired_difference(ours: Mapping[int, float], reference: Mapping[int, float]) -> Interval | None:
    """Interval of `ours - reference` over the seeds that both have; None when they share none."""
    common = sorted(ours.keys() & reference.keys())
    return interval([ours[seed] - reference[seed] for seed in common]) if common else None


def welch(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Two-sided p-value of Welch's t-test (Welch, Biometrika 1947) that two samples have the same mean.

    For two samples without spread it is 0 where they differ and 1 where they are equal.

    Raises:
        ValueError: when a sample has fewer than two values.
    """
    difference, error, freedom = _welch(ours, theirs)
    if error == 0:
        return float(ours[0] == theirs[0])
    return 2 * float(scipy.special.stdtr(freedom, -abs(difference) / math.sqrt(error)))


def welch_difference(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Interval of the difference of two means by Welch's approximation, which excludes 0 where `welch` is below 5 %.

    It counts the values of both samples; without two of each it has no width.
    """
    n = len(ours) + len(theirs)
    if min(len(ours), len(theirs)) < 2:
        return Interval(statistics.fmean(ours) - statistics.fmean(theirs), None, n)
    difference, error, freedom = _welch(ours, theirs)
    return Interval(difference, student_quantile(freedom) * math.sqrt(error) if error else 0.0, n)


def _welch(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return the difference of two means, its squared standard error, and the degrees of freedom."""
    if min(len(ours), len(theirs)) < 2:
        raise ValueError("one value says nothing of its spread; pass two or more of each sample")
    difference, samples = statistics.fmean(ours) - statistics.fmean(theirs), (ours, theirs)
    errors = [statistics.variance(sample) / len(sample) for sample in samples]
    error = sum(errors)
    if error == 0:
        return difference, 0.0, math.inf
    freedom = error**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(errors, samples, strict=True))
    return difference, error, freedom


def discoveries(p_values: Sequence[float]) -> list[bool]:
    """Decide which of several tests reject at a false discovery rate of 5 % (Benjamini & Hochberg, JRSS B 1995)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    allowed = FALSE_DISCOVERY_RATE / max(1, len(p_values))
    largest = max((p_values[index] for place, index in enumerate(order, 1) if p_values[index] <= place * allowed),
                  default=-1.0)  # fmt: skip
    return [p_value <= largest for p_value in p_values]


def ranks(samples: Sequence[Sequence[float]]) -> list[int | None]:
    """The rank of each sample: 1 + how many others are significantly better. Samples that do not differ share a rank.

    Every two samples are compared by Welch's t-test, two-sided, at a false discovery rate of 5 % over all of them. A
    sample of fewer than two values cannot be tested, and one that has no other to be tested against is not ranked:
    None. No sample ranks before one with a larger mean, so that a wide spread gains nothing.

    Seeds are not paired: methods vary almost independently from seed to seed (a paired difference has 0.86 to 1.04 of
    the variance of an unpaired one, medians over the tables of the boards `cpu` and `quickstart`), so pairing would
    lose half of the degrees of freedom. Holm's correction would be too strict for three seeds: in a simulation with 20
    methods whose seeds vary by 0.7 points, it finds 21 % of the differences of 4 points and more, this test 87 %.

    >>> ranks([[0.5, 0.51, 0.52], [0.9, 0.91, 0.92], [0.89, 0.9, 0.92], [0.99]])
    [3, 1, 1, None]
    """
    tested = [index for index, sample in enumerate(samples) if len(sample) > 1]
    if len(tested) < 2:
        return [None] * len(samples)
    means = {index: statistics.fmean(samples[index]) for index in tested}
    pairs = list(itertools.combinations(tested, 2))
    differ = discoveries([welch(samples[first], samples[second]) for first, second in pairs])
    beaten = Counter(
        min(pair, key=means.__getitem__) for pair, different in zip(pairs, differ, strict=True) if different
    )
    return [
        1 + max(beaten[other] for other in tested if means[other] >= means[index]) if index in means else None
        for index in range(len(samples))
    ]


def front(points: Iterable[tuple[int, float]]) -> set[tuple[int, float]]:
    """The points of (bytes, accuracy) on the Pareto front: none is smaller and no worse, or better and no larger.

    >>> sorted(front([(10, 0.5), (10, 0.6), (20, 0.6), (20, 0.7)]))
    [(10, 0.6), (20, 0.7)]
    """
    found: set[tuple[int, float]] = set()
    best = float("-inf")
    for size, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if accuracy > best:
            found.add((size, accuracy))
            best = accuracy
    return found


def places(values: Sequence[float]) -> list[int]:
    """Return the place of each value, 1 for the largest; equal values share the best of their places.

    >>> places([0.5, 0.9, 0.5, 0.1])
    [2, 1, 2, 4]
    """
    return [1 + sum(other > value for other in values) for value in values]


def share_interval(total: float, count: int) -> tuple[float, float]:
    """Ends of the exact 95 % interval of a share (Clopper & Pearson, Biometrika 1934), of `total` in `count`.

    >>> share_interval(0, 3)[1] > 0.7
    True
    """
    tail = (1 - CONFIDENCE) / 2
    low = float(scipy.special.betaincinv(total, count - total + 1, tail)) if total > 0 else 0.0
    high = float(scipy.special.betaincinv(total + 1, count - total, 1 - tail)) if total < count else 1.0
    return low, high


def bootstrap_interval(rows: NDArray[Any], statistic: Callable[[NDArray[Any]], float]) -> tuple[float, float]:
    """Ends of the 95 % bootstrap interval of a statistic of rows (Efron, 1979), percentiles of `RESAMPLES` draws; the
    same rows give the same ends."""
    random = np.random.RandomState(0)
    found = [statistic(rows[random.randint(len(rows), size=len(rows))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b (Biometrika 1945): 1 for equal orders, -1 for opposite ones, corrected for ties.

    Returns:
        None where it is not defined: for fewer than two values, or when all values of one order are equal.
    """
    from scipy.stats import kendalltau  # takes a second to import, and few tables need it

    tau = float(kendalltau(one, other, variant="b").statistic) if len(one) > 1 else math.nan
    return None if math.isnan(tau) else tau


def kendall_interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """Ends of the 95 % bootstrap interval of `kendall_tau` over pairs drawn with replacement (Efron, 1979), percentiles
    of `RESAMPLES` draws; the same pairs give the same ends.

    Returns:
        None for fewer than `LEAST_PAIRS` pairs, or where tau is not defined for more than a twentieth of the draws, as
        where all pairs but one have one value.
    """
    if len(one) < LEAST_PAIRS:
        return None
    found = kendall_draws(one, other)
    return _percentiles(found)


def _percentiles(found: NDArray[Any]) -> tuple[float, float] | None:
    """Ends of a 95 % interval of draws; None where too many are not defined, and the others tell of some rows alone."""
    if np.isnan(found).mean() > MOST_UNDEFINED:
        return None
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def kendall_draws(one: Sequence[float], other: Sequence[float]) -> NDArray[Any]:
    """`kendall_tau` of `RESAMPLES` draws of the pairs with replacement; NaN where it is not defined.

    Sequences of one length meet the same draws.
    """
    count = len(one)
    first, second = (np.sign(np.subtract.outer(values, values)) for values in map(np.asarray, (one, other)))
    draws = np.random.RandomState(0).randint(count, size=(RESAMPLES, count))
    times = np.stack([np.bincount(draw, minlength=count) for draw in draws]).astype(float)  # (resamples, pairs)

    def total(of: NDArray[Any]) -> NDArray[Any]:
        summed: NDArray[Any] = (times @ of * times).sum(1)
        return summed

    scale = np.sqrt(total(first**2) * total(second**2))
    found: NDArray[Any] = np.divide(total(first * second), scale, out=np.full(RESAMPLES, math.nan), where=scale > 0)
    return found


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation (1904), with the mean of their places for equal values.

    Returns:
        None where it is not defined: for fewer than two values, or when all values of one order are equal.
    """
    (found,) = _spearmans(np.array([one]), np.array([other]))
    return None if math.isnan(found) else float(found)


def spearman_interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """Ends of the 95 % bootstrap interval of `spearman`, of the draws of `kendall_interval`, and None as there."""
    count = len(one)
    if count < LEAST_PAIRS:
        return None
    draws = np.random.RandomState(0).randint(count, size=(RESAMPLES, count))
    found = _spearmans(np.asarray(one)[draws], np.asarray(other)[draws])
    return _percentiles(found)


def _spearmans(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Spearman's correlation of each row of two matrices; NaN where it is not defined."""
    from scipy.stats import rankdata

    places_of = [rankdata(values, axis=1) for values in (one, other)]
    a, b = (places - places.mean(1, keepdims=True) for places in places_of)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    found: NDArray[Any] = np.divide((a * b).sum(1), scale, out=np.full(len(a), math.nan), where=scale > 0)
    return found
