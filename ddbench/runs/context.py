"""What the stages of one run share: its job, its files, its device and who watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.jobs import Job
from ddbench.compute.clock import clock_for
from ddbench.compute.compiling import Compiler, worth_compiling
from ddbench.compute.environment import device_name, versions
from ddbench.compute.generators import Generators
from ddbench.errors import Stopped
from ddbench.evaluation.modality import Place
from ddbench.meter.cache import Cache
from ddbench.meter.hooks import Hooks, Logged, Progress
from ddbench.meter.meter import Meter
from ddbench.records.network_files import remember_files
from ddbench.records.run_folder import ARTIFACT, CHECKPOINT, SCORES


@dataclass(frozen=True)
class RunMonitor:
    """Who watches a run: told how far it is, and asked whether it is to stop."""

    report: Callable[[str, float], None] = lambda stage, share: None
    """called with the stage's name and the share of it that is done"""
    stopping: Callable[[], bool] = lambda: False
    progress: Callable[[Progress], None] = lambda progress: None
    """called at the start of each loop of the method, and then every now and then"""
    logged: Callable[[Logged], None] = lambda logged: None
    """called with what the method has logged, see `ddbench.meter.hooks`"""

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
    compiler: Compiler
    monitor: RunMonitor

    @classmethod
    def of(cls, job: Job, folder: Path, cache: Path, device: torch.device, monitor: RunMonitor) -> RunContext:
        remember_files(job.network_files)
        budget = job.cell.budget
        worth = worth_compiling(budget.seconds, budget.steps, device.type)
        compiled = worth if job.compile is None else job.compile
        capture = job.cell.capture and device.type == "cuda"
        return cls(job, folder, cache, device, Compiler(compiled, capture=capture), monitor)

    @property
    def place(self) -> Place:
        return Place(self.device, self.compiler, self.monitor.pause_point)

    @property
    def artifact_path(self) -> Path:
        return self.folder / ARTIFACT

    def snapshot_path(self, index: int) -> Path:
        return snapshot_path(self.folder, index)

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / CHECKPOINT

    @property
    def scores_path(self) -> Path:
        return self.folder / SCORES


def snapshot_path(folder: Path, index: int) -> Path:
    """The file of a run's snapshot."""
    return folder / f"snapshot-{index}.safetensors"


def make_meter(context: RunContext, generators: Generators, origin: Mapping[str, Any]) -> Meter:
    """The meter of a run, at the point where an earlier attempt left it.

    Args:
        origin: what decides cached tensors of its task, see `evaluation.modality.Training`
    """
    cell, monitor = context.job.cell, context.monitor

    def snapshot(index: int, artifact: DistilledDataset) -> str:
        return artifact.save(context.snapshot_path(index))

    around = {
        "device": device_name(context.device),
        "threads": cell.threads,
        "compiled": context.compiler.enabled,
        "versions": versions(),
        **cell.model_dump(include={"capture"}),
    }
    return Meter(
        cell.budget,
        clock_for(context.device),
        generators,
        path=context.checkpoint_path,
        every=context.job.checkpoint_seconds,
        cache=Cache(context.cache, {**origin, **around}),
        hooks=Hooks(snapshot, monitor.progress, monitor.stopping, monitor.logged),
        device=context.device,
        seed=context.job.seed,
        snapshots=context.job.snapshots,
    )
