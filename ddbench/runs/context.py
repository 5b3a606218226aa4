"""What the stages of one run share: its data, its files, its task and its meter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.jobs import Job
from ddbench.compute.clock import clock_for
from ddbench.compute.compiling import Compiler, worth_compiling
from ddbench.compute.environment import device_name, versions
from ddbench.compute.generators import Generators
from ddbench.data import Dataset, Preprocessing, RealData, Transform
from ddbench.data.augmentation import DSA
from ddbench.errors import Stopped, UserError
from ddbench.meter.cache import Cache
from ddbench.meter.meter import Hooks, Meter, Progress
from ddbench.networks import build_network
from ddbench.records.run_folder import ARTIFACT, OUTCOME
from ddbench.task.pretrained import PretrainedPool, given
from ddbench.task.task import Task


@dataclass(frozen=True)
class RunMonitor:
    """Who watches a run: told how far it is, and asked whether it is to stop."""

    report: Callable[[str, float], None] = lambda stage, share: None
    """called with the stage's name and the share of it that is done"""
    stopping: Callable[[], bool] = lambda: False

    def pause_point(self, stage: str, share: float) -> None:
        """Report from a moment at which all that is worth keeping is kept.

        Raises:
            Stopped: when the run is to stop.
        """
        self.report(stage, share)
        if self.stopping():
            raise Stopped


@dataclass(frozen=True)
class RunContext:
    """What the stages of one run share."""

    job: Job
    folder: Path
    cache: Path
    device: torch.device
    data: Dataset
    transform: Transform
    compiler: Compiler
    given: PretrainedPool | None
    """networks of a pool, trained before any clock starts"""
    monitor: RunMonitor

    @classmethod
    def open(cls, job: Job, folder: Path, cache: Path, device: torch.device, monitor: RunMonitor) -> RunContext:
        """Load what a run needs.

        Raises:
            UserError: when the data set is not the one that the cell names.
        """
        data = job.load_data().to(device)
        if data.digest != job.cell.dataset_digest:
            raise UserError(f"data set {job.dataset!r} has changed since the command began; run the command again")
        transform = Preprocessing.for_dataset(data, job.cell.preprocessing).fit(data)
        budget = job.cell.budget
        compiler = Compiler(worth_compiling(budget.seconds, budget.steps) if job.compile is None else job.compile)
        named = job.cell.pool
        pool = given(named, job.cell.network, data, device, monitor.pause_point) if named else None
        return cls(job, folder, cache, device, data, transform, compiler, pool, monitor)

    @property
    def artifact_path(self) -> Path:
        return self.folder / ARTIFACT

    def snapshot_path(self, index: int) -> Path:
        return self.folder / f"snapshot-{index}.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def outcome_path(self) -> Path:
        return self.folder / OUTCOME

    @property
    def scores_path(self) -> Path:
        """Scores known so far, until the record is written."""
        return self.folder / "scores.partial"


def make_task(context: RunContext, generators: Generators) -> Task:
    """The task of a run: training data only."""
    cell, data = context.job.cell, context.data
    network = build_network(cell.network.name, data.shape, len(data.classes), cell.network.parameters)
    return Task(
        RealData(data, context.transform, context.device),
        network.to(context.device),
        shape=data.shape,
        classes=len(data.classes),
        ipc=cell.ipc,
        setting=cell.setting,
        augmentation=DSA.for_dataset(data.name),
        generators=generators,
        device=context.device,
        compiler=context.compiler,
        given=context.given and context.given.for_training(),
        attack=cell.attack,
    )


def make_meter(context: RunContext, generators: Generators) -> Meter:
    """The meter of a run, at the point where an earlier attempt left it."""
    cell = context.job.cell

    def snapshot(index: int, artifact: DistilledDataset) -> str:
        return artifact.save(context.snapshot_path(index))

    def progress(at: Progress) -> None:
        context.monitor.report(f"{at.loop} {at.step}/{at.planned}", at.fraction)

    origin = {
        "dataset": cell.dataset_digest,
        "preprocessing": cell.preprocessing,
        "network": str(cell.network),
        "device": device_name(context.device),
        "threads": cell.threads,
        "compiled": context.compiler.enabled,
        "versions": versions(),
    }
    return Meter(
        cell.budget,
        clock_for(context.device),
        generators,
        path=context.checkpoint_path,
        every=context.job.checkpoint_seconds,
        cache=Cache(context.cache, origin),
        hooks=Hooks(snapshot, progress, context.monitor.stopping),
        device=context.device,
        snapshots=context.job.snapshots,
    )
