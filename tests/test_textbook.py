"""Each family's step against the paper's loop in plain PyTorch: same draws, same loss, same gradient of the images."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddbench.bench import (
    CASES,
    Growth,
    Setup,
    Timing,
    bench_table,
    draw_growth,
    growth_table,
    run_bench,
    textbook,
)
from ddbench.bench import setups as make_setups
from ddbench.bench.growth import AXES
from ddbench.bench.measure import LEAST, WARM, Stopwatch
from ddbench.compute.compiling import Compiler
from ddbench.errors import UserError
from ddbench.families.experts import expert_trajectories
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.registry import METHODS, discover
from ddbench.task.task import Task
from tasks import needs_compiler

COMPILED = pytest.param(True, marks=[pytest.mark.slow, needs_compiler])
both = pytest.mark.parametrize("compiled", [False, COMPILED])
ipcs = pytest.mark.parametrize("ipc", [1, 3])


def make_task(ipc: int, compiled: bool) -> Task:
    discover()
    task = Setup(ipc=ipc, width=8, side=16, classes=3).task()
    task.compiler = Compiler(compiled)
    return task


def stepped(task: Task, name: str, **settings: Any) -> tuple[Tensor, Tensor, float]:
    """Initial images, images after one step of a method, and the logged loss."""
    before = make_task(task.ipc, False).real_init()[0]
    meter = Meter(Budget(), snapshots=())
    meter.counter.total = 0  # known, or the step would run eager to be counted
    artifact = METHODS.get(name)(iterations=1, **settings).distill(task, meter)
    return before, artifact.parts["images"], meter.history["loss"][0][1]


def loaded(task: Task, weights: dict[str, Tensor]) -> nn.Module:
    task.network.load_state_dict(weights)
    return task.network


def close(ours: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-4 of the largest number."""
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@both
@ipcs
def test_gradient_matching(ipc: int, compiled: bool) -> None:
    settings = {"matchings": 1, "epochs": 0, "init": "real", "batch_real": 40}
    before, after, loss = stepped(make_task(ipc, compiled), "gradient_matching", **settings)
    twin = make_task(ipc, False)
    twin.real_init()
    twin.initial()  # the method draws once before its first step
    network = loaded(twin, twin.initial())
    real, _ = twin.real.batch(40, twin.generator("real"), of=range(3))
    value, gradient = textbook.gradient_matching(network, real.chunk(3), before)
    assert loss == pytest.approx(value.item(), rel=1e-4)
    close((before - after) / 0.1, gradient)


@both
@ipcs
def test_distribution_matching(ipc: int, compiled: bool) -> None:
    before, after, loss = stepped(make_task(ipc, compiled), "distribution_matching", batch_real=40)
    twin = make_task(ipc, False)
    twin.real_init()
    network = loaded(twin, twin.initial())
    real, _ = twin.real.batch(40, twin.generator("real"), of=range(3))
    draws = [twin.augmentation.draw((), twin.generator("augment", device="cpu"), shared=True) for _ in range(3)]
    value, gradient = textbook.distribution_matching(network, real.chunk(3), before, twin.augmentation, draws)
    assert loss == pytest.approx(value.item(), rel=1e-4)
    close(before - after, gradient)


@both
@ipcs
def test_trajectory_matching(ipc: int, compiled: bool) -> None:
    settings = {"experts": 1, "expert_epochs": 2, "epoch_batches": 1, "max_start": 1, "match_epochs": 2}
    students = {"student_steps": 3, "augment": False, "lr_images": 1.0, "lr_student": 0.1}
    task = make_task(ipc, compiled)
    method = METHODS.get("trajectory_matching")(iterations=1, **settings, **students)
    trajectories = expert_trajectories(task, Meter(Budget(), snapshots=()), method.expert())
    before, after, loss = stepped(make_task(ipc, compiled), "trajectory_matching", **settings, **students)
    names = {name: weight.shape for name, weight in task.initial().items()}
    start, target = (unflattened(trajectories[0][epoch], names) for epoch in (0, 2))
    labels = task.labels()
    value, slopes = textbook.trajectory_matching(task.network, start, target, [(before, labels)] * 3, torch.tensor(0.1))
    assert loss == pytest.approx(value.item(), rel=1e-4)
    close(before - after, torch.stack(slopes[:3]).sum(0))


def unflattened(vector: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    parts = vector.split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}


@both
@ipcs
def test_backprop(ipc: int, compiled: bool) -> None:
    settings = {"init": "real", "epochs": 2, "batch_real": 40, "lr_initial": 0.1}
    torch_adam = torch.optim.Adam
    slopes: list[Tensor] = []

    class Watched(torch_adam):
        def step(self, closure: Any = None) -> Any:
            slopes.extend(parameter.grad.clone() for parameter in self.param_groups[0]["params"])
            return super().step(closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "Adam", Watched)
        before, _, loss = stepped(make_task(ipc, compiled), "backprop", **settings)
    twin = make_task(ipc, False)
    twin.real_init()
    real = twin.real.batch(40, twin.generator("real"))
    order = torch.arange(3 * ipc).view(3, ipc).T
    batches = [(before[chosen], twin.labels()[chosen]) for chosen in order] * 2
    lrs = torch.full((len(batches),), 0.1)
    value, theirs = textbook.backprop(twin.network, twin.initial(), batches, lrs, real)
    images = torch.zeros_like(before)
    for chosen, slope in zip([*order, *order], theirs, strict=False):
        images[chosen] += slope
    assert loss == pytest.approx(value.item(), rel=1e-4)
    close(slopes[0], images)
    close(slopes[1], theirs[-1] * -torch.expm1(-lrs))  # through softplus, whose slope at softplus^-1(y) is 1 - exp(-y)


# -- the bench ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.usual])
def test_textbook_steps_of_every_case_run(case: str) -> None:
    steps = CASES[case].textbook(Setup(width=4, side=8, classes=2, student_steps=2))
    next(steps)
    next(steps)


@pytest.mark.slow
def test_both_sides_of_a_case_are_measured() -> None:
    (row,) = run_bench(["evaluation"], [Setup(width=4, side=8, classes=2)], seconds=0.01)
    assert len(row.textbook.seconds) == LEAST - 1
    assert len(row.ours.seconds) >= LEAST
    assert row.textbook.flops > 0
    assert min(row.ratio, row.share_of_limit, row.textbook.peak_bytes, row.ours.peak_bytes) > 0
    assert bench_table([row]).count("\n") == 2


def test_an_unknown_case_and_a_size_below_one_are_refused() -> None:
    with pytest.raises(UserError, match="unknown case 'experst'; did you mean 'experts'"):
        next(run_bench(["experst"], [Setup()]))
    with pytest.raises(UserError, match="ipc 0 and width 32: both must be at least 1"):
        make_setups([0], [32], "cpu")


def test_the_stopwatch_stands_still_until_it_has_seen_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100))
    monkeypatch.setattr("ddbench.bench.measure.time.perf_counter", lambda: float(next(times)))
    watch = Stopwatch(torch.device("cpu"))
    assert [watch.tick() for _ in range(LEAST + WARM + 3)] == [0.0] * (LEAST + WARM + 1) + [1.0, 2.0]
    assert {after - before for before, after in pairwise(watch.ticks)} == {1.0}


def test_growth_is_the_slope_of_logarithms(tmp_path: Path) -> None:
    timings = [Timing([seconds], 10**6 * bytes_, 0) for seconds, bytes_ in ((0.1, 5), (1.0, 6), (10.0, 7))]
    row = Growth("ipc", "experts", (1, 10, 100), timings, [10, 10, 10])
    assert row.slope == pytest.approx(1.0)
    assert row.expected == pytest.approx(0.0)
    assert "| 1, 10, 100 | 100, 1,000, 10,000 | 1.00" in growth_table([row])
    assert "5, 6, 7" in growth_table([row])
    draw_growth([row, row, row], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_axes_are_sizes_of_a_setup() -> None:
    assert {axis for axis, _, _ in AXES} <= {field.name for field in dataclasses.fields(Setup)}
    assert {case for _, _, case in AXES} <= set(CASES)


def test_a_median_of_seconds() -> None:
    assert Timing([3.0, 1.0, 2.0], 0, 0).median == 2.0
