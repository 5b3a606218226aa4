"""A board's runs side by side, each in a process of its own; re-running resumes and never repeats."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

import torch

from ddbench.environment import now
from ddbench.errors import UserError
from ddbench.jobs import Job, resolve_device
from ddbench.memory import keep_freed_memory
from ddbench.records import Record, Status, read_record, run_key, write_record
from ddbench.registry import discover
from ddbench.run import RECORD, failed_record, run

PRELOAD = ["ddbench.run", "sklearn.cluster", "torch._dynamo"]
"""imported once and inherited by every worker; torch would import the last, a second's work, at the first optimizer"""
GRACE_SECONDS = 3600.0
WALL_PER_BUDGET_SECOND = 20.0


@dataclass(frozen=True)
class Event:
    """Something the display may show."""

    job: Job
    kind: str
    """`started`, `progress`, `warning`, `finished`"""
    stage: str = ""
    """or the warning"""
    fraction: float = 0.0
    record: Record | None = None


@dataclass(frozen=True)
class Todo:
    """What is left of a board."""

    jobs: list[tuple[Job, Path]]
    """runs and the folders they go into"""
    records: list[Record]
    """of runs that are done"""
    changed: list[str]
    """methods whose file changed since their records were made; those are kept and shown"""


def survey(jobs: list[Job], out: Path, again: bool = False) -> Todo:
    """What of a board is done, to do, or done by a method file that has changed since.

    Args:
        again: run anew what is done; older records stay
    """
    done: dict[str, list[Record]] = {}
    for record in read_runs(out):
        done.setdefault(_identity(record.result.cell, record.result.seed), []).append(record)
    todo, kept, changed = [], [], set()
    for identity, job in {_identity(job.cell, job.seed): job for job in jobs}.items():  # a board may name a run twice
        earlier = done.get(identity, [])
        kept.extend(earlier)
        if earlier and not again:
            if all(record.method_source != job.method_source for record in earlier):
                changed.add(job.cell.method)
            continue
        todo.append((job, _fresh_folder(out / job.folder)))
    return Todo(todo, kept, sorted(changed))


def read_runs(out: Path) -> list[Record]:
    """Every record below a board's folder, in the order of their paths."""
    return [read_record(path) for path in sorted(out.glob(f"*/*/{RECORD}"))]


def run_jobs(
    todo: Todo, out: Path, *, workers: int, device: str, on_event: Callable[[Event], None] = lambda event: None
) -> list[Record]:
    """Carry out what is left and return every record, old and new.

    A run whose process dies leaves a record that says so; the others go on. Interrupting ends the processes and
    writes nothing; the same call resumes.

    Args:
        out: the board's folder; a second call on it at the same time is refused
        workers: processes side by side on a CPU; on GPUs there is one for each device
        device: `auto`, `cpu`, `cuda` or `cuda:N`
    """
    records = list(todo.records)
    with _locked(out):
        for job, record in _pool(todo.jobs, out, _devices(device, workers), on_event):
            on_event(Event(job, "finished", record=record))
            records.append(record)
    return records


def _identity(cell: Any, seed: int) -> str:
    return run_key(cell, seed, "")


def _fresh_folder(folder: Path) -> Path:
    """The folder itself, unless it holds a record already: a repeated run gets the next free suffix."""
    candidate, number = folder, 1
    while (candidate / RECORD).exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def _devices(name: str, workers: int) -> list[torch.device]:
    device = resolve_device(name)
    if device.type == "cpu":
        return [device] * workers
    if device.index is not None:
        return [device]
    return [torch.device("cuda", index) for index in range(min(workers, torch.cuda.device_count()))]


# -- processes ------------------------------------------------------------------------------------------------------


@dataclass
class _Worker:
    job: Job
    folder: Path
    device: torch.device
    process: BaseProcess
    inbox: Connection
    lifeline: Connection
    started: str
    deadline: float

    def close(self) -> None:
        self.process.join()
        self.inbox.close()
        self.lifeline.close()


def _pool(
    jobs: list[tuple[Job, Path]], out: Path, devices: list[torch.device], on_event: Callable[[Event], None]
) -> Iterator[tuple[Job, Record]]:
    waiting, free, busy = list(reversed(jobs)), list(devices), list[_Worker]()
    try:
        while waiting or busy:
            while waiting and free:
                job, folder = waiting.pop()
                on_event(Event(job, "started"))
                busy.append(_start(job, folder, out / "cache", free.pop()))
            wait([worker.process.sentinel for worker in busy] + [worker.inbox for worker in busy], timeout=0.5)
            for worker in list(busy):
                for kind, stage, fraction in _messages(worker.inbox):
                    on_event(Event(worker.job, kind, stage, fraction))
                if worker.process.is_alive() and time.monotonic() < worker.deadline:
                    continue
                busy.remove(worker)
                free.append(worker.device)
                yield worker.job, _collect(worker)
    finally:
        for worker in busy:
            worker.process.kill()
            worker.close()


def _start(job: Job, folder: Path, cache: Path, device: torch.device) -> _Worker:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    inbox, outbox = context.Pipe(duplex=False)
    anchor, lifeline = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, folder, cache, str(device), outbox, anchor), daemon=True)
    process.start()
    outbox.close()
    anchor.close()
    seconds = job.cell.budget.seconds
    deadline = time.monotonic() + GRACE_SECONDS + WALL_PER_BUDGET_SECOND * seconds if seconds else float("inf")
    return _Worker(job, folder, device, process, inbox, lifeline, now(), deadline)


def _messages(inbox: Connection) -> Iterator[tuple[str, str, float]]:
    try:
        while inbox.poll():
            yield inbox.recv()
    except EOFError:
        return


def _collect(worker: _Worker) -> Record:
    """The record that the process left, or one that says how it ended."""
    timed_out = worker.process.is_alive()
    worker.process.kill()
    worker.close()
    path = worker.folder / RECORD
    if path.exists():
        return read_record(path)
    status: Status = "timeout" if timed_out else "failed"
    complaint = worker.folder / "complaint.txt"
    if complaint.exists():
        reason = complaint.read_text()
        complaint.unlink()
    elif timed_out:
        reason = "the process outlived its wall-clock limit"
    else:
        reason = f"the process ended with exit code {worker.process.exitcode}"
    record = failed_record(worker.job, status, reason, worker.started)
    write_record(path, record)
    return record


def _work(job: Job, folder: Path, cache: Path, device: str, outbox: Connection, anchor: Connection) -> None:
    """What a worker process does: one run, with its threads bounded, ending with its parent."""
    threading.Thread(target=_end_with_parent, args=(anchor,), daemon=True).start()
    limit_threads(job.cell.threads)
    keep_freed_memory()
    discover()
    folder.mkdir(parents=True, exist_ok=True)

    def tell(kind: str, stage: str, fraction: float = 0.0) -> None:
        try:
            outbox.send((kind, stage, fraction))
        except OSError:  # the parent is gone; raised into the method, this would be recorded as its failure
            os._exit(1)

    warnings.showwarning = lambda message, *place: tell("warning", str(message))
    try:
        run(job, folder, cache, torch.device(device), partial(tell, "progress"))
    except UserError as error:
        (folder / "complaint.txt").write_text(str(error))


def limit_threads(threads: int) -> None:
    """Bound torch's and every loaded numerical library's threads in this process."""
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)


def _end_with_parent(anchor: Connection) -> None:
    """Leave at once when the parent is gone, however it ended: a resumed command must find no one at work."""
    try:
        anchor.recv()
    except EOFError:
        os._exit(1)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    file = _open_lock(out)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{out} is in use by another ddbench; wait for it, or choose another --out") from error
        yield
    finally:
        file.close()


def _open_lock(out: Path) -> IO[str]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        return (out / ".lock").open("w")
    except OSError as error:
        raise UserError(f"cannot write to {out} ({error.strerror}); choose another folder with --out") from error
