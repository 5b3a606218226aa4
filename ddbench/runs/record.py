"""What a run leaves: its record."""

from __future__ import annotations

import torch

from ddbench.boards.jobs import Job
from ddbench.compute.environment import environment, now
from ddbench.records.schema import SCORED, Measured, Record, Result, Status
from ddbench.runs.distill import Distilled
from ddbench.runs.outside import Outside
from ddbench.runs.score import Scored
from ddbench.runs.status import Outcome


def make_record(job: Job, distilled: Distilled, scored: Scored, outside: Outside | None = None) -> Record:
    """The record of a run that came to its end.

    Args:
        outside: the time that it took, as its parent saw it; None where nobody looked
    """
    outcome = _outcome(job, distilled, scored, outside)
    kept = outcome.status in SCORED
    result = Result(
        cell=job.cell,
        seed=job.seed,
        status=outcome.status,
        reason=outcome.reason or None,
        steps_done=distilled.steps_done,
        steps_planned=distilled.steps_planned,
        artifact=distilled.artifact if kept else None,
        unscored=kept and not job.score,
        scores=scored.scores.scores,
        start=scored.scores.start,
        curve=scored.scores.curve,
        also=scored.scores.also,
        snapshots=scored.scores.snapshots,
    )
    measured = Measured(
        seconds=distilled.seconds,
        uncharged_seconds={**distilled.uncharged, "evaluation": scored.seconds},
        outside_seconds=None if outside is None else outside.total,
        curve_seconds=[snapshot.seconds for snapshot in distilled.snapshots] if scored.scores.curve else [],
        load=distilled.load,
        peak_bytes=distilled.peak_bytes,
        flops_per_step=distilled.flops_per_step,
        started=distilled.started,
        finished=max(distilled.started, now()),  # a clock may be set back meanwhile
        attempts=distilled.attempts,
        log=distilled.log,
        environment=distilled.environment,
    )
    return _record(job, result, measured, scored)


def _outcome(job: Job, distilled: Distilled, scored: Scored, outside: Outside | None) -> Outcome:
    if scored.refused is not None:
        return Outcome("failed", scored.refused)
    if distilled.status not in SCORED or outside is None:
        return Outcome(distilled.status, distilled.reason or "")
    if outside.exceeds(distilled.accounted, job.cell.device):
        reason = f"its processes used {outside.last:.4g} s, and {distilled.accounted:.4g} s are accounted for"
        return Outcome("unaccounted", reason)
    return Outcome(distilled.status, distilled.reason or "")


def failed_record(job: Job, status: Status, reason: str, started: str) -> Record:
    """The record of a run whose process ended without leaving one."""
    where = environment(torch.device("cpu"), job.cell.threads, False)
    if job.cell.device != "cpu":  # asking for its name could fail, too, and take the other runs along
        where["device"] = "unknown"
    result = Result(cell=job.cell, seed=job.seed, status=status, reason=reason)
    measured = Measured(started=started, finished=max(started, now()), environment=where)
    return _record(job, result, measured, Scored())


def _record(job: Job, result: Result, measured: Measured, scored: Scored) -> Record:
    return Record(
        key=job.key,
        board=job.board,
        method_source=job.method_source,
        protocol=job.protocol().describe(),
        also_protocols=job.also_protocols(),
        stored_bytes=dict(scored.stored_bytes),
        label_source=scored.labels,
        result=result,
        measured=measured,
    )
