"""How long an outer step of each family takes on digits; run with `pytest tests/benchmarks --benchmark-only -n 0`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddbench.data import load_dataset
from ddbench.meter.cache import Cache
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget, NetworkSpec
from ddbench.registry import METHODS, discover
from ddbench.task.hyperparameters import make_method
from ddbench.testing import tiny_task

NETWORK = NetworkSpec(name="convnet", parameters={"depth": 2, "width": 32})
SETTINGS: dict[str, dict[str, Any]] = {
    "backprop": {"batch_real": 128, "init": "real"},
    "gradient_matching": {"batch_real": 32, "init": "real", "matchings": 1, "epochs": 0},
    "distribution_matching": {"batch_real": 64},
    "trajectory_matching": {
        "experts": 1, "expert_epochs": 3, "epoch_batches": 2, "batch_real": 64, "student_steps": 10, "max_start": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("ipc", [1, 10])
@pytest.mark.parametrize("name", SETTINGS)
def test_an_outer_step(benchmark: Any, tmp_path: Path, name: str, ipc: int) -> None:
    """One step and what surrounds it: initial images, an optimiser, and for experts the cache they are read from."""
    discover()
    task, cache = tiny_task(ipc, data=load_dataset("digits"), network=NETWORK), Cache(tmp_path, {})
    method = make_method(METHODS.get(name), {"iterations": 1, **SETTINGS[name]})

    def step() -> int:
        meter = Meter(Budget(), cache=cache, snapshots=())
        meter.counter.total = 0  # known, so that the step is not slowed by counting
        method.distill(task, meter)
        return meter.done["distil"]

    step()  # makes the experts
    assert benchmark(step) == 1
