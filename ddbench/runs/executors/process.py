"""A process that works for this one, from outside."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ddbench.compute.module_path import inherited_module_path
from ddbench.meter.hooks import Logged, Progress
from ddbench.registry import is_discovered
from ddbench.runs.executors.family import Family
from ddbench.runs.executors.watch import Watch
from ddbench.runs.status import Outcome, of_exit

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

PRELOAD = ["ddbench.runs.executors.distilling", "ddbench.runs.executors.scoring", "sklearn.cluster", "torch._dynamo"]
"""imported once and inherited by every process; torch would import the last, a second's work, at the first optimizer"""
STARTING = threading.Lock()
ATTEMPTS = 5
"""at starting a process"""
WAIT_SECONDS = 0.2
"""before the second of them; then twice as long each time"""


@dataclass(frozen=True)
class Message:
    """From a process to its parent."""

    kind: str
    """`progress`, `logged`, `warning`, `done` or `ended`"""
    text: str = ""
    fraction: float = 0.0
    at: Progress | None = None
    """the step of a method's loop that `progress` is from"""
    logged: Logged | None = None
    result: Any = None
    """result of what is `done`, or the `Outcome` of what has `ended`"""


class Process:
    """Started at once; ends with this process, however that ends.

    Args:
        target: called with the arguments, a connection for messages to this process, and one that is a lifeline: a
            word from it means stop, its end that this process is gone
    """

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        self.watch: Watch | None = None
        """looked after while it is set"""
        self.done: list[Any] = []
        """results that were not taken yet"""
        self._told: Outcome | None = None
        self._ended: Outcome | None = None
        context = starting_context()
        inbox, outbox = context.Pipe(duplex=False)
        anchor, self._lifeline = context.Pipe(duplex=False)
        self.inbox: Connection | None = inbox
        with _script_left_out(), inherited_module_path():
            self._process = _started(
                lambda: context.Process(
                    target=_surrounded, args=(dict(os.environ), target, *arguments, outbox, anchor), daemon=True
                )
            )
        outbox.close()
        anchor.close()
        self.family = Family(self._process.pid)

    @property
    def alive(self) -> bool:
        return self.family.alive

    def messages(self) -> Iterator[Message]:
        """What it said since the last call, that somebody may want to see."""
        try:
            while self.inbox is not None and self.inbox.poll():
                message: Message = self.inbox.recv()
                if self.watch is not None:
                    self.watch.heard(message.text or message.kind)
                if message.kind == "ended":
                    self._told = message.result
                elif message.kind == "done":
                    self.done.append(message.result)
                else:
                    yield message
        except Exception:  # it is gone, or says what is no message
            self._close_inbox()

    def overstepped(self) -> Outcome | None:
        """The limit that it does not keep; None while it keeps them all."""
        if self.watch is None:
            return None
        self.family.remember()
        held = self.family.held_bytes if self.watch.bounds_memory else 0
        return self.watch.look(held, self.family.core_seconds)

    def ask_to_stop(self) -> None:
        """It will keep everything at its next step, and end."""
        with suppress(OSError):
            self._lifeline.send(True)

    def end(self) -> Outcome:
        """Make sure that it is gone, with whatever it has started, and say how it ended."""
        if self._ended is not None:
            return self._ended
        self.family.end()
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        self._lifeline.close()
        self._close_inbox()
        self._ended = self._told or of_exit(code)
        return self._ended

    def _close_inbox(self) -> None:
        if self.inbox is not None:
            self.inbox.close()
            self.inbox = None


def _surrounded(variables: dict[str, str], target: Callable[..., None], *arguments: Any) -> None:
    """Call the target in the environment of the process that asks, not in that of the server, which may be older."""
    os.environ.clear()
    os.environ.update(variables)
    target(*arguments)


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


def starting_context() -> ForkServerContext | SpawnContext:
    """Return what starts processes: a server that forks, or where the system has none, as on Windows, each anew."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def _started(make: Callable[[], BaseProcess]) -> BaseProcess:
    """A process that runs; where the server that forks was killed meanwhile, a new one is asked a moment later."""
    wait = WAIT_SECONDS
    for _ in range(ATTEMPTS - 1):
        with suppress(EOFError, OSError):
            process = make()
            process.start()
            return process
        time.sleep(wait)
        wait *= 2
    process = make()
    process.start()
    return process
