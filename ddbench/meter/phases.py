"""Seconds by phase: charged to a run's budget, or shown apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ddbench.compute.clock import Clock


class PhaseTimer:
    """Books the clock's seconds, each under the phase in which it passed.

    Args:
        clock: read now; what passed before is nobody's
    """

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, float] = {}
        """charged, by phase"""
        self.uncharged: dict[str, float] = {}
        self.current = "distil"
        self._clock = clock
        self._mark = clock.settle()

    @property
    def charged(self) -> float:
        return sum(self.seconds.values())

    def tick(self) -> None:
        """Charge what has passed, as far as the device is known to have come."""
        self._charge(self._clock.tick())

    def settle(self) -> None:
        """Charge what has passed, exactly; waits for the device."""
        self._charge(self._clock.settle())

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Go on from an earlier attempt's seconds; what led up to here is not charged twice."""
        self.seconds = dict(seconds)
        self._mark = self._clock.settle()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge what happens inside to `name`."""
        self.settle()
        outer, self.current = self.current, name
        try:
            yield
        finally:
            self.settle()
            self.current = outer

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Book what happens inside apart, under `name`."""
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
