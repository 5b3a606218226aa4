"""What a board will take, before it runs: from records of like runs, and from how fast this machine trains networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Literal

import torch

from ddbench.boards.jobs import Job
from ddbench.data.builtin import SIZES, Size
from ddbench.evaluation.protocols import AnyProtocol, Protocol
from ddbench.evaluation.schedule import steps_of
from ddbench.records.cell import Cell, NetworkSpec
from ddbench.records.files import check_record
from ddbench.records.loops import DEFAULT
from ddbench.records.schema import COUNTED, MOST_OF_START, Record, Result
from ddbench.registry import CONTROL, PROTOCOLS, find_method
from ddbench.runs.speeds import Speed, Speeds, threads

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
        known = f"{self.runs} run{'s' if self.runs > 1 else ''}, about {duration(3600 * self.hours)}"
        beside = f" with {self.workers} workers" if self.workers > 1 else ""
        missing = f" and the distilling of {len(self.unknown)} cells that nothing is known of" if self.unknown else ""
        return f"{known}{beside}{missing}; {max(1, round(self.stored / 2**20))} MiB of artefacts"


def forecast(jobs: Sequence[Job], records: Iterable[Record], device: torch.device, workers: int = 1) -> Forecast:
    """Return what runs will take on this machine.

    Distilling takes the run's budget, or less where records of the same method say that it ends earlier, or that it is
    not bounded: of the same data set, or else of another one whose size is known. Their seconds are scaled by the speed
    of their machine, which their evaluation shows, and by the sizes in which the cells differ. Scoring is counted in
    steps and images, at the speed that is measured here.

    Args:
        records: of earlier runs, on whatever machines
        workers: processes side by side
    """
    known = [record for record in records if record.result.status in COUNTED]
    with threads(jobs[0].cell.threads if jobs else 1):
        speeds = Speeds(device)
        return Forecast([_of_cell(runs, known, speeds) for runs in _by_cell(jobs)], workers)


def records_like(folder: Path, jobs: Iterable[Job]) -> list[Record]:
    """Read what a folder of `BOARD/METHOD/NAME.json` has of the runs' methods, and is sound.

    One seed of a cell is read, and records of other data sets where a method has none of the run's own.
    """
    wanted = {(job.cell.method, job.cell.dataset) for job in jobs}
    paths = {path for method, dataset in wanted for path in _paths_like(folder, method, dataset)}
    checked = map(check_record, sorted(paths))
    return [record for record, problems in checked if record is not None and not problems]


def _paths_like(folder: Path, method: str, dataset: str) -> list[Path]:
    own = list(folder.glob(f"*/{method}/{escape(dataset)}-ipc*-seed0-*.json"))
    return own or list(folder.glob(f"*/{method}/*-seed0-*.json"))


def _by_cell(jobs: Iterable[Job]) -> list[list[Job]]:
    found = dict[str, list[Job]]()
    for job in jobs:
        found.setdefault(job.cell.model_dump_json(), []).append(job)
    return list(found.values())


def _of_cell(runs: Sequence[Job], records: Iterable[Record], speeds: Speeds) -> CellForecast:
    job = runs[0]
    data = job.size()
    if data is None:
        return CellForecast(job.cell, len(runs), job.cell.budget.seconds, 0.0, 0, _without_records(job.cell))
    evaluate = sum(_evaluation_seconds(run, data, speeds) for run in runs) / len(runs)
    numbers = job.cell.ipc * data.classes * math.prod(data.shape)
    stored = sum(4 * numbers * (1 + len(_snapshots(run))) for run in runs) // len(runs)
    distil, basis = _distilling(job.cell, data, records, speeds)
    return CellForecast(job.cell, len(runs), distil, evaluate, stored, basis)


def scoring_seconds(
    cell: Cell, network: NetworkSpec, data: Size, protocol: AnyProtocol, speeds: Speeds, short: bool = False
) -> float:
    """Return the seconds that one score takes, of a network that is trained, or of a kernel that predicts."""
    if protocol.kind == "krr":
        count = cell.ipc * data.classes
        return count * (count + data.test) * speeds.pair(protocol.kernel, data)
    return network_seconds(cell, data, protocol, speeds.of(network, data), short)


def network_seconds(cell: Cell, data: Size, protocol: Protocol, speed: Speed, short: bool = False) -> float:
    """Return the seconds that one network of this speed takes to be trained and tested."""
    count = cell.ipc * data.classes if protocol.kind == "train" else data.train
    trained = speed.seconds(steps_of(protocol, count, short), min(count, protocol.batch_size))
    return trained + TESTED * data.test * speed.image


def _evaluation_seconds(job: Job, data: Size, speeds: Speeds) -> float:
    cell, protocol = job.cell, job.protocol()
    snapshots = _snapshots(job)
    starts = min(cell.networks, MOST_OF_START) if snapshots else 0
    points = len(snapshots) if job.curve else 0
    seconds = (cell.networks + starts) * scoring_seconds(cell, cell.network, data, protocol, speeds)
    seconds += points * scoring_seconds(cell, cell.network, data, protocol, speeds, short=True)
    for way in cell.also or []:
        other = PROTOCOLS.get(way.protocol)
        seconds += way.networks * scoring_seconds(cell, way.network, data, other, speeds)
    return seconds


def _snapshots(job: Job) -> tuple[float, ...]:
    """Return the moments at which a run takes snapshots: controls have no loop that would."""
    return () if find_method(job.method).family == CONTROL else job.snapshots


def _distilling(cell: Cell, data: Size, records: Iterable[Record], speeds: Speeds) -> tuple[float | None, Basis]:
    """Return the seconds that a run distils for, and what they are from."""
    like = [record for record in records if _is_like(record.result.cell, cell)]
    if not like:
        return cell.budget.seconds, _without_records(cell)
    nearest = max(like, key=lambda record: _nearness(record.result.cell, cell))
    theirs = data if nearest.result.cell.dataset_digest == cell.dataset_digest else SIZES[nearest.result.cell.dataset]
    larger = _step(cell, data, speeds) / _step(nearest.result.cell, theirs, speeds)
    needed = _needed(nearest, cell) * larger * _slower(nearest, theirs, speeds)
    needed = max(0.0, needed + _further(nearest.result, cell, data, speeds))
    basis: Basis = "records" if _nearness(nearest.result.cell, cell) == _nearness(cell, cell) else "like cells"
    return min(needed, cell.budget.seconds or needed), basis


def _without_records(cell: Cell) -> Basis:
    return "unknown" if cell.budget.seconds is None else "budget"


def _is_like(known: Cell, cell: Cell) -> bool:
    same = (known.method, known.modality, known.device) == (cell.method, cell.modality, cell.device)
    sized = known.dataset_digest == cell.dataset_digest or known.dataset in SIZES
    return same and sized and known.protocol in PROTOCOLS


def _nearness(known: Cell, cell: Cell) -> tuple[bool, ...]:
    """Return in what the cells agree, what matters most first."""
    return (
        known.dataset_digest == cell.dataset_digest,
        known.network == cell.network,
        known.ipc == cell.ipc,
        known.hyperparameters == cell.hyperparameters,
        known.precision == cell.precision,
    )


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
    return seconds


def _further(known: Result, cell: Cell, data: Size, speeds: Speeds) -> float:
    """Return the seconds for which a run trains a network on real images longer than a known one did.

    A loop beside the distillation is such a training, where some hyper-parameter is the number of its steps.
    """
    batch, seconds = cell.hyperparameters.get("batch_real"), 0.0
    for loop, planned in known.steps_planned.items():
        names = [name for name, value in known.cell.hyperparameters.items() if value == planned]
        found = [cell.hyperparameters.get(name) for name in names]
        if loop != DEFAULT and len(found) == 1 and isinstance(found[0], int) and isinstance(batch, int):
            seconds += (found[0] - planned) * speeds.of(cell.network, data).seconds(1, batch)
    return seconds


def _step(cell: Cell, data: Size, speeds: Speeds) -> float:
    """Return the seconds that training takes here for as many images as a step of the method has."""
    real = cell.hyperparameters.get("batch_real")
    images = data.classes * (cell.ipc + (real if isinstance(real, int) else 0))
    return speeds.of(cell.network, data).seconds(1, images)


def _slower(record: Record, data: Size, speeds: Speeds) -> float:
    """Return how many seconds this machine takes for one of a record's, by its scoring; 1 where that does not say.

    Networks of further scorings count as one of the headline's.
    """
    spent = record.measured.uncharged_seconds.get("evaluation", 0.0)
    if not spent:
        return 1.0
    result = record.result
    cell, protocol = result.cell, PROTOCOLS.get(result.cell.protocol)
    scored = len(result.scores) + len(result.start) + len(result.also)
    here = scored * scoring_seconds(cell, cell.network, data, protocol, speeds)
    here += len(result.curve) * scoring_seconds(cell, cell.network, data, protocol, speeds, short=True)
    return here / spent if here else 1.0


def duration(seconds: float) -> str:
    """Write seconds as `12 days`, `2 h 5 min`, `5 min` or `20 s`."""
    minutes = round(seconds / 60)
    if minutes >= 60 * 24 * 4:
        return f"{round(minutes / 60 / 24)} days"
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{round(seconds)} s"
