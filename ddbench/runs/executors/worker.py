"""A run's process, from inside: its limits, its reports, and how it ends with its parent."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ddbench.boards.jobs import Job
from ddbench.compute.memory import be_the_first_to_go, keep_freed_memory
from ddbench.errors import CannotWrite, Stopped, UserError
from ddbench.io.atomic import write_atomically
from ddbench.io.locks import awaited
from ddbench.records.run_folder import TRACE
from ddbench.records.source_digest import source_digest
from ddbench.registry import discover, find_method
from ddbench.runs.run import run
from ddbench.runs.status import Outcome, of_surroundings

REPORT_SECONDS = 0.2
"""between two reports"""
WARNING_LENGTH = 2000
"""so that a message is written whole or not at all"""


@dataclass(frozen=True)
class Message:
    """From a run to its parent."""

    kind: str
    """`progress`, `warning`, `ended`"""
    text: str = ""
    fraction: float = 0.0
    ending: Outcome | None = None


def work(job: Job, folder: Path, cache: Path, device: str, outbox: Connection, lifeline: Connection) -> None:
    """Carry out one run.

    Args:
        outbox: for messages to the parent
        lifeline: a word from it means stop; its end, that the parent is gone
    """
    stopping = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Control-C reaches every process; the parent says what it means
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    threading.Thread(target=_heed, args=(lifeline, stopping), daemon=True).start()
    line = _Line(outbox)
    warnings.showwarning = lambda message, *place: line.send(Message("warning", str(message)[:WARNING_LENGTH]))
    try:
        _bound(job)
        discover()
        _check_source(job)
        with awaited(folder):
            run(job, folder, cache, torch.device(device), line.report, stopping.is_set)
    except Stopped:
        line.send(Message("ended", ending=Outcome("crashed", "it was stopped from outside")))
    except (Exception, SystemExit) as error:
        ending = of_surroundings(error)
        if ending.status == "failed":
            with suppress(CannotWrite):
                write_atomically(folder / TRACE, traceback.format_exc().encode())
        line.send(Message("ended", ending=ending))


class _Line:
    """Messages to the parent."""

    def __init__(self, outbox: Connection) -> None:
        self._outbox = outbox
        self._reported = 0.0

    def report(self, stage: str, fraction: float) -> None:
        """Say how far the run is, unless that was just said."""
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self.send(Message("progress", stage, fraction))

    def send(self, message: Message) -> None:
        try:
            self._outbox.send(message)
        except OSError:  # the parent is gone; raised into the method, this would be recorded as its failure
            os._exit(1)


def _bound(job: Job) -> None:
    be_the_first_to_go()
    limit_threads(job.cell.threads)
    keep_freed_memory()


def limit_threads(threads: int) -> None:
    """Bound torch's and every loaded numerical library's threads in this process."""
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)


def _check_source(job: Job) -> None:
    """The method is the one that the record will name."""
    if source_digest(find_method(job.method)) != job.method_source:
        raise UserError(f"the file of method {job.method} has changed since the command began; run the command again")


def _heed(lifeline: Connection, stopping: threading.Event) -> None:
    """Leave at once when the parent is gone, however it ended: a resumed command must find no one at work."""
    with suppress(EOFError):
        while lifeline.recv():
            stopping.set()
    os._exit(1)
