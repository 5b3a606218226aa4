"""Runs side by side on this machine."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import torch

from ddbench.compute.device import resolve_device
from ddbench.records.schema import Record
from ddbench.runs.executors import Assignment, Listener
from ddbench.runs.executors.interruption import Interruption
from ddbench.runs.executors.lane import Lane
from ddbench.runs.executors.process import Process

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""time that a run has to come to its next step when it is to stop"""


@dataclass(frozen=True)
class Local:
    """One run at a time on each device of a list, which may name a device several times."""

    devices: list[torch.device]

    @classmethod
    def named(cls, device: str, workers: int | None) -> Local:
        """So many runs side by side on a CPU, or one on each of so many GPUs; None is one, and all GPUs.

        Args:
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`
        """
        found = resolve_device(device)
        if found.type == "cpu":
            return cls([found] * (workers or 1))
        if found.index is not None:
            return cls([found])
        there = torch.cuda.device_count()
        return cls([torch.device("cuda", index) for index in range(min(workers or there, there))])

    @property
    def device(self) -> torch.device:
        return self.devices[0]

    def run(self, assignments: list[Assignment], out: Path, on_event: Listener) -> list[Record]:
        waiting, records = deque(assignments), list[Record]()
        lanes = [Lane(device, out / "cache", on_event) for device in self.devices[: len(assignments)]]
        try:
            with Interruption() as interruption:
                while (waiting or _busy(lanes)) and not interruption.asked:
                    for lane in lanes:
                        record = lane.look() if lane.process or not waiting else lane.start(*waiting.popleft())
                        records += [record] if record else []
                    _wait(lanes)
                if interruption.asked:
                    _wind_down(lanes)
        finally:
            for lane in lanes:
                lane.end()
        return records


def _busy(lanes: list[Lane]) -> list[Process]:
    return [lane.process for lane in lanes if lane.process is not None]


def _wait(lanes: list[Lane]) -> None:
    """Until something is said, or for a moment."""
    wait([process.inbox for process in _busy(lanes) if process.inbox is not None], timeout=POLL_SECONDS)


def _wind_down(lanes: list[Lane]) -> None:
    """Let every run keep its state at its next step, if that comes soon."""
    for lane in lanes:
        lane.ask_to_stop()
    deadline = time.monotonic() + GRACE_SECONDS
    while any(process.alive and not process.done for process in _busy(lanes)) and time.monotonic() < deadline:
        for lane in lanes:
            lane.pass_on()
        time.sleep(POLL_SECONDS)
