"""The first stage of a run: the method under its budget, and how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.compute.environment import environment, git_revision, versions
from ddbench.compute.generators import Generators
from ddbench.compute.load import MachineLoad
from ddbench.compute.memory import limit_device_memory
from ddbench.compute.precision import precision
from ddbench.errors import CannotWrite, UserError
from ddbench.evaluation.modality import Training, TrainingFile, size_of
from ddbench.io.atomic import warn_of_damage, write_atomically, write_sealed
from ddbench.meter.meter import Meter
from ddbench.meter.snapshots import Snapshot
from ddbench.records.fields import Strict
from ddbench.records.files import read_kept
from ddbench.records.run_folder import ARTIFACT, CHECKPOINT, OUTCOME, TRACE
from ddbench.records.schema import Status
from ddbench.runs.context import RunContext, make_meter, snapshot_path
from ddbench.runs.device_bytes import check_fits
from ddbench.runs.status import Outcome, of_error

OTHER_DIGEST = "its digest is not the one that was noted"


class Distilled(Strict):
    """How a distillation ended; kept beside the artefact until the record is written."""

    status: Status
    reason: str | None
    artifact: str | None
    """digest of its file"""
    stored_bytes: dict[str, int]
    steps_done: dict[str, int]
    steps_planned: dict[str, int]
    snapshots: list[Snapshot]
    seconds: dict[str, float]
    uncharged: dict[str, float]
    peak_bytes: int
    flops_per_step: int | None
    load: float | None
    """share of the machine's processor time that was in use during the last attempt"""
    accounted: float
    """seconds of the last attempt until the file was written that are charged, or that the harness needed"""
    environment: dict[str, Any]
    log: dict[str, list[tuple[int, float]]]
    attempts: int
    started: str


@dataclass(frozen=True)
class Opened:
    """What a run distils with, and its generators."""

    training: Training
    generators: Generators


def open_training(context: RunContext, file: TrainingFile) -> Opened:
    """Open what a run may see, before any code of a method is imported.

    Raises:
        UserError: when the file is not what was written.
    """
    job, cell = context.job, context.job.cell
    generators = Generators(cell.dataset_digest, str(cell.network), cell.ipc, job.seed)
    return Opened(job.modality.training(cell, file, generators, context.place), generators)


def distil(context: RunContext, opened: Opened, start: float = 0.0) -> Distilled:
    """Run the method under its budget; whatever goes wrong becomes a status.

    Args:
        start: seconds that the process has used before a method's code was imported

    Raises:
        CannotWrite: when a file cannot be written.
        Stopped: when the run is to stop; it is checkpointed.
    """
    with precision(context.device, context.job.cell.precision):
        return _distil(context, opened, start)


def _distil(context: RunContext, opened: Opened, start: float) -> Distilled:
    cell, training = context.job.cell, opened.training
    limit_device_memory(cell.budget.peak_bytes, context.device)
    meter = _resumed_meter(context, opened.generators, training.origin)
    meter.uncharged["start"] = meter.uncharged.get("start", 0.0) + start
    context.compiler.apart, load = partial(_paused, context, meter), MachineLoad()
    artifact, outcome = _attempt(context, training, meter)
    limit_device_memory(None, context.device)
    named = artifact.with_provenance(_provenance(context, training, meter)) if artifact else None
    distilled = Distilled(
        status=outcome.status,
        reason=outcome.reason or None,
        artifact=named.save(context.artifact_path) if named else None,
        stored_bytes=named.stored_bytes() if named else {},
        steps_done=meter.done,
        steps_planned=meter.planned,
        snapshots=meter.taken,
        seconds=meter.seconds,
        uncharged=meter.uncharged,
        peak_bytes=meter.peak_bytes,
        flops_per_step=meter.flops_per_step,
        load=load.share(),
        accounted=start + meter.timer.accounted,
        environment=environment(context.device, cell.threads, context.compiler.enabled),
        log=meter.history,
        attempts=meter.attempts,
        started=meter.started,
    )
    _note(context.folder, distilled)
    return distilled


def earlier(folder: Path) -> Distilled | None:
    """What an earlier attempt distilled in a folder, with this attempt counted; None where nothing sound is."""
    found = noted(folder / OUTCOME)
    if found is None:
        return None
    if found.artifact and not _is_sound(folder / ARTIFACT, found.artifact):
        (folder / OUTCOME).unlink()  # the checkpoint still leads there
        return None
    if not _are_sound(folder, found.snapshots):
        for name in (OUTCOME, CHECKPOINT):
            (folder / name).unlink(missing_ok=True)
        return None
    distilled = found.model_copy(update={"attempts": found.attempts + 1})
    _note(folder, distilled)
    return distilled


def noted(path: Path) -> Distilled | None:
    """What a distillation has left of itself; None where there is nothing, or nothing that this release can read."""
    return read_kept(path, Distilled)


@contextmanager
def _paused(context: RunContext, meter: Meter, name: str) -> Iterator[None]:
    """Do not charge the time of the block, and say what it is for."""
    with meter.paused(name):
        context.monitor.report(name, 0.0)
        yield


def _attempt(context: RunContext, training: Training, meter: Meter) -> tuple[DistilledDataset | None, Outcome]:
    try:
        with meter.paused("counting"):
            check_fits(context.job, size_of(training), context.device)
        artifact = context.job.make_method().distill(training.task, meter)
        meter.finish()
        if type(artifact) is not DistilledDataset:
            raise TypeError(f"distill returned a {type(artifact).__name__}; return a DistilledDataset")
        training.check(artifact)
    except CannotWrite:
        raise
    except (Exception, SystemExit) as error:
        outcome = of_error(error)
        if outcome.status == "failed" and not isinstance(error, UserError):
            write_atomically(context.folder / TRACE, traceback.format_exc().encode())
        if outcome.status == "diverged":
            outcome = Outcome("diverged", f"{outcome.reason}; {_last_good(meter)}")
        return None, outcome
    return artifact, _ending(meter)


def _ending(meter: Meter) -> Outcome:
    beyond, budget = meter.timer.overdraft(meter.budget.seconds), meter.budget.seconds
    if beyond:
        return Outcome("overdrawn", f"{meter.charged:.4g} s were charged to a budget of {budget:g} s")
    return Outcome("truncated", _unbegun(meter)) if meter.truncated else Outcome("ok", "")


def _unbegun(meter: Meter) -> str:
    """Name the loops that the budget left no step for; if one is the main loop, the artefact is the run's start."""
    loops = [loop for loop, steps in meter.planned.items() if steps and not meter.done.get(loop)]
    return f"the budget ended before the first step of {', '.join(loops)}" if loops else ""


def _last_good(meter: Meter) -> str:
    """Snapshots are taken of sound runs only."""
    if not meter.taken:
        return "no snapshot was taken before"
    return f"the last good snapshot, snapshot-{len(meter.taken) - 1}, is from before step {meter.taken[-1].step}"


def _resumed_meter(context: RunContext, generators: Generators, origin: Mapping[str, Any]) -> Meter:
    """A meter that goes on from the checkpoint, unless snapshots that were taken before it are damaged."""
    meter = make_meter(context, generators, origin)
    if _are_sound(context.folder, meter.taken):
        return meter
    context.checkpoint_path.unlink()
    return make_meter(context, generators, origin)


def _are_sound(folder: Path, snapshots: list[Snapshot]) -> bool:
    return all(_is_sound(snapshot_path(folder, index), kept.digest) for index, kept in enumerate(snapshots))


def _is_sound(path: Path, digest: str | None) -> bool:
    """Return whether a file is what was written; one that is not is set aside with a warning."""
    if path.is_file() and file_digest(path) == digest:
        return True
    warn_of_damage(path, OTHER_DIGEST)
    return False


def _note(folder: Path, distilled: Distilled) -> None:
    write_sealed(folder / OUTCOME, distilled.model_dump_json().encode())


def _provenance(context: RunContext, training: Training, meter: Meter) -> dict[str, Any]:
    """What the artefact's header says of its origin; nothing that differs between equal runs."""
    cell = context.job.cell
    described = cell.model_dump(mode="json", include=set(PROVENANCE_FIELDS))
    return {
        **described,
        **training.provenance,
        "seed": context.job.seed,
        "steps_done": meter.done,
        "git": git_revision(),
        "versions": versions(),
    }


PROVENANCE_FIELDS = (
    "method", "hyperparameters", "modality", "dataset", "dataset_digest", "network", "setting", "ipc", "protocol",
    "budget", "pool", "attack", "networks", "precision",
)  # fmt: skip
