"""What a race found: its rounds, its winner, and how much better that is than what nobody learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ddbench.boards.racing import Candidate
from ddbench.records.schema import Record
from ddbench.stats import Interval, paired_difference


@dataclass(frozen=True)
class Standing:
    """A candidate in a round."""

    candidate: Candidate
    record: Record | None

    @property
    def accuracy(self) -> float | None:
        """Mean over its networks, in [0, 1]; None without scores that count."""
        return self.record.accuracy if self.record else None

    @property
    def status(self) -> str:
        return self.record.result.status if self.record else "not run"

    @cached_property
    def by_network(self) -> Mapping[int, float]:
        """Accuracies by the seed of the evaluation network."""
        return {score.seed: score.accuracy for score in self.record.result.scores} if self.record else {}


@dataclass(frozen=True)
class Round:
    """A round of a race; in the last, sets are made of all training images and tested."""

    budget: str
    """what each run could spend"""
    standings: tuple[Standing, ...]

    def best(self, control: bool) -> Standing | None:
        """Return the most accurate method, or control, the first of equal ones; None where none has a score."""
        scored = [one for one in self.standings if one.candidate.control == control and one.accuracy is not None]
        return max(scored, key=lambda one: one.accuracy or 0.0, default=None)

    def of(self, candidate: Candidate | None) -> Standing | None:
        return next((one for one in self.standings if one.candidate is candidate), None)


@dataclass(frozen=True)
class Race:
    """Everything that a race found.

    Attributes:
        winner: the method, or the control, that was best on held-out training images in the last round; or None
        other: the best of the others' kind there, a control for a method; None without one
        test: both again, made of all training images, on the test set
        images: number of test images
        file: the winner's set
    """

    folder: Path
    rounds: tuple[Round, ...]
    winner: Candidate | None
    other: Candidate | None
    test: Round
    images: int
    file: Path | None

    @property
    def difference(self) -> Interval | None:
        """Test accuracy of the winner beyond the other's, paired by evaluation network; None where either has none."""
        ours, theirs = self.test.of(self.winner), self.test.of(self.other)
        if ours is None or theirs is None or ours.accuracy is None or theirs.accuracy is None:
            return None
        return paired_difference(ours.by_network, theirs.by_network)

    @property
    def significant(self) -> bool:
        """True if the interval of the difference, over networks, excludes zero."""
        return self.difference is not None and self.difference.excludes_zero

    @property
    def sentence(self) -> str:
        """What won, by how much, and whether that is significant."""
        ours = self.test.of(self.winner)
        if self.winner is None or ours is None:
            return "nothing won: no run of the last round has a score"
        if ours.accuracy is None:
            return f"{self.winner.label} won, but the set made of all training images has no score: {ours.status}"
        kind = ", which learns no images," if self.winner.control else ""
        where = f"on {self.images} test images that no round has seen"
        head = f"{self.winner.label}{kind} won: {_percent(ours.accuracy)} {where}"
        theirs, difference = self.test.of(self.other), self.difference
        if self.other is None or theirs is None or theirs.accuracy is None or difference is None:
            return f"{head}; there is nothing to compare it with"
        role = "the best method that learns" if self.winner.control else "the best control"
        reference = f"{self.other.label}, {role} ({_percent(theirs.accuracy)})"
        return f"{head}, {_compared(difference)} {reference}; {_verdict(difference)}"


def _percent(accuracy: float) -> str:
    return f"{100 * accuracy:.1f} %"


def _compared(difference: Interval) -> str:
    """Write `2.1 ± 0.8 points more than`, over networks."""
    points = round(100 * abs(difference.mean), 1)
    spread = "" if difference.half_width is None else f" ± {100 * difference.half_width:.1f}"
    return f"{points:.1f}{spread} points {'more' if difference.mean >= 0 else 'less'} than"


def _verdict(difference: Interval) -> str:
    if difference.half_width is None:
        return "one network says nothing of significance"
    said = "significant" if difference.excludes_zero else "not significant"
    return f"over {difference.n} networks that is {said}"
