"""The hard limits of a run, kept from outside its process: silence, wall time and memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ddbench.compute.memory import overrun
from ddbench.records.cell import Budget
from ddbench.runs.status import Outcome

LEAST_SILENCE_SECONDS = 600.0
SILENCE_WITHOUT_BUDGET_SECONDS = 3600.0
LOOKS = 20
"""at the processor time, while a run is silent for as long as it may be"""
IDLE_SHARE = 0.005
"""share of a core below which a process idles: one that waits for ever may still wake up now and then"""
WALL_PER_BUDGET_SECOND = 20.0
WALL_GRACE_SECONDS = 3600.0
LONGEST_GAP_SECONDS = 5.0
"""between two looks; what is beyond is not counted: the whole machine or the command was suspended"""


class Watch:
    """Decides when a run has hung, runs for ever, or holds more memory than it may.

    A run reports at least once a step, and a step takes about a hundredth of a budget. It may be silent for as long as
    its whole budget, at least for ten minutes, and for an hour where it has no budget of seconds. Then it has hung if
    it also was idle, or spent as many core-seconds since its last report: one that others on the machine kept from
    working has not. A run that reports, but spends none of its budget, ends after an hour and twenty times the budget.

    Args:
        stall_seconds: of silence, in place of the rule above
        clock: seconds; monotonic
    """

    def __init__(
        self, budget: Budget, stall_seconds: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        seconds = budget.seconds
        rule = max(LEAST_SILENCE_SECONDS, seconds) if seconds else SILENCE_WITHOUT_BUDGET_SECONDS
        self._patience = stall_seconds or rule
        self._longest = WALL_GRACE_SECONDS + WALL_PER_BUDGET_SECOND * seconds if seconds else float("inf")
        self._peak_bytes = budget.peak_bytes
        self._clock = clock
        self._looked = clock()
        self._running = 0.0
        self._used = deque[float](maxlen=LOOKS + 1)
        self.heard("its start")

    @property
    def bounds_memory(self) -> bool:
        return self._peak_bytes is not None

    def heard(self, stage: str) -> None:
        """The run reported."""
        self._stage, self._silent, self._spent = stage, 0.0, 0.0
        self._used.clear()
        self._next_look = self._patience / LOOKS

    def look(self, held_bytes: int, core_seconds: Callable[[], float]) -> Outcome | None:
        """What the run is to be ended for; None while all is well.

        Args:
            core_seconds: that it has used since its start; asked for now and then
        """
        now = self._clock()
        passed, self._looked = min(now - self._looked, LONGEST_GAP_SECONDS), now
        self._silent += passed
        self._running += passed
        if self._peak_bytes is not None and held_bytes > self._peak_bytes:
            return Outcome("out_of_memory", overrun(held_bytes, self._peak_bytes))
        if self._running >= self._longest:
            return Outcome("timeout", f"it was still running after {self._longest:g} s")
        if self._silent >= self._next_look:
            self._next_look += self._patience / LOOKS
            self._note(core_seconds())
        if self._hangs():
            return Outcome("timeout", f"no step ended within {self._patience:g} s; last heard of at {self._stage}")
        return None

    def _note(self, used: float) -> None:
        self._spent += max(0.0, used - self._used[-1]) if self._used else 0.0
        self._used.append(used)

    def _hangs(self) -> bool:
        if len(self._used) <= LOOKS:
            return False
        lately = self._used[-1] - self._used[0]  # in the last of its patience
        return lately < IDLE_SHARE * self._patience or self._spent >= self._patience
