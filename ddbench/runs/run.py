"""One run: task -> distil -> evaluate -> record, each stage kept on disk so that an interrupted run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ddbench.boards.jobs import Job
from ddbench.compute.clock import clock_for
from ddbench.compute.environment import environment, now
from ddbench.evaluation.scores import Files, Scores, score_run
from ddbench.records.files import write_record
from ddbench.records.run_folder import RECORD
from ddbench.records.schema import Measured, Record, Result, Status
from ddbench.runs.context import RunContext, RunMonitor
from ddbench.runs.distill import Distilled, distil, earlier


def run(
    job: Job,
    folder: Path,
    cache: Path,
    device: torch.device,
    report: Callable[[str, float], None],
    stopping: Callable[[], bool] = lambda: False,
) -> Record:
    """Carry a run through, from wherever an earlier attempt left it, and write its record into `folder`.

    Args:
        report: told the stage's name and the share of it that is done, at least once a step
        stopping: asked as often; then everything is kept and the run left

    Raises:
        UserError: when something around the method is not as it has to be, as its data.
        Stopped: when the run was to stop.
    """
    context = RunContext.of(job, folder, cache, device, RunMonitor(report, stopping))
    distilled = earlier(context) or distil(context)
    clock = clock_for(device)
    begun = clock.settle()
    scores = Scores() if distilled.artifact is None else _scored(context, distilled)
    record = _record(context, distilled, scores, evaluation_seconds=clock.settle() - begun)
    write_record(folder / RECORD, record)
    for leftover in (context.checkpoint_path, context.outcome_path, context.scores_path):
        leftover.unlink(missing_ok=True)
    return record


def _scored(context: RunContext, distilled: Distilled) -> Scores:
    """The scores of the finished artefact and of its snapshots."""
    job = context.job
    evaluator = job.modality.evaluator(job.cell, job.dataset, context.place)
    snapshots = [(found.step, context.snapshot_path(index)) for index, found in enumerate(distilled.snapshots)]
    files = Files(context.artifact_path, str(distilled.artifact), snapshots, context.scores_path)
    return score_run(job.cell, evaluator, files, context.monitor.pause_point)


def _record(context: RunContext, distilled: Distilled, scores: Scores, evaluation_seconds: float) -> Record:
    job = context.job
    result = Result(
        cell=job.cell,
        seed=job.seed,
        status=distilled.status,
        reason=distilled.reason,
        steps_done=distilled.steps_done,
        steps_planned=distilled.steps_planned,
        artifact=distilled.artifact,
        scores=scores.scores,
        curve=scores.curve,
        also=scores.also,
        snapshots=scores.snapshots,
    )
    measured = Measured(
        seconds=distilled.seconds,
        uncharged_seconds={**distilled.uncharged, "evaluation": evaluation_seconds},
        curve_seconds=[snapshot.seconds for snapshot in distilled.snapshots] if scores.curve else [],
        peak_bytes=distilled.peak_bytes,
        flops_per_step=distilled.flops_per_step,
        started=distilled.started,
        finished=now(),
        attempts=distilled.attempts,
        log=distilled.log,
        environment=environment(context.device, job.cell.threads, context.compiler.enabled),
    )
    return Record(
        key=job.key,
        board=job.board,
        method_source=job.method_source,
        protocol=job.protocol().describe(),
        also_protocols=job.also_protocols(),
        stored_bytes=distilled.stored_bytes,
        result=result,
        measured=measured,
    )


def failed_record(job: Job, status: Status, reason: str, started: str) -> Record:
    """The record of a run whose process ended without leaving one."""
    where = environment(torch.device("cpu"), job.cell.threads, False)
    if job.cell.device == "cuda":  # asking for its name could fail, too, and take the other runs along
        where["device"] = "unknown"
    return Record(
        key=job.key,
        board=job.board,
        method_source=job.method_source,
        protocol=job.protocol().describe(),
        also_protocols=job.also_protocols(),
        result=Result(cell=job.cell, seed=job.seed, status=status, reason=reason),
        measured=Measured(started=started, finished=now(), environment=where),
    )
