"""The time of a race: what is spent over all its sessions, and what each round's runs may spend of what is left."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from ddbench.boards.racing import first_budget, wall_seconds
from ddbench.compute.load import slowdown
from ddbench.errors import UserError
from ddbench.io.atomic import write_sealed
from ddbench.records.fields import Digest, Seconds, Strict
from ddbench.records.files import read_kept
from ddbench.records.schema import Record
from ddbench.runs.forecast import duration

START_SECONDS = 1.0
"""seconds of a run beside distilling and scoring: its process starts, and reads the data"""
LEAST_SECONDS = 1.0
"""shortest budget of a run"""
PLANNED = 0.95
"""share of the time that is planned with"""


class _Kept(Strict):
    asked: Digest
    """digest of what the command was asked for"""
    spent: Seconds
    """wall seconds"""
    budgets: list[Seconds] = []
    """seconds of the runs of each round that has begun"""


class RaceTime:
    """Budgets of the rounds of a race, kept in a file: interrupted, a race goes on with those that it had begun with.

    Args:
        file: where they are kept
        asked: digest of what the command was asked for
        limit: wall seconds of the whole race
        workers: runs side by side

    Raises:
        UserError: when the file is of another race.
    """

    def __init__(self, file: Path, asked: str, limit: float, workers: int) -> None:
        kept = read_kept(file, _Kept)
        if kept is not None and kept.asked != asked:
            raise UserError(f"{file.parent} is of a race with other options; choose another --out, or those")
        self._kept = kept or _Kept(asked=asked, spent=0.0)
        self._file, self._limit, self._workers = file, limit, workers
        self._began, self._before = time.monotonic(), self._kept.spent
        self._stretch, self._slower = 1.0, 1.0

    @property
    def left(self) -> float:
        """Wall seconds until the race is to be over; negative afterwards."""
        return self._limit - self._before - (time.monotonic() - self._began)

    def keep(self) -> None:
        """Write down what is spent."""
        self._kept = self._kept.model_copy(update={"spent": self._before + time.monotonic() - self._began})
        write_sealed(self._file, self._kept.model_dump_json().encode())

    def budget(self, place: int, runs: Sequence[int], scoring: Sequence[float], aside: float = 0.0) -> float:
        """Return the seconds of each run of a round.

        Args:
            place: number of the round, 0, 1, ...
            runs: number of runs of it and of each later one
            scoring: seconds of scoring a run, as they were forecast, of each of these rounds
            aside: seconds that controls take beside these runs

        Raises:
            UserError: when the time is too short to begin.
        """
        if place < len(self._kept.budgets):
            return self._kept.budgets[place]
        if place == 0:
            self._stretch = slowdown()
        overheads = [START_SECONDS + self._slower * seconds for seconds in scoring]
        left = (self.left - (1 - PLANNED) * self._limit) / self._stretch - aside
        found = first_budget(left, runs, overheads, self._workers)
        if place == 0 and found < LEAST_SECONDS:
            needed = aside + wall_seconds(LEAST_SECONDS, runs, overheads, self._workers)
            needed *= self._stretch / PLANNED
            raise UserError(
                f"{duration(self._limit)} are too short for a race of {runs[0]} methods: starting and scoring their "
                f"runs takes most of it; give --time {math.ceil(needed / 60)}m or more, or fewer methods"
            )
        budget = float(f"{max(found, LEAST_SECONDS):.3g}")
        self._kept = self._kept.model_copy(update={"budgets": [*self._kept.budgets, budget]})
        self.keep()
        return budget

    def learn(self, records: Iterable[Record], wall: float, scoring: float) -> None:
        """Take from a round how much longer scoring took than was forecast, and the wall than runs counted.

        Args:
            records: what was run
            wall: seconds that passed
            scoring: seconds of scoring a run, as they were forecast
        """
        known = list(records)
        if not known:
            return
        beside = [sum(record.measured.uncharged_seconds.values()) for record in known]
        self._slower = max(1.0, fmean(beside) / scoring) if scoring else 1.0
        counted = sum(beside) + sum(record.charged_seconds + START_SECONDS for record in known)
        self._stretch = max(1.0, wall * min(self._workers, len(known)) / counted)
