"""Clocks that define a second: core-seconds on a CPU, device seconds on a GPU, wall seconds on Apple's `mps`."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Protocol

import torch

from ddbench.compute.device import wait_for

AHEAD = 8
"""largest number of steps that the host may run ahead of a device"""


class Clock(Protocol):
    @property
    def ahead(self) -> int:
        """Largest number of steps that are not counted yet."""
        ...

    def tick(self) -> float:
        """Return the seconds so far; on a GPU up to the last step that the device is known to have finished."""
        ...

    def settle(self) -> float:
        """Wait for the device and return the exact seconds so far."""
        ...

    def helpers(self) -> float:
        """Return the seconds that processes which this one has started, and which have ended, add to its own."""
        ...


class ProcessClock:
    """CPU time of this process, summed over its threads; other load on the machine hardly changes it."""

    ahead = 0

    def tick(self) -> float:
        return time.process_time()

    def settle(self) -> float:
        return time.process_time()

    def helpers(self) -> float:
        spent = os.times()
        return spent.children_user + spent.children_system


class DeviceClock:
    """Time between CUDA events, one a tick; it waits for the device only if that is more than `ahead` ticks behind."""

    def __init__(self, device: torch.device, ahead: int = AHEAD) -> None:
        self._stream = torch.cuda.current_stream(device)
        self.ahead = ahead
        self._pending: deque[torch.cuda.Event] = deque()
        self._last = self._event()
        self._last.synchronize()
        self._seconds = 0.0

    def tick(self) -> float:
        self._pending.append(self._event())
        while self._pending and (len(self._pending) > self.ahead or self._pending[0].query()):
            self._finish(self._pending.popleft())
        return self._seconds

    def settle(self) -> float:
        self._pending.append(self._event())
        while self._pending:
            self._finish(self._pending.popleft())
        return self._seconds

    def helpers(self) -> float:
        return 0.0  # they work while the device's time passes

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event

    def _finish(self, event: torch.cuda.Event) -> None:
        event.synchronize()
        self._seconds += self._last.elapsed_time(event) / 1000
        self._last = event


class WallClock:
    """Wall seconds, of a device whose own time torch does not tell; every tick waits for the device."""

    ahead = 0

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def tick(self) -> float:
        return self.settle()

    def settle(self) -> float:
        wait_for(self._device)
        return time.monotonic()

    def helpers(self) -> float:
        return 0.0  # they work while the time passes


def clock_for(device: torch.device) -> Clock:
    if device.type == "mps":
        return WallClock(device)
    return DeviceClock(device) if device.type == "cuda" else ProcessClock()
