"""The worker that writes training files and scores what runs leave; it never imports a method's code."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ddbench.boards.jobs import Job
from ddbench.compute.memory import release_device_memory
from ddbench.errors import Stopped
from ddbench.evaluation.modality import Evaluator, TrainingFile
from ddbench.io.atomic import canonical_json, digest
from ddbench.registry import discover_all_but_methods
from ddbench.runs.analyse import analyse_run
from ddbench.runs.context import RunContext, RunMonitor
from ddbench.runs.distill import Distilled
from ddbench.runs.executors.inside import Line, bound
from ddbench.runs.score import Scored, score

OWN = ("method", "hyperparameters", "ipc", "budget")
"""fields of a cell that do not decide how it is scored"""
REMEMBERED = 2
"""evaluators of the latest cells, whose compiled functions serve the next run; on a GPU, whose memory they take, one"""


@dataclass(frozen=True)
class Prepare:
    """Write the training file of a cell."""

    job: Job

    def carry_out(self, worker: Worker) -> TrainingFile:
        return worker.training_file(self.job)


@dataclass(frozen=True)
class ScoreRun:
    """Score what a distillation has left in a folder."""

    job: Job
    folder: Path
    distilled: Distilled

    def carry_out(self, worker: Worker) -> Scored:
        context = worker.context(self.job, self.folder)
        return score(context, self.distilled, lambda: worker.evaluator(context))


@dataclass(frozen=True)
class AnalyseRun:
    """Ask further questions about a run's artefact; the answer is a sentence for each that failed."""

    job: Job
    folder: Path
    artifact: str
    """digest of its file"""

    def carry_out(self, worker: Worker) -> list[str]:
        context = worker.context(self.job, self.folder)
        return list(analyse_run(context, self.artifact, lambda: worker.evaluator(context)))


class Worker:
    """Answers requests one after the other.

    Args:
        cache: of the board
        training: folder for the files that runs learn from
    """

    def __init__(self, cache: Path, training: Path, device: torch.device, monitor: RunMonitor) -> None:
        self._cache, self._training, self._device, self._monitor = cache, training, device, monitor
        self._files: dict[str, TrainingFile] = {}
        self._evaluators: dict[str, Evaluator] = {}

    def context(self, job: Job, folder: Path) -> RunContext:
        bound(job.cell.threads)
        return RunContext.of(job, folder, self._cache, self._device, self._monitor)

    def training_file(self, job: Job) -> TrainingFile:
        """The file for runs of a job's cell; written once for all that see the same."""
        described = job.cell.model_dump(mode="json", include={"dataset_digest", "pool", "network", "modality"})
        key = digest(canonical_json(described))
        if key not in self._files:
            place = self.context(job, self._cache).place
            self._files[key] = job.modality.prepare(job.cell, job.dataset, self._training, place)
        return self._files[key]

    def evaluator(self, context: RunContext) -> Evaluator:
        """What scores a run; cells that differ only in what is distilled share it, and what it has compiled."""
        job = context.job
        described = job.cell.model_dump(mode="json", exclude=set(OWN))
        key = digest(canonical_json([described, job.dataset, context.compiler.enabled]))
        if key not in self._evaluators:
            while len(self._evaluators) >= (REMEMBERED if self._device.type == "cpu" else 1):
                del self._evaluators[next(iter(self._evaluators))]
                torch.compiler.reset()  # what was compiled for it counts against limits of the whole process
            self._evaluators[key] = job.modality.evaluator(job.cell, job.dataset, context.place)
        return self._evaluators[key]


def scoring(
    cache: Path, training: Path, device: str, requests: Connection, outbox: Connection, lifeline: Connection
) -> None:
    """Answer requests until the parent hangs up; an error ends the worker.

    Args:
        cache, training: see `Worker`
        requests: from the parent
        outbox: for messages to the parent
        lifeline: see `inside.Line`
    """
    line = Line(outbox, lifeline)
    try:
        discover_all_but_methods()
        worker = Worker(cache, training, torch.device(device), RunMonitor(line.report, line.stopping))
        while True:
            line.done(requests.recv().carry_out(worker))
            release_device_memory()  # for the run that comes
    except EOFError:
        return
    except (Exception, SystemExit, Stopped) as error:
        line.ended(error)
