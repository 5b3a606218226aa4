"""The time left of a board: what its runs are expected to take, at the pace of those that are done."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ddbench.boards.jobs import Job
from ddbench.cli.stages import LEAST_SHARE
from ddbench.runs.forecast import Forecast

TRUSTED = 0.05
"""share of a board after which the measured pace weighs as much as the forecast"""


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


class BoardCountdown:
    """Counts down what is left of a board.

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
        self._total = sum(one.whole for one in expected.values())
        self._done, self._before = dict[str, float](), dict[str, float]()
        self._begun = clock()

    def note(self, run: str, scoring: bool, share: float) -> None:
        """Take in that so much of a run's stage is done; what is done at first, an earlier command did."""
        self._done[run] = self._expected[run].done(scoring, share)
        self._before.setdefault(run, self._done[run])

    def finish(self, run: str) -> None:
        """Take in that a run is done."""
        self._done[run] = self._expected[run].whole

    def left(self) -> float | None:
        """Return seconds; None where nothing tells yet, or nothing is left."""
        elapsed, all_done = self._clock() - self._begun, sum(self._done.values())
        rest, done = self._total - all_done, all_done - sum(self._before.values())
        if rest <= 0 or (self._workers is None and done < LEAST_SHARE * self._total):
            return None
        if self._workers is None:
            return elapsed * rest / done
        forecast = TRUSTED * self._total / self._workers
        return rest / self._workers * (elapsed + forecast) / (done / self._workers + forecast)
