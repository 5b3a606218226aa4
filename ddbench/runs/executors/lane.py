"""One device: the run that is on it, from its training file to its record, and the worker that scores its runs."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ddbench.boards.jobs import Job
from ddbench.compute.environment import now
from ddbench.errors import CannotWrite
from ddbench.evaluation.modality import TrainingFile
from ddbench.records.contradictions import contradictions
from ddbench.records.fields import complaint
from ddbench.records.files import write_record
from ddbench.records.run_folder import OUTCOME, RECORD, REMAINS, TRAINING
from ddbench.records.schema import Record
from ddbench.runs.distill import Distilled, earlier, noted
from ddbench.runs.executors import Event, Listener
from ddbench.runs.executors.distilling import distilling
from ddbench.runs.executors.process import Process, starting_context
from ddbench.runs.executors.scoring import AnalyseRun, Prepare, ScoreRun, scoring
from ddbench.runs.executors.watch import Watch
from ddbench.runs.outside import Outside, note_outside, read_outside
from ddbench.runs.record import failed_record, make_record
from ddbench.runs.score import Scored
from ddbench.runs.status import Outcome, of_surroundings

Steps = Generator[Process, Any, Record]
"""a run in steps: gives the process that each step waits for, is sent what that has done, and returns the record"""


class Ended(Exception):
    """The process that a run waited for is gone."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Lane:
    """One device, and at most one run on it.

    Args:
        cache: of the board
    """

    def __init__(self, device: torch.device, cache: Path, on_event: Listener) -> None:
        self.process: Process | None = None
        """what works on the run; None while there is no run"""
        self._device, self._cache, self._on_event = device, cache, on_event
        self._scorer, self._analyst = _ScoringWorker(cache, device), _ScoringWorker(cache, device)
        self._job: Job | None = None
        self._steps: Steps | None = None

    def start(self, job: Job, folder: Path) -> Record | None:
        """Begin a run, or go on with what an earlier attempt has left of it; its record if that ends it."""
        self._on_event(Event(job, "started"))
        self._job, self._folder, self._started = job, folder, now()
        self._steps = self._carry_out(job, folder)
        return self._go_on(lambda steps: next(steps))

    def look(self) -> Record | None:
        """Pass on what is said, and go on where a step is done; the record of a run that has ended."""
        if self.process is None or self._job is None:
            return None
        process, alive = self.process, self.process.alive
        self.pass_on()
        if process.done:
            return self._go_on(lambda steps: steps.send(process.done.pop()))
        ending = process.overstepped() if alive else None
        if ending is None and alive:
            return None
        told = process.end()
        return self._go_on(lambda steps: steps.throw(Ended(ending or told)))

    def pass_on(self) -> None:
        """Show what the run's process has said."""
        if self.process is not None and self._job is not None:
            for message in self.process.messages():
                shown = message.text, message.fraction, message.at, message.logged
                self._on_event(Event(self._job, message.kind, *shown))

    def ask_to_stop(self) -> None:
        if self.process is not None and self._job is not None:
            self._on_event(Event(self._job, "stopping"))
            self.process.ask_to_stop()

    def end(self) -> None:
        """End whatever is at work here."""
        if self._steps is not None:
            self._steps.close()
        self._scorer.end()
        self._analyst.end()

    def _go_on(self, step: Callable[[Steps], Process]) -> Record | None:
        assert self._steps is not None
        assert self._job is not None
        try:
            self.process = step(self._steps)
            return None
        except StopIteration as end:
            record: Record = end.value
        except Ended as end:
            record = leave_record(self._job, self._folder, end.outcome, self._started, self._on_event)
        except Exception as error:  # whatever it is, the other runs go on
            ending = Outcome("crashed", of_surroundings(error).reason)
            record = leave_record(self._job, self._folder, ending, self._started, self._on_event)
        self.process = self._steps = None
        self._on_event(Event(self._job, "finished", record=record))
        return record

    def _carry_out(self, job: Job, folder: Path) -> Steps:
        (folder / RECORD).unlink(missing_ok=True)  # of an attempt that did not finish
        watch = Watch(job.cell.budget.model_copy(update={"peak_bytes": None}), job.stall_seconds)
        if read_outside(folder) is None:
            (folder / OUTCOME).unlink(missing_ok=True)  # of what nobody has timed; the checkpoint still leads there
        distilled = earlier(folder)
        if distilled is None:
            self._on_event(Event(job, "progress", "prepare"))
            file = yield self._scorer.ask(Prepare(job), watch)
            distilled = yield from self._distilled(job, folder, file)
        self._on_event(Event(job, "progress", "evaluate" if job.score else "check"))
        scored = yield self._scorer.ask(ScoreRun(job, folder, distilled), watch)
        record = _record(job, distilled, scored, read_outside(folder))
        if job.analyses and record.accuracy is not None and distilled.artifact is not None:
            yield from self._analysed(AnalyseRun(job, folder, distilled.artifact))
        write_record(folder / RECORD, record)
        for name in REMAINS:
            (folder / name).unlink(missing_ok=True)
        return record

    def _analysed(self, request: AnalyseRun) -> Generator[Process, Any, None]:
        """Analyse in a process of its own: whatever becomes of it, the run has its scores."""
        self._on_event(Event(request.job, "progress", "analyze"))
        watch = Watch(request.job.cell.budget.model_copy(update={"peak_bytes": None}), request.job.stall_seconds)
        try:
            sentences = yield self._analyst.ask(request, watch)
        except Ended as end:
            sentences = [f"its analyses ended early, and `ddbench analyze` goes on with them: {end.outcome.reason}"]
        for sentence in sentences:
            self._on_event(Event(request.job, "warning", sentence))

    def _distilled(self, job: Job, folder: Path, file: TrainingFile) -> Generator[Process, Any, Distilled]:
        begun, on_cpu = time.monotonic(), self._device.type == "cpu"
        with _temporary_folder() as temporary:
            process = Process(distilling, job, file, folder, self._cache, temporary, str(self._device))
            limited = job.cell.budget if on_cpu else job.cell.budget.model_copy(update={"peak_bytes": None})
            process.watch = Watch(limited, job.stall_seconds)
            try:
                yield process
                seconds = process.family.core_seconds() if on_cpu else time.monotonic() - begun
                if not process.alive:
                    raise Ended(Outcome("crashed", "its process ended before it was seen what that had used"))
                note_outside(folder, seconds)
            finally:
                process.end()
        distilled = noted(folder / OUTCOME)
        if distilled is None:
            raise Ended(Outcome("crashed", "it left no word of how its distillation ended"))
        return distilled


class _ScoringWorker:
    """A process that answers requests, started when the first one comes, and anew after one that it did not survive."""

    def __init__(self, cache: Path, device: torch.device) -> None:
        self._cache, self._device = cache, device
        self._training = cache / TRAINING / secrets.token_hex(4)
        self._process: Process | None = None
        self._requests: Connection | None = None

    def ask(self, request: Prepare | ScoreRun | AnalyseRun, watch: Watch) -> Process:
        """Send a request; the answer will be among what the process has done."""
        if self._process is None or self._requests is None or not self._process.alive:
            self.end()
            receiver, self._requests = starting_context().Pipe(duplex=False)
            self._process = Process(scoring, self._cache, self._training, str(self._device), receiver)
            receiver.close()
        self._process.watch = watch
        with suppress(OSError):  # it is gone, which whoever waits for it will see
            self._requests.send(request)
        return self._process

    def end(self) -> None:
        if self._process is not None and self._requests is not None:
            self._process.end()
            self._requests.close()
        self._process = self._requests = None
        shutil.rmtree(self._training, ignore_errors=True)
        with suppress(OSError):  # of other workers, or of what runs share, there may be something
            self._training.parent.rmdir()
            self._cache.rmdir()


def _record(job: Job, distilled: Distilled, scored: Scored, outside: Outside | None) -> Record:
    """The record of a run, of which its own process says part: what no run can be is its failure."""
    try:
        record = make_record(job, distilled, scored, outside)
    except ValidationError as error:
        found = error.errors()[0]
        reason = f"it says of {'.'.join(map(str, found['loc']))}: {complaint(found)}"
        raise Ended(Outcome("failed", reason)) from error
    for sentence in contradictions(record):
        raise Ended(Outcome("failed", f"it says of itself what no run can: {sentence}"))
    return record


@contextmanager
def _temporary_folder() -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ddbench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def leave_record(job: Job, folder: Path, ending: Outcome, started: str, on_event: Listener) -> Record:
    """The record of a run that left none; where it cannot be written, that is said."""
    record = failed_record(job, ending.status, ending.reason, started)
    try:
        write_record(folder / RECORD, record)
    except CannotWrite as error:
        on_event(Event(job, "warning", str(error)))
    return record
