"""What of a board is done, and what is left to do; re-running resumes and never repeats."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.boards.jobs import Job
from ddbench.io.atomic import remove_parts, set_aside
from ddbench.records.cell import Cell, run_key
from ddbench.records.files import check_record, damage, read_record
from ddbench.records.run_folder import ARTIFACT, RECORD, TRAINING
from ddbench.records.schema import UNFINISHED, Record
from ddbench.records.source_digest import made_by, source_file
from ddbench.registry import find_method
from ddbench.runs.common_cause import CommonCause, FirstFailures
from ddbench.runs.executors import Assignment, Event, Executor, Listener
from ddbench.runs.executors.local import Local
from ddbench.runs.keeper import Keeper

LOOK_SECONDS = 5.0
"""between two looks at what finished runs have left"""
__all__ = ["Event", "Plan", "artifact_of", "plan_runs", "read_runs", "run_jobs"]


@dataclass(frozen=True)
class Plan:
    """What is left of a board."""

    jobs: list[Assignment]
    """runs and the folders they go into"""
    records: list[Record]
    """records of runs that are done"""
    changed: list[str]
    """methods whose file changed since their records were made; those are kept and shown"""
    damaged: list[str]
    """a sentence for each file that is not what was written; it was set aside, and its run is made anew"""


@dataclass(frozen=True)
class _Attempt:
    folder: Path
    record: Record
    sound: bool
    """true if its artefact, if it is there, is the one that the record names"""

    @property
    def finished(self) -> bool:
        return self.record.result.status not in UNFINISHED

    def settles(self, job: Job) -> bool:
        """Return whether the run need not be made again: it has scores, or the same method would fail again."""
        return self.sound and self.finished and (self.is_of(job) or bool(self.record.result.scores))

    def is_of(self, job: Job) -> bool:
        """Return whether the job's method made the record; an old digest is of a file, and not of a job."""
        recorded = self.record.method_source
        return recorded == job.method_source or made_by(source_file(find_method(job.method)), recorded)


def plan_runs(jobs: list[Job], out: Path, again: bool = False) -> Plan:
    """What of a board is done, to do, or done by a method file that has changed since.

    A run is to do where its newest attempt was ended from outside, which goes on from its checkpoint; where it failed
    and the method has changed; and where a file of it is damaged.

    Args:
        again: run anew what is done; older records stay
    """
    attempts, damaged = _attempts(out)
    taken = {attempt.folder for found in attempts.values() for attempt in found if attempt.finished}
    todo, kept, changed = [], list[Record](), set()
    for identity, job in {identity_of(job.cell, job.seed): job for job in jobs}.items():  # a board may name a run twice
        earlier = attempts.get(identity, [])
        if not again and earlier and earlier[-1].settles(job):
            if not any(attempt.is_of(job) for attempt in earlier):
                changed.add(job.cell.method)
            kept.extend(attempt.record for attempt in earlier)
            continue
        folder = _free_folder(out / job.folder, taken)
        todo.append((job, folder))
        kept.extend(attempt.record for attempt in earlier if attempt.folder != folder)
    return Plan(todo, kept, sorted(changed), damaged)


def read_runs(out: Path) -> list[Record]:
    """Every record below a board's folder, in the order of their paths."""
    return [read_record(path) for path in _paths(out)]


def artifact_of(record: Record, out: Path) -> Path:
    """The artefact of a record, among what runs have left below a board's folder."""
    return next(path for path in out.glob(f"*/*/{ARTIFACT}") if file_digest(path) == record.result.artifact)


def run_jobs(
    todo: Plan,
    out: Path,
    *,
    workers: int = 1,
    device: str = "cpu",
    executor: Executor | None = None,
    on_event: Listener = lambda event: None,
) -> list[Record]:
    """Carry out what is left and return every record, old and new.

    A run whose process dies leaves a record that says so; the others go on. Interrupted, every run is left at a
    checkpoint and the same call goes on from there. Where the first two fail for one reason, it stops.

    Args:
        out: the board's folder, `claimed` since before the plan_runs: what others finish meanwhile would be made again
        workers: processes side by side on a CPU; on GPUs there is one for each device
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`
        executor: carries them out in place of `workers` processes on this machine's `device`
    """
    chosen = executor or Local.named(device, workers)
    remove_parts(out)
    shutil.rmtree(out / "cache" / TRAINING, ignore_errors=True)  # of a command that was killed
    folders = {job.key: folder for job, folder in todo.jobs}
    finished, first = list[Record](), FirstFailures(job.cell.method for job, _ in todo.jobs)
    keeper = Keeper({path.parent for path in _paths(out)} - set(folders.values()))
    changed, looked = dict[tuple[str, str], Record](), time.monotonic()

    def look(job: Job) -> None:
        for record, sentence in keeper.look():
            changed[_attempt_of(record)] = record
            on_event(Event(job, "warning", sentence))

    def listen(event: Event) -> None:
        nonlocal looked
        if event.kind == "finished":
            if time.monotonic() - looked >= LOOK_SECONDS:
                look(event.job)
                looked = time.monotonic()
            keeper.note(folders[event.job.key])
        on_event(event)
        if event.kind == "finished" and event.record is not None:
            finished.append(event.record)
            first.note(event.record)

    try:
        made = chosen.run(todo.jobs, out, listen)
    except CommonCause:
        made, left = finished, len(todo.jobs) - len(finished)
        if left:
            told = f"stopped, since every run so far failed for this reason; the same command does the {left} left"
            on_event(Event(todo.jobs[-1][0], "warning", told))
    records = [*todo.records, *made]
    if todo.jobs:
        look(todo.jobs[-1][0])
    return [changed.get(_attempt_of(record), record) for record in records]


def _key(record: Record) -> str:
    return run_key(record.result.cell, record.result.seed, record.method_source)


def _attempt_of(record: Record) -> tuple[str, str]:
    return record.key, record.measured.started


def _attempts(out: Path) -> tuple[dict[str, list[_Attempt]], list[str]]:
    """Attempts by run, the newest last, and a sentence for each damaged file."""
    found, damaged = dict[str, list[_Attempt]](), list[str]()
    for path in _paths(out):
        reason = damage(path)
        if reason is not None:
            damaged.append(set_aside(path, reason))
            continue
        known, wrong = check_record(path)
        if known is not None and wrong and known.key == _key(known):  # what no run leaves now, but one did
            damaged.append(set_aside(path, wrong[0]))
            continue
        record = read_record(path)
        sound = _has_sound_artifact(path.parent, record, damaged)
        attempt = _Attempt(path.parent, record, sound)
        found.setdefault(identity_of(record.result.cell, record.result.seed), []).append(attempt)
    for attempts in found.values():
        attempts.sort(key=lambda attempt: attempt.record.measured.finished)
    return found, damaged


def _has_sound_artifact(folder: Path, record: Record, damaged: list[str]) -> bool:
    """Return whether the artefact beside a record is the one it names; one that was taken away does not matter."""
    path = folder / ARTIFACT
    if record.result.artifact is None:
        return True
    if path.exists() and file_digest(path) != record.result.artifact:
        damaged.append(set_aside(path, "its digest is not the one in its record"))
    return not path.with_name(f"{ARTIFACT}.damaged").exists()


def _paths(out: Path) -> list[Path]:
    return sorted(out.glob(f"*/*/{RECORD}"))


def identity_of(cell: Cell, seed: int) -> str:
    """Return what names a run whatever its method's file is like."""
    return run_key(cell.model_copy(update={"hyperparameters": cell.distinguishing}), seed, "")


def _free_folder(folder: Path, taken: set[Path]) -> Path:
    """The folder itself, unless it holds a finished run already: a repeated run gets the next free suffix."""
    candidate, number = folder, 1
    while candidate in taken:
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
