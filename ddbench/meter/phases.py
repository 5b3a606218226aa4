"""Timing of phases, whose seconds are charged to a run's budget or shown separately."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ddbench.compute.clock import Clock


class PhaseTimer:
    """Counts the clock's seconds under the phase in which they pass.

    Args:
        clock: clock to read; the time before now is not counted
    """

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, float] = {}
        """charged seconds, by phase"""
        self.uncharged: dict[str, float] = {}
        self.current = "distil"
        self._clock = clock
        self._mark = clock.settle()

    @property
    def charged(self) -> float:
        return sum(self.seconds.values())

    def tick(self) -> None:
        """Charge the time that has passed, up to the last step that the device is known to have finished."""
        self._charge(self._clock.tick())

    def settle(self) -> None:
        """Wait for the device and charge exactly the time that has passed."""
        self._charge(self._clock.settle())

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Continue from an earlier attempt's seconds; the time until here is not charged twice."""
        self.seconds = dict(seconds)
        self._mark = self._clock.settle()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the block to the phase `name`."""
        self.settle()
        outer, self.current = self.current, name
        try:
            yield
        finally:
            self.settle()
            self.current = outer

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Count the block under `name` without charging it."""
        self.settle()
        try:
            yield
        finally:
            now = self._clock.settle()
            self.uncharged[name] = self.uncharged.get(name, 0.0) + now - self._mark
            self._mark = now

    def _charge(self, now: float) -> None:
        self.seconds[self.current] = self.seconds.get(self.current, 0.0) + now - self._mark
        self._mark = now
