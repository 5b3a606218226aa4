"""The second stage of a run: networks are trained on the files that it has left, where no method's code runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.compute.clock import clock_for
from ddbench.compute.precision import precision
from ddbench.errors import UserError
from ddbench.evaluation.modality import Evaluator
from ddbench.evaluation.scores import Files, Scores, score_run
from ddbench.records.schema import LabelSource
from ddbench.runs.context import RunContext
from ddbench.runs.distill import Distilled


@dataclass(frozen=True)
class Scored:
    """What scoring found of a run."""

    scores: Scores = field(default_factory=Scores)
    stored_bytes: Mapping[str, int] = field(default_factory=dict)
    """bytes of the artefact's images, labels, recipe and initial weights"""
    labels: LabelSource | None = None
    seconds: float = 0.0
    refused: str | None = None
    """why the artefact is not what the run was asked for; then it has no scores"""


def score(context: RunContext, distilled: Distilled, evaluator: Callable[[], Evaluator]) -> Scored:
    """Check what a distillation has left, and score it unless the job says not to.

    Args:
        evaluator: gives what scores the cell

    Raises:
        Stopped: when scoring was to stop; known scores are kept.
        UserError: when something around the artefact is not as it has to be, as its data.
    """
    if distilled.artifact is None:
        return Scored()
    job, clock = context.job, clock_for(context.device)
    begun = clock.settle()
    data = job.modality.data(job.dataset, job.cell.split, job.cell.peek)
    if file_digest(context.artifact_path) != distilled.artifact:
        raise UserError(f"{context.artifact_path} is not what was distilled; run the command again")
    try:
        artifact = DistilledDataset.load(context.artifact_path)
        data.check(artifact, job.cell, job.seed)
    except (UserError, ValueError) as error:
        return Scored(refused=f"{type(error).__name__}: {error}")
    snapshots = [(found.step, context.snapshot_path(index)) for index, found in enumerate(distilled.snapshots)]
    start = next((file for step, file in snapshots if step == 0), None)
    shown = snapshots if job.curve else []
    files = Files(context.artifact_path, distilled.artifact, shown, context.scores_path, start)
    with precision(context.device, job.cell.precision):
        scores = score_run(job.cell, evaluator(), files, context.monitor.pause_point) if job.score else Scores()
    return Scored(scores, artifact.stored_bytes(), artifact.label_source, clock.settle() - begun)
