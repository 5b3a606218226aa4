"""Snapshots of the unfinished artefact at fixed shares of the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from ddbench.compute.generators import Generators
from ddbench.meter.log import Diverged

if TYPE_CHECKING:
    from ddbench.artifacts.distilled_dataset import DistilledDataset

SNAPSHOTS = (0.0, 0.1, 0.25, 0.5, 0.75)
"""fractions of the budget at which the unfinished artefact is kept; the finished one is the last point"""


@dataclass(frozen=True)
class Snapshot:
    step: int
    seconds: float
    """seconds charged until it was taken"""
    digest: str | None = None
    """digest of its file"""


class Snapshots:
    """The snapshots of a run.

    Args:
        fractions: fractions of the budget; a snapshot is taken when one is passed
        keep: function of a snapshot's number and the artefact that returns the digest of its file
        generators: generators that are restored after every snapshot
    """

    def __init__(
        self, fractions: tuple[float, ...], keep: Callable[[int, DistilledDataset], str | None], generators: Generators
    ) -> None:
        self.taken: list[Snapshot] = []
        self._fractions, self._keep, self._generators = fractions, keep, generators
        self._passed = -1.0

    def due(self, fraction: float) -> bool:
        """Return whether another fraction has been passed."""
        return any(self._passed < wanted <= fraction for wanted in self._fractions)

    def take(self, result: Callable[[], DistilledDataset], fraction: float, step: int, seconds: float) -> None:
        """Keep a snapshot.

        Raises:
            Diverged: when the artefact is not finite.
        """
        states = self._generators.get_state()
        try:
            digest = self._keep(len(self.taken), result())
        except FloatingPointError as error:
            raise Diverged(f"{error} before step {step}") from error
        self._generators.set_state(states)
        latest = max([seconds, *(snapshot.seconds for snapshot in self.taken)])  # the counted step costs less later
        self.taken.append(Snapshot(step, latest, digest))
        self._passed = fraction

    def describe(self) -> dict[str, Any]:
        """Return the snapshots as plain values, for a checkpoint."""
        return {"taken": [astuple(snapshot) for snapshot in self.taken], "passed": self._passed}

    def restore(self, described: dict[str, Any]) -> None:
        self.taken = [Snapshot(*values) for values in described["taken"]]
        self._passed = described["passed"]
