"""A process and whatever it has started: what they use, and their end."""

from __future__ import annotations

import ctypes
import sys
import time
from contextlib import suppress

import psutil

PR_SET_CHILD_SUBREAPER = 36
LOOK_SECONDS = 2.0
"""between two looks at what a process has started"""


def adopt_orphans() -> bool:
    """Make this process the parent of what its descendants leave behind, so that it can be seen and ended.

    Returns:
        False where the system does not know how.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


class Family:
    """A process, its children and theirs.

    Args:
        pid: of the process; None, or that of one which has ended, is a family of nobody
    """

    def __init__(self, pid: int | None) -> None:
        self._root: psutil.Process | None = None
        with suppress(psutil.Error, ValueError):
            self._root = psutil.Process(pid) if pid is not None else None
        self._own: dict[psutil.Process, float] = {}
        self._most = self._looked = 0.0

    @property
    def alive(self) -> bool:
        # The server that forked it may be gone, and its word on the process with it.
        with suppress(psutil.Error):
            return self._root is not None and self._root.status() != psutil.STATUS_ZOMBIE
        return False

    @property
    def held_bytes(self) -> int:
        """Memory of the process itself, on the CPU."""
        with suppress(psutil.Error):
            return int(self._root.memory_info().rss) if self._root is not None else 0
        return 0

    def core_seconds(self) -> float:
        """Return the core-seconds that all of them have used so far, as far as was seen.

        A child that was waited for adds its time to its parent's; one that was not, and is gone, counts with what it
        had used when it was last seen.
        """
        now = 0.0
        for process in self._members():
            with suppress(psutil.Error):
                times = process.cpu_times()
                own = times.user + times.system
                now += own + times.children_user + times.children_system
                self._own[process] = max(own, self._own.get(process, 0.0))
        self._most = max(self._most, now, sum(self._own.values()))
        return self._most

    def remember(self) -> None:
        """Look at all of them now and then: one that ends, or leaves its parent, is known then."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self.core_seconds()

    def end(self) -> None:
        """End all of them."""
        for process in {*self._members(), *self._own}:
            with suppress(psutil.Error):
                process.kill()

    def _members(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            if self._root is not None:
                return [*self._root.children(recursive=True), self._root]
        return []
