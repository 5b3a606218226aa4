"""A run's process, from outside."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType

import psutil
import torch

from ddbench.boards.jobs import Job
from ddbench.compute.environment import now
from ddbench.compute.module_path import inherited_module_path
from ddbench.records.run_folder import OUTCOME
from ddbench.registry import is_discovered
from ddbench.runs.executors.watch import Watch
from ddbench.runs.executors.worker import Message, work
from ddbench.runs.status import Outcome, of_exit

PRELOAD = ["ddbench.runs.executors.worker", "sklearn.cluster", "torch._dynamo"]
"""imported once and inherited by every worker; torch would import the last, a second's work, at the first optimizer"""


STARTING = threading.Lock()
ATTEMPTS = 3
"""at starting a process"""


class RunProcess:
    """Started at once; ends with this process, however that ends.

    Args:
        folder: of the run
        cache: of the board
    """

    def __init__(self, job: Job, folder: Path, cache: Path, device: torch.device) -> None:
        self.job, self.folder, self.device, self.started = job, folder, device, now()
        self._watch = Watch(job.cell.budget, job.stall_seconds)
        self._told: Outcome | None = None
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        inbox, outbox = context.Pipe(duplex=False)
        anchor, self._lifeline = context.Pipe(duplex=False)
        self.inbox: Connection | None = inbox
        with _script_left_out(), inherited_module_path():
            self._process = _started(
                lambda: context.Process(
                    target=work, args=(job, folder, cache, str(device), outbox, anchor), daemon=True
                )
            )
        outbox.close()
        anchor.close()
        self._handle = _handle(self._process.pid)

    @property
    def alive(self) -> bool:
        # The server that forked it may be gone, and its word on the process with it.
        with suppress(psutil.Error):
            return self._handle is not None and self._handle.status() != psutil.STATUS_ZOMBIE
        return False

    def messages(self) -> Iterator[Message]:
        """What it said since the last call."""
        try:
            while self.inbox is not None and self.inbox.poll():
                message: Message = self.inbox.recv()
                if message.kind == "progress":
                    self._watch.heard(message.text)
                if message.kind == "ended":
                    self._told = message.ending
                else:
                    yield message
        except (EOFError, OSError):
            self._close_inbox()

    def overstepped(self) -> Outcome | None:
        """The limit that it does not keep; None while it keeps them all."""
        return self._watch.look(self._held_bytes(), self._core_seconds)

    def ask_to_stop(self) -> None:
        """It will keep everything at its next step, and end."""
        with suppress(OSError):
            self._lifeline.send(True)

    def end(self) -> Outcome:
        """Make sure that it is gone, with whatever it has started, and say how it ended."""
        for process in self._family():
            with suppress(psutil.Error):
                process.kill()
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        self._lifeline.close()
        self._close_inbox()
        return self._told or of_exit(code)

    def _held_bytes(self) -> int:
        """Memory held on the CPU, while it is limited; on a GPU the allocator keeps the limit, and scoring has none."""
        if self._handle is None or self.job.cell.budget.peak_bytes is None or self.device.type != "cpu":
            return 0
        if (self.folder / OUTCOME).exists():
            return 0
        with suppress(psutil.Error):
            return int(self._handle.memory_info().rss)
        return 0

    def _core_seconds(self) -> float:
        """Core-seconds used by the run and by what it has started: a compiler may be at work for it."""
        used = 0.0
        for process in self._family():
            with suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system + times.children_user + times.children_system
        return used

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            if self._handle is not None:
                return [*self._handle.children(recursive=True), self._handle]
        return []

    def _close_inbox(self) -> None:
        if self.inbox is not None:
            self.inbox.close()
            self.inbox = None


@contextmanager
def _script_left_out() -> Iterator[None]:
    """Start processes that do not run the user's script again, which would call ddbench again; one that registers
    something, or imports what does, is run, as `multiprocessing` does, and needs its guard."""
    if not is_discovered():
        yield
        return
    with STARTING:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = script


def _started(make: Callable[[], ForkServerProcess]) -> ForkServerProcess:
    """A process that runs; where the server that forks was killed meanwhile, a new one is asked."""
    for _ in range(ATTEMPTS - 1):
        with suppress(EOFError, ConnectionError):
            process = make()
            process.start()
            return process
    process = make()
    process.start()
    return process


def _handle(pid: int | None) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None
