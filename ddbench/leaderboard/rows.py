"""Make rows of records: one for each cell, whether its runs succeeded or not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ddbench.leaderboard import summaries
from ddbench.leaderboard.anytime import Anytime, anytime
from ddbench.leaderboard.controls import REFERENCE, References, gaps_closed
from ddbench.leaderboard.grouping import conditions, identity, runs_by_cell, storage_conditions
from ddbench.leaderboard.origins import BoardOrigins, Origin, Origins
from ddbench.leaderboard.published import Figure, Published
from ddbench.records.cell import CEILING, Budget, Cell
from ddbench.records.schema import LabelSource, Record
from ddbench.records.states import State, evidence
from ddbench.stats import Interval, front, interval, paired_difference, ranks

MANY = 10
"""smallest number of evaluation networks of a run from which their spread is estimated"""


@dataclass(frozen=True)
class Row:
    """One cell over its distillation seeds.

    Seconds, bytes and steps are medians over the runs with scores, or over all runs where none has scores: what a
    failed run spent does not show what its method costs.
    """

    board: str
    cell: Cell
    runs: tuple[Record, ...]
    """the newest attempt of each seed, by seed"""
    accuracy: Interval | None
    """accuracy in [0, 1] over seeds, each the mean over its evaluation networks, or over these networks where all seeds
    gave one set; None when no run has scores"""
    versus_random: Interval | None
    """difference to random images stored in the same way, under the same conditions and over common seeds; None for
    those"""
    gain: Interval | None
    """accuracy beyond that of each run's own start, over seeds; None where no start was scored"""
    seconds: float
    """seconds charged to the budget"""
    seconds_by_phase: dict[str, float]
    uncharged_seconds: dict[str, float]
    """seconds of compilation, evaluation, snapshots and the like, by phase"""
    peak_bytes: int
    stored_bytes: dict[str, int]
    """bytes of the artefact's parts: images, labels, recipe, initial"""
    steps: str
    """`done/planned` of the loop named `distil`, or a dash for a method without one"""
    statuses: dict[str, int]
    endings: dict[str, int]
    """how the runs ended, in the words of tables"""
    states: dict[State, int]
    """what others have measured of the runs with scores, the least first"""
    reasons: dict[str, tuple[str, ...]]
    """distinct reasons that runs gave, by status"""
    metrics: dict[str, Interval] = field(default_factory=dict)
    """further metrics of the scores by name, averaged as `accuracy` is"""
    published: tuple[Figure, ...] = ()
    """published figures for the same cell, those of the method's own authors first"""
    published_across: tuple[Figure, ...] = ()
    """published figures for the further networks that its artefacts were scored with"""
    origin: Origin | None = None
    """family and paper; None for a method that is not known here"""
    chosen: str | None = None
    """how its board says that the settings were chosen: `paper`, `tuned(8)` or `hand`; None where it does not say"""
    rank: int | None = None
    """rank among the rows under equal conditions whose labels have the same source, see `ranks`; None where nothing can
    be tested"""
    gap_closed: float | None = None
    """share of the way from random images to all training data; None where either was not measured"""
    anytime: Anytime | None = None
    """anytime performance; None where no snapshots show it"""
    on_front: bool = False
    """true if no row under equal conditions, whatever its ipc, stores less and is as accurate, or is better and stores
    no more"""

    @property
    def method(self) -> str:
        return self.cell.method

    @property
    def dataset(self) -> str:
        return self.cell.dataset

    @property
    def network(self) -> str:
        return str(self.cell.network)

    @property
    def setting(self) -> str:
        return self.cell.setting

    @property
    def ipc(self) -> int:
        return self.cell.ipc

    @property
    def protocol(self) -> str:
        return self.cell.protocol

    @property
    def split(self) -> str:
        return self.cell.split

    @property
    def budget(self) -> str:
        return describe_budget(self.cell.budget)

    @property
    def labels(self) -> LabelSource:
        """What labels its distilled images."""
        return self.representative[0].labels

    @property
    def state(self) -> State | None:
        """The least state of its runs with scores; None without any."""
        return next(iter(self.states), None)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Hyper-parameters that distinguish the cell from others."""
        return self.cell.distinguishing

    @property
    def accuracies(self) -> list[float]:
        """Accuracies of which `accuracy` is the mean, in [0, 1]."""
        return summaries.samples(self.runs)

    @property
    def one_set(self) -> bool:
        """True if all of several seeds gave the same distilled set."""
        return summaries.one_set(self.runs)

    @property
    def below_start(self) -> int:
        """Number of runs that ended below their start."""
        return summaries.below_start(self.runs)

    @property
    def loads(self) -> tuple[float, float] | None:
        """The least and the largest share of the machine that was in use during a run; None where nobody looked."""
        found = [run.measured.load for run in self.representative if run.measured.load is not None]
        return (min(found), max(found)) if found else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the evaluation networks of a run, pooled over the runs, in [0, 1].

        None below `MANY` networks a run, which are too few to estimate it.
        """
        samples = [[score.accuracy for score in run.result.scores] for run in self.runs]
        variances = [statistics.variance(sample) for sample in samples if len(sample) >= MANY]
        return math.sqrt(statistics.fmean(variances)) if variances else None

    @property
    def total_bytes(self) -> int:
        """Bytes of all parts that are stored; 0 for all training data, of which nothing is stored."""
        return 0 if self.method == CEILING else sum(self.stored_bytes.values())

    @property
    def machines(self) -> str:
        """Machines that its runs were measured on, such as `AMD EPYC, eager`, separated by semicolons."""
        return "; ".join(sorted({summaries.machine(run.measured.environment) for run in self.representative}))

    @property
    def seeds(self) -> list[int]:
        return [run.result.seed for run in self.runs]

    @property
    def representative(self) -> tuple[Record, ...]:
        """Runs with scores, or all runs where none has scores."""
        return summaries.representative(self.runs)


def rows(records: Iterable[Record], published: Published | None = None, origins: Origins | None = None) -> list[Row]:
    """Make one row for each cell: sorted by data set and ipc, the best accuracy first, cells without scores last.

    Args:
        published: figures to show beside the measured ones
        origins: family and paper of the methods, by name
    """
    figures, known = published or Published(), list(records)
    cells, agreeing = runs_by_cell(known), evidence(known)
    references = References(cells.values())
    made = [
        replace(
            _row(runs, references.of(summaries.representative(runs)[0]), agreeing),
            published=figures.of(runs[0].result.cell),
            published_across=figures.across(runs[0].result.cell),
            origin=(origins or {}).get(runs[0].result.cell.method),
            chosen=origins.chosen(runs[0].board, runs[0].result.cell) if isinstance(origins, BoardOrigins) else None,
        )
        for runs in cells.values()
    ]
    placed = [replace(row, gap_closed=share) for row, share in zip(made, gaps_closed(made), strict=True)]
    timed = [row for table in _alike(placed, lambda row: conditions(row.cell)) for row in _timed(table)]
    ranked = [row for peers in _alike(timed, _rank_conditions) for row in _ranked(peers)]
    fronted = [row for table in _alike(ranked, lambda row: storage_conditions(row.cell)) for row in _on_front(table)]
    return sorted(fronted, key=_order)


def describe_budget(budget: Budget) -> str:
    """Describe a budget: `120 s`, `500 steps`, `120 s and 2 GB`, or `unlimited`."""
    parts = []
    if budget.seconds is not None:
        parts.append(f"{budget.seconds:g} s")
    if budget.steps is not None:
        parts.append(f"{budget.steps} steps")
    if budget.peak_bytes is not None:
        parts.append(f"{budget.peak_bytes / 1e9:g} GB")
    return " and ".join(parts) or "unlimited"


def _order(row: Row) -> tuple[Any, ...]:
    mean = row.accuracy.mean if row.accuracy else None
    return row.dataset, row.ipc, mean is None, -(mean or 0.0), row.method, identity(row.cell)


def _alike(made: Iterable[Row], conditions_of: Callable[[Row], str]) -> Iterable[list[Row]]:
    tables: dict[str, list[Row]] = {}
    for row in made:
        tables.setdefault(conditions_of(row), []).append(row)
    return tables.values()


def _rank_conditions(row: Row) -> str:
    return conditions(row.cell) + row.labels


def _timed(table: Sequence[Row]) -> Iterator[Row]:
    for row, way in zip(table, anytime([row.representative for row in table]), strict=True):
        yield replace(row, anytime=way)


def _ranked(peers: Sequence[Row]) -> Iterator[Row]:
    for row, rank in zip(peers, ranks([row.accuracies for row in peers]), strict=True):
        yield replace(row, rank=rank)


def _on_front(table: Sequence[Row]) -> Iterator[Row]:
    best = front([(row.total_bytes, row.accuracy.mean) for row in table if row.accuracy and row.total_bytes])
    for row in table:
        yield replace(row, on_front=row.accuracy is not None and (row.total_bytes, row.accuracy.mean) in best)


def _row(runs: Sequence[Record], reference: dict[int, float], agreeing: dict[int, list[Record]]) -> Row:
    cell = runs[0].result.cell
    shown = summaries.representative(runs)
    accuracies = {run.result.seed: run.accuracy for run in runs if run.accuracy is not None}
    gains = [found for run in runs if (found := summaries.gain(run)) is not None]
    stored = summaries.medians([run.stored_bytes for run in shown])
    return Row(
        board=", ".join(sorted({run.board for run in runs})),
        cell=cell,
        runs=tuple(runs),
        accuracy=interval(summaries.samples(runs)) if accuracies else None,
        versus_random=None if cell.method == REFERENCE else paired_difference(accuracies, reference),
        gain=interval(gains) if gains else None,
        seconds=statistics.median(run.charged_seconds for run in shown),
        seconds_by_phase=summaries.medians([run.measured.seconds for run in shown]),
        uncharged_seconds=summaries.medians([run.measured.uncharged_seconds for run in shown]),
        peak_bytes=statistics.median_low(run.measured.peak_bytes for run in shown),
        stored_bytes={name: int(value) for name, value in stored.items()},
        steps=summaries.steps(shown),
        statuses=summaries.statuses(runs),
        endings=summaries.endings(runs),
        states=summaries.states(runs, agreeing),
        reasons=summaries.reasons(runs),
        metrics=summaries.metrics(shown),
    )
