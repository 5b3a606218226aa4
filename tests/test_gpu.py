"""What only a CUDA device can show; `pytest -m gpu` where there is one.

It ends within two minutes, since such a machine may be lent for a quarter of an hour: no test begins after `LAST_BEGIN`
seconds, and each has `MOST_SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddbench.bench import Setup, run_bench
from ddbench.boards.board import make_board
from ddbench.boards.jobs import resolve
from ddbench.compute.clock import DeviceClock
from ddbench.registry import METHODS, discover
from ddbench.runs.plan import plan_runs, run_jobs
from factories import run

LAST_BEGIN, MOST_SECONDS = 75, 45
BEGAN = list[float]()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(MOST_SECONDS),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
discover()


@pytest.fixture(autouse=True)
def within_two_minutes() -> None:
    BEGAN.append(time.monotonic())
    if BEGAN[-1] - BEGAN[0] > LAST_BEGIN:
        pytest.skip(f"{LAST_BEGIN} seconds are over; run this test alone")


def test_device_seconds_grow_with_the_work() -> None:
    device = torch.device("cuda")
    matrix = torch.randn(2048, 2048, device=device)
    clock = DeviceClock(device)
    before = clock.settle()
    for _ in range(20):
        matrix = (matrix @ matrix).clamp(-1, 1)
        clock.tick()
    assert clock.settle() > before


def test_the_clock_is_at_most_eight_ticks_behind() -> None:
    clock = DeviceClock(torch.device("cuda"), ahead=8)
    for _ in range(20):
        clock.tick()
    assert len(clock._pending) <= 8


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_runs_on_the_device(method: str, tmp_path: Path) -> None:
    content = {
        "board": "gpu",
        "datasets": "digits",
        "ipc": 2,
        "network": "convnet,depth=1,width=8",
        "protocol": "quick-300@1",
        "networks": 1,
        "snapshots": [],
        "compile": method
        == "distribution_matching",  # one is enough here: `ddbench bench` compiles every family's steps
        "entries": [{"methods": [method], "set": dict(METHODS.get(method).tiny)}],
    }
    (job,) = resolve(make_board(content), "cuda")
    record = run(job, tmp_path / "run", tmp_path / "cache", torch.device("cuda"), lambda stage, share: None)
    assert record.result.status == "ok"
    assert record.accuracy is not None
    assert record.accuracy > 0.2
    assert record.measured.peak_bytes > 0
    assert {"deterministic_algorithms", "cudnn_deterministic"} <= set(record.measured.environment)


def test_a_memory_budget_holds_within_a_step_and_the_next_run_has_a_clean_device(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    greedy = "kept = [torch.ones(2**26, device=task.device) for _ in range(16)]"
    board = {
        "board": "gpu",
        "datasets": "digits",
        "ipc": 1,
        "network": "convnet,depth=1,width=8",
        "protocol": "quick-300@1",
        "networks": 1,
        "peak_bytes": "2GB",
        "entries": [{"methods": [write("greedy", greedy), write("modest")]}],
    }
    jobs = resolve(make_board(board), "cuda")
    records = run_jobs(plan_runs(jobs, tmp_path / "out"), tmp_path / "out", device="cuda:0")
    assert [record.result.status for record in records] == ["out_of_memory", "ok"]
    assert all(record.measured.peak_bytes < 2e9 for record in records)


def test_both_sides_of_a_case_are_measured_on_the_device() -> None:
    for row in run_bench(["evaluation"], [Setup(width=8, side=16, device="cuda")], seconds=0.1):
        assert min(row.ratio, row.share_of_limit, row.ours.peak_bytes) > 0, row.case
