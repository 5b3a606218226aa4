"""Runs side by side on this machine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import torch

from ddbench.boards.jobs import Job
from ddbench.compute.device import resolve_device
from ddbench.errors import CannotWrite
from ddbench.records.files import read_record, write_record
from ddbench.records.run_folder import RECORD
from ddbench.records.schema import Record
from ddbench.runs.executors import Assignment, Event, Listener
from ddbench.runs.executors.interruption import Interruption
from ddbench.runs.executors.process import RunProcess
from ddbench.runs.run import failed_record
from ddbench.runs.status import Outcome

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""time that a run has to come to its next step when it is to stop"""


@dataclass(frozen=True)
class Local:
    """One run at a time on each device of a list, which may name a device several times."""

    devices: list[torch.device]

    @classmethod
    def named(cls, device: str, workers: int) -> Local:
        """So many runs side by side on a CPU, or one on each of so many GPUs.

        Args:
            device: `auto`, `cpu`, `cuda` or `cuda:N`
        """
        found = resolve_device(device)
        if found.type == "cpu":
            return cls([found] * workers)
        if found.index is not None:
            return cls([found])
        return cls([torch.device("cuda", index) for index in range(min(workers, torch.cuda.device_count()))])

    @property
    def device(self) -> torch.device:
        return self.devices[0]

    def run(self, assignments: list[Assignment], out: Path, on_event: Listener) -> list[Record]:
        waiting, free, busy = deque(assignments), list(self.devices), list[RunProcess]()
        records = list[Record]()
        try:
            with Interruption() as interruption:
                while (waiting or busy) and not interruption.asked:
                    while waiting and free:
                        busy.append(_start(*waiting.popleft(), out / "cache", free.pop(), on_event))
                    for process, ending in _ended(busy, on_event):
                        busy.remove(process)
                        free.append(process.device)
                        records.append(_collect(process, ending, on_event))
                if interruption.asked:
                    _wind_down(busy, on_event)
        finally:
            for process in busy:
                process.end()
        return records


def _start(job: Job, folder: Path, cache: Path, device: torch.device, on_event: Listener) -> RunProcess:
    on_event(Event(job, "started"))
    (folder / RECORD).unlink(missing_ok=True)  # of an attempt that did not finish
    return RunProcess(job, folder, cache, device)


def _ended(busy: list[RunProcess], on_event: Listener) -> Iterator[tuple[RunProcess, Outcome | None]]:
    """Wait a moment; then every process that is gone, and every one that has to go and why."""
    wait([process.inbox for process in busy if process.inbox is not None], timeout=POLL_SECONDS)
    for process in list(busy):
        alive = process.alive
        _pass_on(process, on_event)
        ending = process.overstepped() if alive else None
        if ending is not None or not alive:
            yield process, ending


def _pass_on(process: RunProcess, on_event: Listener) -> None:
    for message in process.messages():
        on_event(Event(process.job, message.kind, message.text, message.fraction))


def _collect(process: RunProcess, ending: Outcome | None, on_event: Listener) -> Record:
    """The record that a process left, or one that says how it ended."""
    told = process.end()
    path = process.folder / RECORD
    if path.exists():
        record = read_record(path)
    else:
        record = leave_record(process.job, process.folder, ending or told, process.started, on_event)
    on_event(Event(process.job, "finished", record=record))
    return record


def leave_record(job: Job, folder: Path, ending: Outcome, started: str, on_event: Listener) -> Record:
    """The record of a run that left none; where it cannot be written, that is said."""
    record = failed_record(job, ending.status, ending.reason, started)
    try:
        write_record(folder / RECORD, record)
    except CannotWrite as error:
        on_event(Event(job, "warning", str(error)))
    return record


def _wind_down(busy: list[RunProcess], on_event: Listener) -> None:
    """Let every run keep its state at its next step, if that comes soon."""
    for process in busy:
        on_event(Event(process.job, "stopping"))
        process.ask_to_stop()
    deadline = time.monotonic() + GRACE_SECONDS
    while any(process.alive for process in busy) and time.monotonic() < deadline:
        for process in busy:
            _pass_on(process, on_event)
        time.sleep(POLL_SECONDS)
