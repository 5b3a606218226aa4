"""Timing of both sides of a case, each in a process of its own, in turns."""

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
from ddbench.compute.flops import FlopCounter
from ddbench.compute.memory import keep_freed_memory, peak_bytes
from ddbench.errors import UserError, suggestion
from ddbench.meter.meter import Meter
from ddbench.records.schema import Budget
from ddbench.registry import discover

Given = ParamSpec("Given")
Result = TypeVar("Result")
WARM = 2
"""steps before the first that counts: ours runs one to count its operations and compiles in the next"""
LEAST = 5
SIDE = 2048
"""of the matrices whose product is the limit"""


@dataclass(frozen=True)
class Timing:
    """Seconds of each step that counts, and the most bytes that its process held."""

    seconds: list[float]
    peak_bytes: int
    flops: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Row:
    """A case, measured."""

    case: str
    setup: Setup
    textbook: Timing
    ours: Timing
    limit: float
    """operations a second of a matrix product, measured beside"""

    @property
    def ratio(self) -> float:
        return self.textbook.median / self.ours.median

    @property
    def share_of_limit(self) -> float:
        """Of the limit, in operations that the textbook's step needs."""
        return self.textbook.flops / self.ours.median / self.limit


def run_bench(cases: list[str], setups: list[Setup], seconds: float = 5.0, threads: int = 1) -> Iterator[Row]:
    """Measure cases, each setup of each.

    Args:
        cases: names in `CASES`; none takes all
        seconds: at least so long for each side, after warming up
        threads: on a CPU

    Raises:
        UserError: for an unknown case.
    """
    for case in cases:
        if case not in CASES:
            raise UserError(f"unknown case {case!r}; {suggestion(case, CASES)}")
    for case in cases or CASES:
        for setup in setups:
            textbook = _apart(threads, _textbook, case, setup, seconds)
            ours = measure_ours(case, setup, seconds, threads)
            yield Row(case, setup, textbook, ours, _apart(threads, matrix_product_rate, setup.device))


def measure_ours(case: str, setup: Setup, seconds: float, threads: int) -> Timing:
    """Our side of a case; its operations are not counted."""
    return _apart(threads, _ours, case, setup, seconds)


def count_operations(case: str, setup: Setup, threads: int) -> int:
    """Floating-point operations of a textbook step."""
    return _apart(threads, _operations, case, setup)


def matrix_product_rate(where: str) -> float:
    """Floating-point operations a second of a product of two large float32 matrices, the best of a few."""
    device = torch.device(where)
    a, b = torch.randn(2, SIDE, SIDE, device=device)
    return 2 * SIDE**3 / min(_timed(lambda: a @ b, device) for _ in range(8))


def _apart(threads: int, measure: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """In a fresh process: what one case does to memory or caches is none of the next one's."""
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        return pool.submit(measure, *given, **named).result()


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
    """A clock that keeps the time of every step; for the budget, time begins when it has seen enough of them."""

    def __init__(self, device: torch.device) -> None:
        self.ticks: list[float] = []
        self._device = device

    def tick(self) -> float:
        _wait(self._device)
        self.ticks.append(time.perf_counter())
        return self.settle()

    def settle(self) -> float:
        return self.ticks[-1] - self.ticks[LEAST + WARM] if len(self.ticks) > LEAST + WARM else 0.0


def _timed(function: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
