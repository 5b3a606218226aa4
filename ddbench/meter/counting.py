"""The count of a step's operations, and what counting costs, which no budget pays for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ddbench.compute.flops import FlopCounter
from ddbench.meter.phases import PhaseTimer

MOST_STEPS = 4
MOST_SECONDS = 1.0
MOST_SHARE = 0.01
"""what is not charged of the counted step at most: so many times the next step, and a second beside a hundredth of the
budget, so that work hidden in the first step gains nothing"""


class StepCounter:
    """Counts the operations of the first step it sees, which runs eagerly and slower for it.

    What that step takes beyond the next one is not charged, within bounds.

    Args:
        timer: of the run
        budget: in seconds; None is unlimited
    """

    def __init__(self, timer: PhaseTimer, budget: float | None) -> None:
        self.total: int | None = None
        """operations of the step"""
        self.first: float | None = None
        """seconds of the step, until the next one has shown what is usual"""
        self._timer = timer
        self._most = MOST_SECONDS + MOST_SHARE * (budget or 0.0)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Surround a step of the main loop."""
        if self.total is None:
            begun = self._settled()
            with FlopCounter() as counter:
                yield
            self.total, self.first = counter.total, self._settled() - begun
        elif self.first is not None:
            begun = self._settled()
            yield
            usual, first, self.first = self._settled() - begun, self.first, None
            self._timer.excuse("counting", max(0.0, min(first - usual, MOST_STEPS * usual, self._most)))
        else:
            yield

    def _settled(self) -> float:
        self._timer.settle()
        return self._timer.charged
