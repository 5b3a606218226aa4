"""What the processes that work for a command have in common: reports, warnings, and an end with their parent."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch

from ddbench.compute.memory import be_the_first_to_go, keep_freed_memory
from ddbench.errors import Stopped
from ddbench.meter.hooks import Logged, Progress
from ddbench.runs.executors.process import Message
from ddbench.runs.status import Outcome, of_surroundings

ENDINGS = [signal.Signals[name] for name in ("SIGINT", "SIGHUP") if name in signal.Signals.__members__]
REPORT_SECONDS = 0.2
"""between two reports"""
WARNING_LENGTH = 2000
"""so that a message is written whole or not at all"""


class Line:
    """Messages to the parent, and its word to stop.

    Args:
        lifeline: a word from it means stop; its end, that the parent is gone
    """

    def __init__(self, outbox: Connection, lifeline: Connection) -> None:
        self._outbox, self._stopping = outbox, threading.Event()
        self._stage, self._reported = "", 0.0
        for number in ENDINGS:  # they reach every process; the parent says what they mean
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: self._stopping.set())
        threading.Thread(target=self._heed, args=(lifeline,), daemon=True).start()
        warnings.showwarning = lambda message, *place: self.send(Message("warning", str(message)[:WARNING_LENGTH]))

    @property
    def stopping(self) -> Callable[[], bool]:
        """Asks whether this process is to stop."""
        return self._stopping.is_set

    def report(self, stage: str, fraction: float) -> None:
        """Say how far the work is, unless that was just said of this stage."""
        now = time.monotonic()
        if stage != self._stage or now - self._reported >= REPORT_SECONDS:
            self._stage, self._reported = stage, now
            self.send(Message("progress", stage, fraction))

    def progress(self, at: Progress) -> None:
        """Say how far a method's loop is."""
        self._stage = at.stage
        self.send(Message("progress", at.stage, at.fraction, at=at))

    def logged(self, logged: Logged) -> None:
        """Pass on what a method has logged."""
        self.send(Message("logged", f"{logged.loop} {logged.step}", logged=logged))

    def done(self, result: Any) -> None:
        self.send(Message("done", result=result))

    def ended(self, error: BaseException) -> Outcome:
        """Tell the parent how this process ends, and return it."""
        stopped = Outcome("crashed", "it was stopped from outside")
        ending = stopped if isinstance(error, Stopped) else of_surroundings(error)
        self.send(Message("ended", result=ending))
        return ending

    def send(self, message: Message) -> None:
        try:
            self._outbox.send(message)
        except OSError:  # the parent is gone; raised into the method, this would be recorded as its failure
            os._exit(1)

    def _heed(self, lifeline: Connection) -> None:
        """Leave at once when the parent is gone, however it ended: a resumed command must find no one at work."""
        with suppress(EOFError, OSError):
            while lifeline.recv():
                self._stopping.set()
        os._exit(1)


def bound(threads: int) -> None:
    """Keep this process to a number of threads, and let it be the first to go where memory runs out."""
    be_the_first_to_go()
    limit_threads(threads)
    keep_freed_memory()


def limit_threads(threads: int) -> None:
    """Bound torch's and every loaded numerical library's threads in this process."""
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)
