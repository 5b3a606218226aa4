"""The time left of a board: what its runs are expected to take, at the pace of what is done."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ddbench.boards.jobs import Job
from ddbench.cli.stages import LEAST_SHARE
from ddbench.runs.forecast import Forecast

TRUSTED = 0.05
"""share of a stage, over all runs, after which its measured pace weighs as much as the forecast"""


@dataclass(frozen=True)
class Expected:
    """Seconds that a run is expected to take, or numbers in proportion to them."""

    distil: float
    evaluate: float

    @property
    def whole(self) -> float:
        return self.distil + self.evaluate

    def done(self, scoring: bool, share: float) -> float:
        """Return the part that is done when so much of a stage is."""
        return self.distil + self.evaluate * share if scoring else self.distil * share


ALIKE = Expected(4.0, 1.0)
"""what every run is taken for where no forecast was made"""


def expectations(jobs: Iterable[Job], forecast: Forecast | None) -> dict[str, Expected]:
    """Return what each run is expected to take, by its folder; what is unknown of one, as the others on average."""
    if forecast is None:
        return {job.folder: ALIKE for job in jobs}
    known = [cell.distil for cell in forecast.cells if cell.distil is not None]
    usual = statistics.fmean(known) if known else 0.0
    by_cell = {
        cell.cell.model_dump_json(): Expected(usual if cell.distil is None else cell.distil, cell.evaluate)
        for cell in forecast.cells
    }
    return {job.folder: by_cell[job.cell.model_dump_json()] for job in jobs}


@dataclass
class _Part:
    """Distilling or scoring, of all runs together: what was expected of it, and what it took."""

    total: float
    done: float = 0.0
    """expected seconds of what is done"""
    measured: float = 0.0
    """expected seconds of what was done while this watched"""
    spent: float = 0.0
    """seconds that this took"""

    def pace(self) -> float:
        """Return seconds for one that was expected; little that is done weighs little."""
        trust = TRUSTED * self.total
        return (self.spent + trust) / (self.measured + trust) if trust else 1.0


class BoardCountdown:
    """Counts down what is left of a board; distilling and scoring have a pace each.

    Args:
        expected: of each run, by its folder
        workers: runs side by side; None where the expectations are no seconds
        clock: seconds; monotonic
    """

    def __init__(
        self,
        expected: dict[str, Expected],
        workers: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected, self._workers, self._clock = expected, workers, clock
        self._distil = _Part(sum(one.distil for one in expected.values()))
        self._evaluate = _Part(sum(one.evaluate for one in expected.values()))
        self._done = dict[str, tuple[float, float]]()
        """expected seconds of distilling and of scoring that are done, by run"""
        self._at = dict[str, tuple[float, _Part | None]]()
        """when a run was heard of last, and what it did then"""
        self._preparing = list[float]()
        """seconds before a run began to distil or was scored, of each"""
        self._begun = clock()

    def start(self, run: str) -> None:
        """Take in that a run begins now."""
        self._at[run] = self._clock(), None

    def note(self, run: str, scoring: bool, share: float) -> None:
        """Take in that so much of a run's stage is done; what is done at first, an earlier command did."""
        one = self._expected[run]
        self._reach(run, scoring, (one.distil, one.evaluate * share) if scoring else (one.distil * share, 0.0))

    def finish(self, run: str) -> None:
        """Take in that a run is done."""
        self._done.setdefault(run, (0.0, 0.0))
        self._reach(run, True, (self._expected[run].distil, self._expected[run].evaluate))

    def left(self) -> float | None:
        """Return seconds; None where nothing tells yet, or nothing is left."""
        total = self._distil.total + self._evaluate.total
        rest = total - self._distil.done - self._evaluate.done
        if rest <= 0:
            return None
        if self._workers is None:
            measured = self._distil.measured + self._evaluate.measured
            return (self._clock() - self._begun) * rest / measured if measured >= LEAST_SHARE * total else None
        by_run = list(self._seconds_left())
        return max(sum(by_run) / self._workers, *by_run)

    def _reach(self, run: str, scoring: bool, reached: tuple[float, float]) -> None:
        """Count what a run has reached, and the time since it was heard of last as that of the stage it was in."""
        now, stage = self._clock(), self._evaluate if scoring else self._distil
        since, earlier = self._at.get(run, (now, None))
        if earlier is None:
            self._preparing.append(now - since)
        else:
            earlier.spent += now - since
        before = self._done.get(run)
        for part, done, was in zip((self._distil, self._evaluate), reached, before or (0.0, 0.0), strict=True):
            part.done += done - was
            part.measured += done - was if before else 0.0
        self._done[run], self._at[run] = reached, (now, stage)

    def _seconds_left(self) -> Iterator[float]:
        """Yield what each run takes still."""
        distil, evaluate, preparing = self._distil.pace(), self._evaluate.pace(), self._usual_preparing()
        for run, one in self._expected.items():
            distilled, evaluated = self._done.get(run, (0.0, 0.0))
            stages = (one.distil - distilled) * distil + (one.evaluate - evaluated) * evaluate
            yield stages if run in self._done else stages + preparing

    def _usual_preparing(self) -> float:
        """Return their median, the lower of two; 0 after the first alone, which waited for processes to start."""
        return statistics.median_low(self._preparing) if len(self._preparing) > 1 else 0.0
