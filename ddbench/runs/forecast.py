"""What a board will take, before it runs: from records of like runs, and from how fast this machine trains networks."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Literal

import torch

from ddbench.boards.jobs import Job
from ddbench.data import Dataset, load_split
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.schedule import steps_of
from ddbench.networks import build_network
from ddbench.records.cell import Cell, NetworkSpec
from ddbench.records.files import check_record
from ddbench.records.schema import COUNTED, MOST_OF_START, Record
from ddbench.registry import CONTROL, PROTOCOLS, find_method

PROBE_SECONDS, PROBE_IMAGES = 0.1, 16
"""how long, and with how many images a step, the speed of a network is measured after a step that warms up"""
SLOW_SECONDS = 0.5
"""a first step that takes longer is the measurement"""
TESTED = 1 / 3
"""what an image costs that a network is tested on, of one that it is trained on: it goes forward only"""
Basis = Literal["records", "like cells", "budget", "unknown"]


@dataclass(frozen=True)
class CellForecast:
    """What the runs of one cell that are left will take."""

    cell: Cell
    runs: int
    distil: float | None
    """seconds of a run; None where no record and no budget tells"""
    evaluate: float
    """seconds of scoring a run"""
    stored: int
    """bytes of artefacts that a run leaves"""
    basis: Basis
    """what `distil` is from: `records` of this cell, of `like cells`, or the whole `budget`"""

    @property
    def seconds(self) -> float:
        """What all runs of the cell take on one worker, as far as it is known."""
        return self.runs * ((self.distil or 0.0) + self.evaluate)


@dataclass(frozen=True)
class Forecast:
    """What is left of a board, cell by cell."""

    cells: list[CellForecast]
    workers: int = 1

    @property
    def runs(self) -> int:
        return sum(cell.runs for cell in self.cells)

    @property
    def hours(self) -> float:
        """Wall time of all workers side by side, each on a core or a GPU of its own."""
        return sum(cell.seconds for cell in self.cells) / self.workers / 3600

    @property
    def stored(self) -> int:
        """Bytes of artefacts and snapshots."""
        return sum(cell.runs * cell.stored for cell in self.cells)

    @property
    def unknown(self) -> list[CellForecast]:
        return [cell for cell in self.cells if cell.distil is None]

    def __str__(self) -> str:
        if not self.cells:
            return "nothing left to do"
        known = f"{self.runs} runs, about {duration(3600 * self.hours)}"
        beside = f" with {self.workers} workers" if self.workers > 1 else ""
        missing = f" and the distilling of {len(self.unknown)} cells that nothing is known of" if self.unknown else ""
        return f"{known}{beside}{missing}; {max(1, round(self.stored / 2**20))} MiB of artefacts"


def forecast(jobs: Sequence[Job], records: Iterable[Record], device: torch.device, workers: int = 1) -> Forecast:
    """Return what runs will take on this machine.

    Distilling takes the run's budget, or less where records of the same method on the same data set say that it ends
    earlier, or that it is not bounded. Their seconds are scaled by the speed of their machine, which their evaluation
    shows, and by the sizes in which the cells differ. Scoring is counted in images, at the speed that is measured here.

    Args:
        records: of earlier runs, on whatever machines
        workers: processes side by side
    """
    known = [record for record in records if record.result.status in COUNTED]
    with _threads(jobs[0].cell.threads if jobs else 1):
        speeds = _Speeds(device)
        return Forecast([_of_cell(runs, known, speeds) for runs in _by_cell(jobs)], workers)


def records_like(folder: Path, jobs: Iterable[Job]) -> list[Record]:
    """Read what a folder of `BOARD/METHOD/NAME.json` has of the methods and data sets of some runs, and is sound."""
    wanted = sorted({(job.cell.method, job.cell.dataset) for job in jobs})
    paths = [path for method, dataset in wanted for path in folder.glob(f"*/{method}/{escape(dataset)}-ipc*.json")]
    checked = map(check_record, sorted(paths))
    return [record for record, problems in checked if record is not None and not problems]


def _by_cell(jobs: Iterable[Job]) -> list[list[Job]]:
    found = dict[str, list[Job]]()
    for job in jobs:
        found.setdefault(job.cell.model_dump_json(), []).append(job)
    return list(found.values())


def _of_cell(runs: Sequence[Job], records: Iterable[Record], speeds: _Speeds) -> CellForecast:
    job = runs[0]
    data = _Sizes(job.cell, load_split(job.dataset, job.cell.split, job.cell.peek))
    evaluate = sum(_evaluation_seconds(run, data, speeds) for run in runs) / len(runs)
    stored = sum(4 * data.stored * (1 + len(_snapshots(run))) for run in runs) // len(runs)
    distil, basis = _distilling(job.cell, data, records, speeds)
    return CellForecast(job.cell, len(runs), distil, evaluate, stored, basis)


@dataclass(frozen=True)
class _Sizes:
    """How many images a cell's trainings and tests see."""

    cell: Cell
    data: Dataset

    @property
    def images(self) -> int:
        return self.cell.ipc * len(self.data.classes)

    @property
    def stored(self) -> int:
        """Numbers that the cell's storage has room for."""
        return self.images * math.prod(self.data.shape)

    def scored(self, protocol: Protocol, short: bool = False) -> float:
        """Images that one network costs, in images trained on."""
        count = self.images if protocol.kind == "train" else len(self.data.train_labels)
        return steps_of(protocol, count, short) * min(count, protocol.batch_size) + TESTED * len(self.data.test_labels)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Speeds:
    """Seconds that networks take here for an image that they are trained on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._known = dict[tuple[str, tuple[int, ...]], float]()

    def of(self, network: NetworkSpec, data: Dataset) -> float:
        key = str(network), data.shape
        if key not in self._known:
            self._known[key] = self._measure(network, data)
        return self._known[key]

    def _measure(self, network: NetworkSpec, data: Dataset) -> float:
        classes = len(data.classes)
        module = build_network(network.name, data.shape, classes, network.parameters).to(self.device)
        images = torch.zeros(PROBE_IMAGES, *data.shape, device=self.device)
        first, later = self._step_seconds(module, images), list[float]()
        while first < SLOW_SECONDS and sum(later) < PROBE_SECONDS:
            later.append(self._step_seconds(module, images))
        return statistics.fmean(later or [first]) / PROBE_IMAGES

    def _step_seconds(self, module: torch.nn.Module, images: torch.Tensor) -> float:
        started = time.perf_counter()
        module(images).sum().backward()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started


def _evaluation_seconds(job: Job, data: _Sizes, speeds: _Speeds) -> float:
    cell, protocol = job.cell, job.protocol()
    snapshots = _snapshots(job)
    starts = min(cell.networks, MOST_OF_START) if snapshots else 0
    points = len(snapshots) if job.curve else 0
    images = (cell.networks + starts) * data.scored(protocol) + points * data.scored(protocol, short=True)
    seconds = images * speeds.of(cell.network, data.data)
    for way in cell.also or []:
        seconds += way.networks * data.scored(PROTOCOLS.get(way.protocol)) * speeds.of(way.network, data.data)
    return seconds


def _snapshots(job: Job) -> tuple[float, ...]:
    """Return the moments at which a run takes snapshots: controls have no loop that would."""
    return () if find_method(job.method).family == CONTROL else job.snapshots


def _distilling(cell: Cell, data: _Sizes, records: Iterable[Record], speeds: _Speeds) -> tuple[float | None, Basis]:
    """Return the seconds that a run distils for, and what they are from."""
    like = [record for record in records if _is_like(record.result.cell, cell)]
    if not like:
        return cell.budget.seconds, "unknown" if cell.budget.seconds is None else "budget"
    nearest = max(like, key=lambda record: _nearness(record.result.cell, cell))
    needed = _needed(nearest, cell) * _slower(nearest, data, speeds)
    basis: Basis = "records" if _nearness(nearest.result.cell, cell) == _nearness(cell, cell) else "like cells"
    return min(needed, cell.budget.seconds or needed), basis


def _is_like(known: Cell, cell: Cell) -> bool:
    same = (known.method, known.dataset_digest, known.device) == (cell.method, cell.dataset_digest, cell.device)
    return same and known.protocol in PROTOCOLS


def _nearness(known: Cell, cell: Cell) -> tuple[bool, ...]:
    """Return in what the cells agree, what matters most first."""
    return known.network == cell.network, known.ipc == cell.ipc, known.hyperparameters == cell.hyperparameters


def _needed(record: Record, cell: Cell) -> float:
    """Return the seconds that the record's run would have needed for as many steps as the cell has, on its machine."""
    result, seconds = record.result, 0.0
    for phase, spent in record.measured.seconds.items():
        done = result.steps_done.get(phase)
        seconds += spent * result.steps_planned[phase] / done if done else spent
    theirs, ours = (known.hyperparameters.get("iterations") for known in (result.cell, cell))
    if isinstance(theirs, int) and isinstance(ours, int) and theirs:
        seconds *= ours / theirs
    if cell.budget.steps is not None and (planned := sum(result.steps_planned.values())):
        seconds *= min(1.0, cell.budget.steps / planned)
    return seconds * _images_a_step(cell) / _images_a_step(result.cell)


def _images_a_step(cell: Cell) -> int:
    real = cell.hyperparameters.get("batch_real")
    return cell.ipc + (real if isinstance(real, int) else 0)


def _slower(record: Record, data: _Sizes, speeds: _Speeds) -> float:
    """Return by how much the cell's network here is slower than the record's was there; 1 where that is not known.

    Networks of further scorings count as one of the headline's.
    """
    cell = record.result.cell
    sizes, protocol = _Sizes(cell, data.data), PROTOCOLS.get(cell.protocol)
    trained = len(record.result.scores) + len(record.result.start) + len(record.result.also)
    there = trained * sizes.scored(protocol) + len(record.result.curve) * sizes.scored(protocol, short=True)
    spent = record.measured.uncharged_seconds.get("evaluation", 0.0)
    return speeds.of(data.cell.network, data.data) / (spent / there) if spent and there else 1.0


def duration(seconds: float) -> str:
    """Write seconds as `12 days`, `2 h 5 min`, `5 min` or `20 s`."""
    minutes = round(seconds / 60)
    if minutes >= 60 * 24 * 4:
        return f"{round(minutes / 60 / 24)} days"
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{round(seconds)} s"
