"""The first stage of a run: the method under its budget, and how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.compute.environment import git_revision, versions
from ddbench.compute.generators import Generators
from ddbench.compute.memory import limit_device_memory
from ddbench.errors import CannotWrite, UserError
from ddbench.evaluation.modality import Training
from ddbench.io.atomic import read_sealed, warn_of_damage, write_atomically, write_sealed
from ddbench.meter.meter import Meter
from ddbench.meter.snapshots import Snapshot
from ddbench.records.fields import Strict
from ddbench.records.run_folder import TRACE
from ddbench.records.schema import Status
from ddbench.runs.context import RunContext, make_meter
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
    log: dict[str, list[tuple[int, float]]]
    attempts: int
    started: str


def distil(context: RunContext) -> Distilled:
    """Run the method under its budget; whatever goes wrong becomes a status.

    Raises:
        CannotWrite: when a file cannot be written.
        Stopped: when the run is to stop; it is checkpointed.
    """
    job, cell = context.job, context.job.cell
    generators = Generators(cell.dataset_digest, str(cell.network), cell.ipc, job.seed)
    training = job.modality.training(cell, job.dataset, generators, context.place)
    limit_device_memory(cell.budget.peak_bytes, context.device)
    meter = _resumed_meter(context, generators, training.origin)
    context.compiler.apart = meter.paused
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
        log=meter.history,
        attempts=meter.attempts,
        started=meter.started,
    )
    _note(context, distilled)
    return distilled


def earlier(context: RunContext) -> Distilled | None:
    """What an earlier attempt distilled, with this attempt counted; None where nothing sound is."""
    payload = read_sealed(context.outcome_path)
    if payload is None:
        return None
    found = Distilled.model_validate_json(payload)
    if found.artifact and not _is_sound(context.artifact_path, found.artifact):
        context.outcome_path.unlink()  # the checkpoint still leads there
        return None
    if not _are_sound(context, found.snapshots):
        for path in (context.outcome_path, context.checkpoint_path):
            path.unlink(missing_ok=True)
        return None
    distilled = found.model_copy(update={"attempts": found.attempts + 1})
    _note(context, distilled)
    return distilled


def _attempt(context: RunContext, training: Training, meter: Meter) -> tuple[DistilledDataset | None, Outcome]:
    try:
        artifact = context.job.make_method().distill(training.task, meter)
        meter.finish()
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
    return artifact, Outcome("truncated", _unbegun(meter)) if meter.truncated else Outcome("ok", "")


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
    if _are_sound(context, meter.taken):
        return meter
    context.checkpoint_path.unlink()
    return make_meter(context, generators, origin)


def _are_sound(context: RunContext, snapshots: list[Snapshot]) -> bool:
    return all(_is_sound(context.snapshot_path(index), kept.digest) for index, kept in enumerate(snapshots))


def _is_sound(path: Path, digest: str | None) -> bool:
    """Return whether a file is what was written; one that is not is set aside with a warning."""
    if path.is_file() and file_digest(path) == digest:
        return True
    warn_of_damage(path, OTHER_DIGEST)
    return False


def _note(context: RunContext, distilled: Distilled) -> None:
    write_sealed(context.outcome_path, distilled.model_dump_json().encode())


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
    "budget", "pool", "attack", "networks",
)  # fmt: skip
