"""What only a CUDA device can show; `pytest -m gpu` where there is one.

It ends within two minutes, since such a machine may be lent for a quarter of an hour: no test begins after `LAST_BEGIN`
seconds, and each has `MOST_SECONDS`. No process is started but for a memory budget and one step of the bench: each
needs seconds to find the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ddbench.bench import CASES, Setup
from ddbench.bench.measure import measure_ours
from ddbench.boards.board import make_board
from ddbench.boards.jobs import resolve
from ddbench.compute.clock import DeviceClock, clock_for
from ddbench.compute.compiling import Compiler
from ddbench.compute.memory import peak_bytes
from ddbench.compute.precision import precision
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.records.schema import Record
from ddbench.registry import METHODS, discover
from ddbench.runs.plan import plan_runs, run_jobs
from factories import run
from tasks import methods_of

LAST_BEGIN, MOST_SECONDS = 75, 45
BEGAN = list[float]()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(MOST_SECONDS),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
discover()
CUDA = torch.device("cuda")
BOARD = {
    "board": "gpu",
    "datasets": "digits",
    "ipc": 2,
    "network": "convnet,depth=1,width=8",
    "protocol": "quick-300@1",
    "networks": 1,
    "snapshots": [],
}


def run_on_the_device(folder: Path, method: str, **values: object) -> Record:
    content = {**BOARD, **values, "entries": [{"methods": [method], "set": dict(METHODS.get(method).tiny)}]}
    (job,) = resolve(make_board(content), "cuda")
    return run(job, folder / "run", folder / "cache", CUDA, lambda stage, share: None)


# -- the clock ------------------------------------------------------------------------------------------------------


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


# -- runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", methods_of())
def test_every_method_runs_on_the_device(method: str, tmp_path: Path) -> None:
    # Compiling one is enough here: the bench compiles every family's steps.
    record = run_on_the_device(tmp_path, method, compile=method == "distribution_matching")
    assert record.result.status == "ok"
    assert record.accuracy is not None
    assert record.accuracy > 0.2
    assert record.measured.peak_bytes > 0
    assert {"deterministic_algorithms", "cudnn_deterministic"} <= set(record.measured.environment)


def test_a_memory_budget_holds_within_a_step_and_the_next_run_has_a_clean_device(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    greedy = "kept = [torch.ones(2**26, device=task.device) for _ in range(16)]"
    board = {**BOARD, "peak_bytes": "2GB", "entries": [{"methods": [write("greedy", greedy), write("modest")]}]}
    jobs = resolve(make_board(board), "cuda")
    records = run_jobs(plan_runs(jobs, tmp_path / "out"), tmp_path / "out", device="cuda:0")
    assert [record.result.status for record in records] == ["out_of_memory", "ok"]
    assert all(record.measured.peak_bytes < 2e9 for record in records)


def test_steps_of_every_case_run_on_the_device_and_one_is_measured() -> None:
    setup = Setup(width=8, side=16, student_steps=2, device="cuda")
    for case in CASES.values():
        if case.usual:
            next(case.textbook(setup))
    timing = measure_ours("distribution_matching", setup, seconds=0.1, threads=1)
    assert min(timing.median, timing.peak_bytes) > 0


# -- precision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "least", "most"), [("float32", 0.0, 1e-5), ("tf32", 5e-5, 1e-3), ("bfloat16", 5e-5, 1e-3)]
)
def test_products_and_convolutions_round_as_the_precision_says(name: Any, least: float, most: float) -> None:
    a, b = torch.randn(2, 512, 512, device=CUDA, generator=torch.Generator(CUDA).manual_seed(0))
    images, filters = a.view(16, 64, 16, 16), b[:, :9].reshape(8, 64, 3, 3)
    with precision(CUDA, name):
        found = a @ b, F.conv2d(images, filters)
    exact = a.double() @ b.double(), F.conv2d(images.double(), filters.double())
    for ours, theirs in zip(found, exact, strict=True):
        assert least <= float((ours - theirs).norm() / theirs.norm()) <= most


@pytest.mark.parametrize(
    ("given", "said", "products"),
    [(None, "tf32", "high"), ("float32", "float32", "highest"), ("bfloat16", "bfloat16", "high")],
)
def test_a_record_says_in_which_precision_it_ran(given: str | None, said: str, products: str, tmp_path: Path) -> None:
    record = run_on_the_device(tmp_path, "distribution_matching", precision=given)
    assert record.result.status == "ok"
    assert record.result.cell.precision == said
    assert record.measured.environment["float32_matmul"] == products
    assert record.measured.environment["tf32_convolutions"] is (said != "float32")


# -- captured steps -------------------------------------------------------------------------------------------------


def distilled(method: str, compiler: Compiler) -> torch.Tensor:
    """The images after six steps in strict float32, in host memory."""
    task = Setup(width=8, side=16, device="cuda").task()
    task.compiler = compiler
    meter = Meter(Budget(steps=6), clock_for(CUDA), device=CUDA, snapshots=())
    with precision(CUDA, "float32"):
        artifact = METHODS.get(method)(**METHODS.get(method).tiny).distill(task, meter)
    assert meter.charged > 0
    return artifact.parts["images"].cpu()


# The third recomputes its steps in autograd's own thread.
@pytest.mark.parametrize("method", ["distribution_matching", "gradient_matching", "truncated_backprop"])
def test_captured_steps_make_the_images_that_eager_ones_make(method: str) -> None:
    compiler = Compiler(True, capture=True)
    captured, eager = distilled(method, compiler), distilled(method, Compiler())
    assert compiler.enabled
    assert torch.allclose(captured, eager, rtol=1e-4, atol=1e-4)
    assert peak_bytes(CUDA) > 0


def test_results_of_a_captured_function_stay_as_they_were_and_take_device_seconds() -> None:
    product, clock = Compiler(True, capture=True).function(lambda a, b: a @ b), DeviceClock(CUDA)
    matrix, before = torch.eye(1024, device=CUDA), clock.settle()
    found = [product(factor * matrix, matrix) for factor in range(1, 11)]
    assert [float(each[0, 0]) for each in found] == list(range(1, 11))
    assert clock.settle() > before
