"""Timing of phases, whose seconds are charged to a run's budget or shown separately."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median

from ddbench.compute.clock import Clock
from ddbench.records.contradictions import MOST_SHARE

EXCUSED = ("snapshots", "checkpoints", "cache", "compile", "counting")
"""what the harness pauses for; what a method pauses for is shown, and not accounted for"""
LENGTHS = 1001
"""number of steps whose lengths are remembered"""
GRACE_SECONDS = 1.0
GRACE_SHARE = 0.1
"""share of a budget by which it may be overdrawn, as a second may, whatever a step takes"""


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
        self._lengths = deque[float](maxlen=LENGTHS)
        self._loop = ""
        self._usual = self._stepped = self._elsewhere = self._excused = 0.0
        self._clock = clock
        self._mark = clock.settle()

    @property
    def charged(self) -> float:
        return sum(self.seconds.values())

    @property
    def accounted(self) -> float:
        """Seconds that passed in this attempt and were charged, or paused by the harness itself."""
        return self.charged - self._elsewhere + self._excused

    def tick(self, loop: str) -> None:
        """Charge the time that has passed, up to the last step that the device is known to have finished.

        Args:
            loop: whose step has ended
        """
        self._charge(self._clock.tick())
        if loop != self._loop:
            self._loop = loop
            self._lengths.clear()
        self._lengths.append(self.charged - self._stepped)
        self._stepped = self.charged

    def remember(self, usual: float) -> None:
        """Take over what a step of an earlier attempt usually took."""
        self._usual = usual

    @property
    def usual(self) -> float:
        """Median length of the steps of the latest loop but the last one, or what an earlier attempt has found."""
        lengths = list(self._lengths)
        return median(lengths[:-1] or lengths or [self._usual])

    def overdraft(self, seconds: float | None) -> float:
        """Return by how much a budget of seconds is overdrawn; 0 while that is no more than may happen to anybody.

        A step that began within the budget may take as long as the others, and of a loop's only step as long as it
        does, up to half of the budget; a device that runs ahead is as many steps late.
        """
        if seconds is None:
            return 0.0
        steps = min(MOST_SHARE * seconds, self.usual * (1 + self._clock.ahead))
        beyond = self.charged - seconds
        return beyond if beyond > max(steps, GRACE_SECONDS + GRACE_SHARE * seconds) else 0.0

    def charge(self, name: str, seconds: float) -> None:
        """Charge seconds that did not pass here to the phase `name`."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self._elsewhere += seconds

    def excuse(self, name: str, seconds: float) -> None:
        """Count seconds that were charged to the current phase under `name` instead, uncharged."""
        if seconds > 0:
            self.seconds[self.current] -= seconds
            self._stepped -= seconds
            self.uncharged[name] = self.uncharged.get(name, 0.0) + seconds
            self._excused += seconds

    def settle(self) -> None:
        """Wait for the device and charge exactly the time that has passed."""
        self._charge(self._clock.settle())

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Continue from an earlier attempt's seconds; the time until here is not charged twice."""
        self.settle()
        self._excused = self.accounted
        self.seconds = dict(seconds)
        self._stepped = self._elsewhere = self.charged

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
        helpers = self._clock.helpers()
        try:
            yield
        finally:
            now = self._clock.settle()
            passed = now - self._mark + self._clock.helpers() - helpers
            self.uncharged[name] = self.uncharged.get(name, 0.0) + passed
            if name in EXCUSED:
                self._excused += passed
            self._mark = now

    def _charge(self, now: float) -> None:
        self.seconds[self.current] = self.seconds.get(self.current, 0.0) + now - self._mark
        self._mark = now
