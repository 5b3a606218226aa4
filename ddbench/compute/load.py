"""How busy a machine is: core-seconds of a crowded one are worth less, because cores share caches and memory."""

from __future__ import annotations

import os
import time

import psutil

IDLE = ("idle", "iowait")
VIRTUAL = ("guest", "guest_nice")
"""times that others of the list include"""


class MachineLoad:
    """The share of the machine's processor time that was in use since this object was made."""

    def __init__(self) -> None:
        self._began = _times()

    def share(self) -> float | None:
        """Return the share, in [0, 1], of all processes together; None where no time has passed."""
        idle, total = (now - then for now, then in zip(_times(), self._began, strict=True))
        return None if total <= 0 else round(min(1.0, max(0.0, 1 - idle / total)), 3)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slowdown(seconds: float = 0.5) -> float:
    """Return the wall seconds that pass while this process works for one second, 1 or more: a short loop shows it.

    Args:
        seconds: wall seconds to measure for
    """
    began, worked = time.monotonic(), time.process_time()
    while (wall := time.monotonic() - began) < seconds:
        pass
    return max(1.0, wall / max(time.process_time() - worked, 1e-3))


def _times() -> tuple[float, float]:
    """Return idle seconds and all seconds of all cores since the machine was started."""
    spent = psutil.cpu_times()._asdict()
    total = sum(seconds for name, seconds in spent.items() if name not in VIRTUAL)
    return sum(spent.get(name, 0.0) for name in IDLE), total
