"""The stages of a run in words: what it does, how far it is with that, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable

from ddbench.meter.resuming import group_of
from ddbench.runs.plan import Event

TITLES = {
    "prepare": "preparing data",
    "pool": "training the pool",
    "compile": "compiling",
    "experts": "pretraining experts",
    "distil": "distilling",
    "evaluate": "scoring",
    "check": "checking the set",
    "analyze": "analysing",
}
"""by name of the stage; a loop of another name is called by that"""
AROUND = ("prepare", "pool", "compile", "check", "analyze")
"""stages whose share says nothing of how far the distillation is"""
LEAST_SHARE = 0.01
"""share of a stage that is to be done before its pace is known"""


def stage_of(event: Event) -> str:
    """Return the name of a stage without its numbers: `distil` of `distil 12/200`."""
    if event.at is not None:
        return group_of(event.at.loop)
    name, _, count = event.stage.rpartition(" ")
    return name if name and "/" in count else event.stage


def title_of(event: Event) -> str:
    name = stage_of(event)
    return TITLES.get(name, name)


def latest(event: Event) -> str:
    """Return the first of the values that were logged last, as `loss 0.25`; nothing where none was."""
    logged = event.at.logged if event.at is not None else {}
    return next((f"{name} {value:.4g}" for name, value in logged.items()), "")


def details(event: Event) -> str:
    """Return how far a stage is: `step 12 of 200, 3.1 of 20 s, loss 0.25`, or `network 1 of 5`."""
    if event.at is None:
        _, _, count = event.stage.rpartition(" ")
        number, _, of = count.partition("/")
        return f"network {number} of {of}" if of and stage_of(event) == "evaluate" else ""
    at, budget = event.at, event.job.cell.budget.seconds
    seconds = f"{at.seconds:.1f} s" if budget is None else f"{at.seconds:.1f} of {budget:g} s"
    which = [at.loop] if at.loop != group_of(at.loop) else []
    parts = [*which, f"step {at.step:,} of {at.planned:,}", seconds, latest(event)]
    return ", ".join(part for part in parts if part)


class Countdown:
    """The time left of a run: of its stage at the pace so far, and of what comes after it as was expected.

    Args:
        distil: expected seconds of distilling; None where nothing tells
        evaluate: expected seconds of scoring
        clock: seconds; monotonic
    """

    def __init__(self, distil: float | None, evaluate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._expected, self._after, self._clock = distil, evaluate, clock
        self._own, self._moving = distil, False
        self._stage = self._part = ""
        self._noted = self._begun = self._first = self._part_begun = 0.0

    def note(self, stage: str, share: float) -> None:
        """Take in that so much of a stage is done."""
        now = self._clock()
        if stage in AROUND:
            if self._moving:
                self._own, self._moving, self._noted = self._own_left(now), False, now
            return
        if not self._moving:  # a pause is not a part of the pace
            self._begun += now - self._noted
            self._part_begun += now - self._noted
        self._enter(stage, share, now)
        self._moving, self._noted = True, now
        done = share - self._first
        if done >= LEAST_SHARE:
            self._own = (now - self._begun) * (1 - share) / done
        else:
            self._own = None if self._expected is None else self._expected - (now - self._part_begun)

    def left(self) -> float | None:
        """Return seconds; None where nothing tells."""
        own = self._own_left(self._clock())
        return None if own is None else own + self._after

    def _own_left(self, now: float) -> float | None:
        """Return the seconds that are left of distilling or of scoring."""
        passed = now - self._noted if self._moving else 0.0
        return None if self._own is None else max(0.0, self._own - passed)

    def _enter(self, stage: str, share: float, now: float) -> None:
        """Measure the pace of a stage from where it begins."""
        if stage == self._stage:
            return
        self._stage, self._begun, self._first = stage, now, share
        part = "evaluate" if stage == "evaluate" else "distil"
        if part == self._part:
            return
        if part == "evaluate":
            self._expected, self._after = self._after, 0.0
        elif self._expected is not None:
            self._expected *= 1 - share  # an earlier attempt did the rest
        self._part, self._part_begun = part, now
