"""Timing of a case in the textbook's and in our implementation, in turns, each in a process of its own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

import torch

from ddbench.bench.cases import CASES, Setup
from ddbench.compute.device import wait_for
from ddbench.compute.flops import FlopCounter
from ddbench.compute.memory import keep_freed_memory, peak_bytes
from ddbench.compute.module_path import inherited_module_path
from ddbench.errors import UserError, suggestion
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.registry import discover

Given = ParamSpec("Given")
Result = TypeVar("Result")
WARM = 2
"""steps before the first that is timed: ours counts the operations of the first and compiles in the next"""
LEAST = 5
SIDE = 2048
"""side of the matrices whose product is the machine's limit"""


@dataclass(frozen=True)
class Timing:
    """The seconds of each timed step of one implementation, and the peak memory of its process."""

    seconds: list[float]
    peak_bytes: int
    flops: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class CaseTiming:
    """The timings of a case at one setup: the textbook's implementation and ours."""

    case: str
    setup: Setup
    textbook: Timing
    ours: Timing
    limit: float
    """operations a second of a matrix product, measured after the steps"""

    @property
    def ratio(self) -> float:
        return self.textbook.median / self.ours.median

    @property
    def share_of_limit(self) -> float:
        """Share of the limit that our step reaches, counting the operations that the textbook's step needs."""
        return self.textbook.flops / self.ours.median / self.limit


def run_bench(cases: list[str], setups: list[Setup], seconds: float = 5.0, threads: int = 1) -> Iterator[CaseTiming]:
    """Time every case at every setup.

    Args:
        cases: names in `CASES`; none takes the usual ones
        seconds: shortest time for each implementation, after warming up
        threads: number of threads on a CPU

    Raises:
        UserError: for an unknown case.
    """
    for case in cases:
        if case not in CASES:
            raise UserError(f"unknown case {case!r}; {suggestion(case, CASES)}")
    for case in cases or [name for name, case in CASES.items() if case.usual]:
        for setup in setups:
            textbook = _apart(threads, _textbook, case, setup, seconds)
            ours = measure_ours(case, setup, seconds, threads)
            yield CaseTiming(case, setup, textbook, ours, _apart(threads, matrix_product_rate, setup.device))


def measure_ours(case: str, setup: Setup, seconds: float, threads: int) -> Timing:
    """Time our implementation of a case; its operations are not counted."""
    return _apart(threads, _ours, case, setup, seconds)


def count_operations(case: str, setup: Setup, threads: int) -> int:
    """Count the floating-point operations of a textbook step."""
    return _apart(threads, _operations, case, setup)


def matrix_product_rate(where: str) -> float:
    """Return the floating-point operations a second of the fastest of several products of large float32 matrices."""
    device = torch.device(where)
    a, b = torch.randn(2, SIDE, SIDE, device=device)
    return 2 * SIDE**3 / min(_timed(lambda: a @ b, device) for _ in range(8))


def _apart(threads: int, measure: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """Run a function in a fresh process, so that memory and caches of one case do not affect the next."""
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        with inherited_module_path():
            made = pool.submit(measure, *given, **named)
        return made.result()


def _textbook(case: str, setup: Setup, seconds: float) -> Timing:
    device = torch.device(setup.device)
    steps = CASES[case].textbook(setup)
    next(steps)
    times: list[float] = []
    while len(times) < LEAST or sum(times) < seconds:
        times.append(_timed(lambda: next(steps), device))
    return Timing(times[1:], peak_bytes(device), _operations(case, setup))


def _ours(case: str, setup: Setup, seconds: float) -> Timing:
    keep_freed_memory()
    discover()
    device = torch.device(setup.device)
    watch = Stopwatch(device)
    CASES[case].ours(setup, Meter(Budget(seconds=seconds), watch, device=device, snapshots=()))
    times = [after - before for before, after in pairwise(watch.ticks)]
    return Timing(times[WARM:], peak_bytes(device), 0)


def _operations(case: str, setup: Setup) -> int:
    with FlopCounter() as counter:
        next(CASES[case].textbook(setup))
    return counter.total


class Stopwatch:
    """A clock that records the time of every step; the budget's time begins after the first `LEAST + WARM` steps."""

    ahead = 0

    def __init__(self, device: torch.device) -> None:
        self.ticks: list[float] = []
        self._device = device

    def tick(self) -> float:
        wait_for(self._device)
        self.ticks.append(time.perf_counter())
        return self.settle()

    def settle(self) -> float:
        return self.ticks[-1] - self.ticks[LEAST + WARM] if len(self.ticks) > LEAST + WARM else 0.0

    def helpers(self) -> float:
        return 0.0


def _timed(function: Callable[[], object], device: torch.device) -> float:
    wait_for(device)
    began = time.perf_counter()
    function()
    wait_for(device)
    return time.perf_counter() - began
