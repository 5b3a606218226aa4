"""Values that a method logs: read without waiting for the device, thinned, and checked for divergence."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from torch import Tensor

from ddbench.compute import host
from ddbench.meter.hooks import Logged

POINTS = 200
EXPLODED = 1e8
"""factor by which a logged value may exceed its first value, or 1 if that is smaller"""


class Diverged(ArithmeticError):
    """A logged value is not finite any more, or has exploded."""


class Log:
    """The logged values by name, at most `POINTS` of each, as (step, value).

    Args:
        tell: function told what enters the history: of every step at first, then of ever fewer, `POINTS` / 2 each time
            the number of steps has doubled
    """

    def __init__(self, tell: Callable[[Logged], None] = lambda logged: None) -> None:
        self.history: dict[str, list[tuple[int, float]]] = {}
        self._latest: tuple[str, dict[str, float]] = "", {}
        self._tell = tell
        self._unread: deque[tuple[int, str, int, dict[str, Tensor | float]]] = deque()

    def note(self, tick: int, loop: str, step: int, values: dict[str, Tensor | float]) -> None:
        """Copy values to the CPU without waiting; `tick` is the step after which the device has finished them."""
        copies = {name: host.sent(value) if isinstance(value, Tensor) else value for name, value in values.items()}
        self._unread.append((tick, loop, step, copies))

    def latest(self, loop: str) -> dict[str, float]:
        """Return the values that were read last, if they are of this loop."""
        return self._latest[1] if self._latest[0] == loop else {}

    def read(self, before: int) -> None:
        """Read the values noted before that tick.

        Raises:
            Diverged: at the first value that is not finite, or `EXPLODED` times beyond its first.
        """
        while self._unread and self._unread[0][0] < before:
            _, loop, step, values = self._unread.popleft()
            read, kept = dict[str, float](), dict[str, float]()
            for name, value in values.items():
                series, number = self.history.setdefault(name, []), float(value)
                _check(name, series, number, f"at step {step} of {loop}")
                read[name] = number
                if _append_thinned(series, step, number):
                    kept[name] = number
            self._latest = loop, read
            if kept:
                self._tell(Logged(loop, step, kept))


def _check(name: str, series: list[tuple[int, float]], value: float, where: str) -> None:
    if not math.isfinite(value):
        raise Diverged(f"{name} became {value} {where}")
    first = series[0][1] if series else value
    if abs(value) > EXPLODED * max(1.0, abs(first)):
        raise Diverged(f"{name} exploded from {first:.3g} to {value:.3g} {where}")


def _append_thinned(series: list[tuple[int, float]], step: int, value: float) -> bool:
    """Append a value, unless another one of nearly its step is there, and return whether that was done.

    Steps stay evenly spaced: where there are more than `POINTS`, every second is dropped.
    """
    stride = series[1][0] - series[0][0] if len(series) > 1 else 1
    if series and step < series[-1][0] + stride:
        return False
    series.append((step, value))
    if len(series) > POINTS:
        del series[1::2]
    return True
