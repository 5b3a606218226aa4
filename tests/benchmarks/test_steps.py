"""How long an outer step of each family takes on digits; run with `pytest tests/benchmarks --benchmark-only -n 0`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ddbench.augment import DSA
from ddbench.cache import Cache
from ddbench.config import make_method
from ddbench.data import Preprocessing, RealData, load_dataset
from ddbench.generators import Generators
from ddbench.meter import Meter
from ddbench.networks import build_network
from ddbench.records import Budget
from ddbench.registry import METHODS, discover
from ddbench.task import Task

SETTINGS: dict[str, dict[str, Any]] = {
    "backprop": {"batch_real": 128, "init": "real"},
    "gradient_matching": {"batch_real": 32, "init": "real", "matchings": 1, "epochs": 0},
    "distribution_matching": {"batch_real": 64},
    "trajectory_matching": {
        "experts": 1, "expert_epochs": 3, "epoch_batches": 2, "batch_real": 64, "student_steps": 10, "max_start": 1,
    },
}  # fmt: skip


def digits_task(ipc: int) -> Task:
    data, device = load_dataset("digits"), torch.device("cpu")
    return Task(
        RealData(data, Preprocessing.for_dataset(data).fit(data), device),
        build_network("convnet", data.shape, len(data.classes), {"depth": 2, "width": 32}),
        shape=data.shape,
        classes=len(data.classes),
        ipc=ipc,
        setting="random",
        augmentation=DSA.for_dataset("digits"),
        generators=Generators("benchmark"),
        device=device,
    )


@pytest.mark.parametrize("ipc", [1, 10])
@pytest.mark.parametrize("name", SETTINGS)
def test_an_outer_step(benchmark: Any, tmp_path: Path, name: str, ipc: int) -> None:
    """One step and what surrounds it: initial images, an optimiser, and for experts the cache they are read from."""
    discover()
    task, cache = digits_task(ipc), Cache(tmp_path, {})
    method = make_method(METHODS.get(name), {"iterations": 1, **SETTINGS[name]})

    def step() -> int:
        meter = Meter(Budget(), cache=cache, snapshots=())
        meter.flops_per_step = 0  # known, so that the step is not slowed by counting
        method.distill(task, meter)
        return meter.done["distil"]

    step()  # makes the experts
    assert benchmark(step) == 1
