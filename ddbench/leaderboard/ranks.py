"""Ranks that say no more than the seeds do: pure functions of numbers."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence

from ddbench.leaderboard.statistics import discoveries, welch


def ranks(samples: Sequence[Sequence[float]]) -> list[int | None]:
    """The rank of each sample: 1 + how many others are significantly better; without such a difference they share it.

    Every two samples are compared by Welch's t-test, two-sided, at a false discovery rate of 5 % over all of them. A
    sample of fewer than two values cannot be tested, and one that has no other to be tested against is not ranked:
    None. No sample ranks before one with a larger mean: a wide spread, which little can be told from, gains nothing.

    Seeds are not paired: methods vary almost independently from seed to seed (a paired difference has 0.86 to 1.04 of
    the variance of an unpaired one, medians over the tables of the boards `cpu` and `quickstart`), so pairing would
    give half of the degrees of freedom away. Holm's correction would be too strict for three seeds: simulated with 20
    methods whose seeds vary by 0.7 points, it finds 21 % of the differences of 4 points and more, this 87 %.

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
