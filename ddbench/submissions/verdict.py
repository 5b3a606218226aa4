"""When a claimed accuracy is believed, from what was measured again: a test of numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import scipy

from ddbench.records.schema import Score

TOLERANCE = 0.005
"""what a claim may lie above the re-measured accuracy in any case: half a point"""
CONFIDENCE = 0.99
"""confidence of the one-sided bounds: of a hundred honest claims about one is refused"""
LEAST_FURTHER = 5
"""networks of further seeds that are compared: fewer may lie together by chance"""


@dataclass(frozen=True)
class Comparison:
    """Claimed against re-measured means, in [0, 1]."""

    quantity: str
    """`accuracy` or another metric, and ` of lenet under dsa-1000@1` beyond the headline"""
    seeds: str
    """`equal`, `further`, `other` where seeds name other networks than they did, or `replayed`"""
    claimed: float
    remeasured: float
    bound: float
    """how far the claim may lie above"""

    @property
    def difference(self) -> float:
        return self.claimed - self.remeasured

    @property
    def accepted(self) -> bool:
        return self.difference <= self.bound

    def __str__(self) -> str:
        return (
            f"{self.quantity}, {self.seeds} seeds: claimed {100 * self.claimed:.2f} %, "
            f"re-measured {100 * self.remeasured:.2f} %, difference {100 * self.difference:+.2f} points, "
            f"bound {100 * self.bound:.2f}"
        )


def compare(
    claimed: Sequence[Score],
    remeasured: Sequence[Score],
    rounded: Sequence[Score],
    way: str = "",
    *,
    same_networks: bool = True,
) -> list[Comparison]:
    """Compare the accuracy and every other metric that the claim has.

    Args:
        way: that these scores were made in, where it is not the headline
        same_networks: whether a seed names the network that it named in the claim; given networks, trained on another
            machine, are others. There must be `LEAST_FURTHER` of them.
    """
    found = []
    for name in ("accuracy", *claimed[0].metrics):
        ours, again, changed = (_by_seed(scores, name) for scores in (claimed, remeasured, rounded))
        quantity = f"{name} of {way}" if way else name
        if not same_networks:
            found.append(compare_by_spread(quantity, "other", list(ours.values()), list(again.values())))
            continue
        found.append(compare_equal_seeds(quantity, ours, again, changed))
        if len(again.keys() - ours.keys()) >= LEAST_FURTHER:
            found.append(compare_further_seeds(quantity, ours, again))
    return found


def compare_equal_seeds(
    quantity: str, claimed: Mapping[int, float], remeasured: Mapping[int, float], rounded: Mapping[int, float]
) -> Comparison:
    """Claimed and re-measured networks of equal seeds.

    Equal seeds give equal networks and batches, so that two machines differ by their rounding alone. What that does is
    measured too: each network is trained again on images that one rounding has changed. With r the root mean square of
    the changes in accuracy over m networks, the mean of the m differences between claim and measurement may reach
    r / sqrt(m) times the 99 % quantile of Student's t with m degrees of freedom, or half a point. The claim has no part
    in this bound, however its scores are spread. Of sets that ship, on digits and MNIST with three networks, it is 0.5
    to 0.9 points, where the spread between networks would allow 1 to 27.

    Args:
        claimed: accuracy by evaluation seed
        remeasured: likewise, of the seeds that were trained again
        rounded: likewise, from the changed images
    """
    seeds = sorted(claimed.keys() & remeasured.keys() & rounded.keys())
    squares = [(remeasured[seed] - rounded[seed]) ** 2 for seed in seeds]
    spread = math.sqrt(statistics.fmean(squares))
    return Comparison(
        quantity,
        "equal",
        statistics.fmean(claimed[seed] for seed in seeds),
        statistics.fmean(remeasured[seed] for seed in seeds),
        max(TOLERANCE, _quantile(len(seeds)) * spread / math.sqrt(len(seeds))),
    )


def compare_further_seeds(quantity: str, claimed: Mapping[int, float], remeasured: Mapping[int, float]) -> Comparison:
    """Claimed networks and those of further seeds, in case the artefact was fitted to the protocol's first.

    With s the standard deviation of the k networks of further seeds, the mean of the n that are claimed may lie above
    theirs by s * sqrt(1 / n + 1 / k) times the 99 % quantile of Student's t with k - 1 degrees of freedom, or half a
    point.
    """
    further = [accuracy for seed, accuracy in remeasured.items() if seed not in claimed]
    return compare_by_spread(quantity, "further", list(claimed.values()), further)


def compare_by_spread(quantity: str, seeds: str, claimed: Sequence[float], others: Sequence[float]) -> Comparison:
    """Claimed networks and at least two others, by the spread of the others; see `compare_further_seeds`."""
    error = statistics.stdev(others) * math.sqrt(1 / len(claimed) + 1 / len(others))
    return Comparison(
        quantity,
        seeds,
        statistics.fmean(claimed),
        statistics.fmean(others),
        max(TOLERANCE, _quantile(len(others) - 1) * error),
    )


def allowance(comparisons: Sequence[Comparison], accuracy: float) -> float:
    """Return how far a claim may lie above this accuracy for every comparison of the headline to accept it."""
    most = min(one.remeasured + one.bound for one in comparisons if one.quantity == "accuracy")
    return max(-1.0, min(1.0, most - accuracy))


def _by_seed(scores: Sequence[Score], name: str) -> dict[int, float]:
    return {score.seed: score.accuracy if name == "accuracy" else score.metrics[name] for score in scores}


def _quantile(degrees: int) -> float:
    return float(scipy.special.stdtrit(degrees, CONFIDENCE))
