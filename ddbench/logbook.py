"""Values that a method logs: read without waiting for the device, thinned, and watched for divergence."""

from __future__ import annotations

import math
from collections import deque

from torch import Tensor

POINTS = 200


class Diverged(ArithmeticError):
    """A logged value is not finite any more."""


class Logbook:
    """Logged values by name, at most `POINTS` of each, as (step, value)."""

    def __init__(self) -> None:
        self.history: dict[str, list[tuple[int, float]]] = {}
        self._unread: deque[tuple[int, str, int, dict[str, Tensor | float]]] = deque()

    def note(self, tick: int, loop: str, step: int, values: dict[str, Tensor | float]) -> None:
        """Copy values towards the CPU without waiting; `tick` says when the device will have finished them."""
        copies = {
            name: value.detach().to("cpu", non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        self._unread.append((tick, loop, step, copies))

    def read(self, before: int) -> None:
        """Read what was noted before that tick.

        Raises:
            Diverged: at the first value that is not finite.
        """
        while self._unread and self._unread[0][0] < before:
            _, loop, step, values = self._unread.popleft()
            for name, value in values.items():
                number = float(value)
                if not math.isfinite(number):
                    raise Diverged(f"{name} became {number} at step {step} of {loop}")
                _append_thinned(self.history.setdefault(name, []), step, number)


def _append_thinned(series: list[tuple[int, float]], step: int, value: float) -> None:
    """Keep the values evenly spread: where there are more than `POINTS`, every second goes."""
    stride = series[1][0] - series[0][0] if len(series) > 1 else 1
    if not series or step >= series[-1][0] + stride:
        series.append((step, value))
    if len(series) > POINTS:
        del series[1::2]
