"""The meter: budgets, phases, snapshots, logs, the cache and resuming, all by a counting clock."""

from __future__ import annotations

import gc
import re
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.clock import ProcessClock, clock_for
from ddbench.compute.flops import counting
from ddbench.compute.generators import Generators
from ddbench.compute.memory import OutOfMemoryBudget, peak_bytes
from ddbench.meter.cache import Cache
from ddbench.meter.checkpoint import State
from ddbench.meter.hooks import Hooks, Logged, Progress
from ddbench.meter.log import Diverged
from ddbench.meter.meter import Meter, Snapshot
from ddbench.records.cell import Budget

FREE = Budget()


def an_artifact(value: float = 0.0) -> DistilledDataset:
    return DistilledDataset.pixels(torch.full((1, 1, 2, 2), value), torch.zeros(1, dtype=torch.int64))


def walk(meter: Meter, clock: Any, n: int, seconds: float = 1.0, **steps: Any) -> list[int]:
    """Run a loop whose steps take the same time; the steps it was given."""
    taken = []
    for step in meter.steps(n, State(), **steps):
        clock.advance(seconds)
        taken.append(step)
    return taken


def test_a_loop_without_a_budget_runs_through(clock: Any) -> None:
    meter = Meter(FREE, clock)
    assert walk(meter, clock, 4) == [0, 1, 2, 3]
    assert (meter.done, meter.planned, meter.truncated) == ({"distil": 4}, {"distil": 4}, False)
    assert meter.seconds == {"distil": 4.0}


@pytest.mark.parametrize(("seconds", "steps"), [(0.5, 1), (3.0, 3), (3.1, 4)])
def test_a_step_begins_while_seconds_are_left(clock: Any, seconds: float, steps: int) -> None:
    meter = Meter(Budget(seconds=seconds), clock)
    assert len(walk(meter, clock, 100)) == steps
    assert meter.charged == steps
    assert meter.truncated


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_a_checkpoint_of_a_running_loop_leaves_no_copy_behind(tmp_path: Path) -> None:
    odd = (3, 1, 7919)
    meter = Meter(FREE, path=tmp_path / "c.pt", every=0)
    held = []
    for _ in meter.steps(3, State(images=torch.zeros(odd))):
        held.append(sum(issubclass(type(thing), torch.Tensor) and thing.shape == odd for thing in gc.get_objects()))
    assert (tmp_path / "c.pt").exists()
    assert held == [1, 1, 1]


def test_the_peak_and_the_start_are_those_of_all_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter([500, 700, 300, 100])
    monkeypatch.setattr("ddbench.meter.meter.peak_bytes", lambda device: next(held))
    monkeypatch.setattr("ddbench.meter.meter.now", iter(["first", "second"]).__next__)
    broken = Meter(FREE, path=tmp_path / "c.pt", every=0)
    for step in broken.steps(9, State()):
        if step == 2:
            break  # two checkpoints are written
    again = Meter(FREE, path=tmp_path / "c.pt", every=0)
    assert (again.attempts, again.started) == (2, "first")
    assert again.peak_bytes == 700


def test_a_loop_that_ends_with_its_budget_is_not_truncated(clock: Any) -> None:
    meter = Meter(Budget(seconds=3.0), clock)
    walk(meter, clock, 3)
    assert not meter.truncated


def test_a_step_budget_counts_every_loop(clock: Any) -> None:
    meter = Meter(Budget(steps=5), clock)
    assert walk(meter, clock, 3, name="experts") == [0, 1, 2]
    assert not meter.truncated
    assert walk(meter, clock, 3) == [0, 1]
    assert meter.truncated
    assert meter.done == {"experts": 3, "distil": 2}
    assert meter.planned == {"experts": 3, "distil": 3}


def test_a_spent_budget_gives_the_next_loop_nothing(clock: Any) -> None:
    meter = Meter(Budget(seconds=2), clock)
    walk(meter, clock, 2, name="experts")
    assert walk(meter, clock, 2) == []
    assert meter.done == {"experts": 2, "distil": 0}
    assert meter.truncated


def test_an_empty_loop_is_complete(clock: Any) -> None:
    meter = Meter(FREE, clock)
    assert walk(meter, clock, 0, result=an_artifact) == []
    assert not meter.truncated


def test_time_is_charged_to_its_phase(clock: Any) -> None:
    meter = Meter(FREE, clock)
    clock.advance(1)
    with meter.phase("experts"):
        clock.advance(2)
        with meter.phase("inner"):
            clock.advance(4)
        clock.advance(8)
    clock.advance(16)
    meter.finish()
    assert meter.seconds == {"distil": 17, "experts": 10, "inner": 4}
    assert meter.charged == 31


def test_a_phase_inside_a_step_takes_its_part(clock: Any) -> None:
    meter = Meter(FREE, clock)
    for _ in meter.steps(2, State()):
        clock.advance(1)
        with meter.phase("features"):
            clock.advance(2)
    assert meter.seconds == {"distil": 2, "features": 4}


def test_a_phase_that_raises_is_charged_and_left(clock: Any) -> None:
    meter = Meter(FREE, clock)

    def fail() -> None:
        with meter.phase("experts"):
            clock.advance(2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    clock.advance(1)
    meter.finish()
    assert meter.seconds == {"distil": 1, "experts": 2}


def test_paused_time_is_shown_and_not_charged(clock: Any) -> None:
    meter = Meter(Budget(seconds=2.5), clock)
    steps = []
    for step in meter.steps(10, State()):
        clock.advance(1)
        with meter.paused("compile"):
            clock.advance(100)
        steps.append(step)
    assert steps == [0, 1, 2]
    assert meter.seconds == {"distil": 3}
    assert meter.uncharged["compile"] == 300


def test_snapshots_are_taken_at_fixed_fractions_of_the_steps(clock: Any) -> None:
    meter = Meter(FREE, clock)
    walk(meter, clock, 100, result=an_artifact)
    assert meter.taken == [Snapshot(step, float(step)) for step in (0, 10, 25, 50, 75)]


def test_snapshots_are_taken_at_fixed_fractions_of_the_seconds(clock: Any) -> None:
    meter = Meter(Budget(seconds=20), clock)
    walk(meter, clock, 1000, result=an_artifact)
    assert [snapshot.step for snapshot in meter.taken] == [0, 2, 5, 10, 15]


def test_snapshots_are_taken_at_fixed_fractions_of_a_step_budget(clock: Any) -> None:
    meter = Meter(Budget(steps=20), clock)
    walk(meter, clock, 1000, result=an_artifact)
    assert [snapshot.step for snapshot in meter.taken] == [0, 2, 5, 10, 15]


def test_fractions_that_an_earlier_loop_passed_share_one_snapshot(clock: Any) -> None:
    meter = Meter(Budget(seconds=20), clock)
    with meter.phase("experts"):
        clock.advance(11)
    walk(meter, clock, 1000, result=an_artifact)
    assert meter.taken == [Snapshot(0, 11.0), Snapshot(4, 15.0)]


def test_a_loop_without_a_result_takes_no_snapshot(clock: Any) -> None:
    meter = Meter(FREE, clock)
    walk(meter, clock, 10)
    assert meter.taken == []


def test_snapshots_are_handed_out_numbered_with_the_clock_stopped(clock: Any) -> None:
    kept = {}
    meter = Meter(
        Budget(seconds=4), clock, hooks=Hooks(snapshot=lambda index, artifact: kept.update({index: artifact}))
    )
    images = torch.zeros(1, 1, 2, 2)

    def result() -> DistilledDataset:
        clock.advance(50)
        return DistilledDataset.pixels(images, torch.zeros(1, dtype=torch.int64))

    for _ in meter.steps(100, State(), result):
        clock.advance(1)
        images += 1
    assert {index: artifact.parts["images"].mean().item() for index, artifact in kept.items()} == {
        0: 0,
        1: 1,
        2: 2,
        3: 3,
    }
    assert meter.seconds == {"distil": 4}
    assert meter.uncharged["snapshots"] == 200


def test_a_snapshot_does_not_change_the_run(clock: Any) -> None:
    def draws(snapshots: tuple[float, ...]) -> list[float]:
        generators = Generators("task")

        def result() -> DistilledDataset:
            drawn = torch.rand(1, generator=generators.get("real")) + torch.rand(1, generator=generators.get("new"))
            return an_artifact(float(drawn))

        meter = Meter(FREE, clock, generators, snapshots=snapshots)
        seen = []
        for _ in meter.steps(10, State(), result):
            seen.append(float(torch.rand((), generator=generators.get("real"))))
        return [*seen, float(torch.rand((), generator=generators.get("new")))]

    assert draws((0.0, 0.1, 0.5)) == draws(())


def test_loops_do_not_nest(clock: Any) -> None:
    meter = Meter(FREE, clock)
    outer = meter.steps(2, State(), name="outer")
    next(outer)
    with pytest.raises(RuntimeError, match=r"^loop 'inner' starts inside loop 'outer'; flatten them into one$"):
        walk(meter, clock, 1, name="inner")
    outer.close()


def test_a_loop_has_a_name_of_its_own(clock: Any) -> None:
    meter = Meter(FREE, clock)
    walk(meter, clock, 1)
    with pytest.raises(
        RuntimeError, match=r"^loop 'distil' has run before; give every loop of a method a name of its own$"
    ):
        walk(meter, clock, 1)


@pytest.mark.parametrize("value", [float("nan"), torch.tensor(float("inf")), torch.tensor(float("nan"))])
def test_a_logged_value_that_is_not_finite_ends_the_run(clock: Any, value: float) -> None:
    meter = Meter(FREE, clock)
    seen = []

    def run() -> None:
        for step in meter.steps(10, State()):
            seen.append(step)
            meter.log(loss=value if step == 2 else 1.0, other=0)

    with pytest.raises(Diverged, match=r"^loss became (nan|inf) at step 2 of distil$"):
        run()
    assert seen == [0, 1, 2]


def test_the_last_logged_value_is_checked_too(clock: Any) -> None:
    meter = Meter(FREE, clock)
    meter.log(distance=float("nan"))
    with pytest.raises(Diverged, match=r"^distance became nan at step 0 of distil$"):
        meter.finish()


def test_a_value_logged_before_breaking_off_is_checked(clock: Any) -> None:
    meter = Meter(FREE, clock)
    for _ in meter.steps(10, State()):
        meter.log(loss=float("nan"))
        break
    with pytest.raises(Diverged, match="loss became nan at step 0 of distil"):
        meter.finish()


@pytest.mark.parametrize(
    ("values", "exploded"),
    [
        ((2.0, 1.9e8), None),
        ((2.0, -2.1e8), "loss exploded from 2 to -2.1e+08 at step 1 of distil"),
        ((1e-9, 9e7), None),  # what begins near zero may grow
        ((0.0, 1.0, 1.1e8), "loss exploded from 0 to 1.1e+08 at step 2 of distil"),
        ((1e30, 1e37), None),
    ],
)
def test_a_logged_value_that_explodes_ends_the_run(clock: Any, values: tuple[float, ...], exploded: str | None) -> None:
    meter = Meter(FREE, clock)

    def run() -> None:
        for step in meter.steps(len(values), State()):
            meter.log(loss=torch.tensor(values[step]), other=0.0)

    if exploded is None:
        run()
    else:
        with pytest.raises(Diverged, match=f"^{re.escape(exploded)}$"):
            run()


def test_no_snapshot_is_taken_of_a_run_that_has_diverged(clock: Any) -> None:
    meter = Meter(FREE, clock, device=torch.device("cuda"), snapshots=(0.0, 0.5))
    seen = []

    def run() -> None:
        for step in meter.steps(10, State(), an_artifact):
            seen.append(step)
            meter.log(loss=float("nan") if step == 3 else 1.0)

    with pytest.raises(Diverged, match="at step 3 of"):
        run()
    assert seen == [0, 1, 2, 3, 4]  # the snapshot before step 5 asks what a device would tell at step 12
    assert meter.taken == [Snapshot(0, 0.0)]


def test_a_snapshot_that_is_not_finite_says_when(clock: Any) -> None:
    meter = Meter(FREE, clock, snapshots=(0.0, 0.5))
    values = iter([0.0, float("inf")])
    with pytest.raises(Diverged, match=r"^parts\['images'\] holds values that are not finite before step 5$"):
        walk(meter, clock, 10, result=lambda: an_artifact(next(values)))
    assert meter.taken == [Snapshot(0, 0.0)]


def test_a_budget_is_exceeded_by_less_than_a_step(clock: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    for number in range(120):
        budget = float(torch.rand((), generator=draw)) * 10
        meter = Meter(Budget(seconds=budget), clock, Generators("cell", number), every=0, path=None)
        longest = 0.0
        for name in ("experts", "distil"):
            for _ in meter.steps(1000, State(), an_artifact if name == "distil" else None, name=name):
                step = float(torch.rand((), generator=draw))
                clock.advance(step)
                with meter.paused("compile"):
                    clock.advance(100)
                longest = max(longest, step)
                if float(torch.rand((), generator=draw)) < 0.05:
                    break
        meter.finish()
        assert meter.charged <= budget + longest
        assert meter.charged >= budget or not meter.truncated


@pytest.mark.slow
def test_a_budget_of_real_seconds_is_exceeded_by_less_than_a_step(tmp_path: Path) -> None:
    def work(seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    shares = list[float]()
    for number in range(100):
        path, steps, budget = tmp_path / f"{number}.pt", list[float](), 0.02 + 0.001 * number
        hooks = Hooks(snapshot=lambda index, artifact: work(0.02))
        meter = Meter(Budget(seconds=budget), path=path, every=0, hooks=hooks)  # a checkpoint after every step
        before = meter.charged
        for step in meter.steps(1000, State(images=torch.zeros(1000)), an_artifact):
            work(0.001 * (1 + step % 7))
            now = meter.charged
            steps.append(now - before)
            before = now
        meter.finish()
        steps.append(meter.charged - before)
        assert meter.truncated
        assert budget <= meter.charged <= budget + max(steps)
        assert meter.uncharged["snapshots"] >= 0.02 * len(meter.taken) > 0
        assert meter.uncharged["checkpoints"] > 0
        worked = sum(0.001 * (1 + step % 7) for step in range(meter.done["distil"]))
        shares.append(worked / meter.charged)
    assert statistics.median(shares) == pytest.approx(1, rel=0.1)  # a busy machine holds up one or another


def test_on_an_accelerator_values_are_read_eight_steps_late(clock: Any) -> None:
    meter = Meter(FREE, clock, device=torch.device("cuda"))
    seen = []

    def run() -> None:
        for step in meter.steps(100, State()):
            seen.append(step)
            for name in "abc":
                meter.log(**{name: float("nan")})

    with pytest.raises(Diverged, match="at step 0 of"):
        run()
    assert seen == list(range(9))


def test_a_logged_tensor_is_detached(clock: Any) -> None:
    meter = Meter(FREE, clock)
    weight = torch.ones((), requires_grad=True)
    for _ in meter.steps(1, State()):
        meter.log(loss=weight * 2)
    assert meter.history == {"loss": [(0, 2.0)]}


def test_history_is_thinned_evenly(clock: Any) -> None:
    meter = Meter(FREE, clock)
    for step in meter.steps(1000, State()):
        meter.log(loss=float(step))
    steps = [step for step, _ in meter.history["loss"]]
    assert 100 <= len(steps) <= 200
    assert {after - before for before, after in pairwise(steps)} == {8}
    assert all(step == value for step, value in meter.history["loss"])
    assert steps[0] == 0
    assert steps[-1] >= 990


def test_more_memory_than_the_budget_ends_the_run(clock: Any) -> None:
    meter = Meter(Budget(peak_bytes=1000), clock)
    with pytest.raises(OutOfMemoryBudget, match=r"^[\d,]+ bytes in use, the budget allows 1,000$"):
        walk(meter, clock, 1)
    assert walk(Meter(Budget(peak_bytes=2**50), clock), clock, 1) == [0]
    assert 2**20 < peak_bytes(torch.device("cpu")) < 2**50


def test_progress_is_reported(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddbench.meter.reporter.PROGRESS_SECONDS", 0.0)
    seen: list[Progress] = []
    meter = Meter(Budget(seconds=8), clock, hooks=Hooks(progress=seen.append))
    walk(meter, clock, 100, seconds=2.0)
    assert seen == [Progress("distil", step, 100, 2.0 * step, 0.25 * step) for step in (0, 1, 2, 3, 4)]
    assert seen[2].stage == "distil 2/100"


def test_every_loop_reports_when_it_starts_and_only_the_main_one_counts_its_steps(clock: Any) -> None:
    seen: list[Progress] = []
    meter = Meter(Budget(seconds=100), clock, hooks=Hooks(progress=seen.append))
    for number in range(2):
        walk(meter, clock, 5, seconds=1.0, name=f"experts/{number}")
    walk(meter, clock, 4, seconds=1.0, result=an_artifact)
    assert [(at.stage, at.fraction) for at in seen] == [
        ("experts/0 0/5", 0.0), ("experts/1 0/5", 0.05), ("distil 0/4", 0.1),
    ]  # fmt: skip


def test_progress_has_the_values_that_were_read_last(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddbench.meter.reporter.PROGRESS_SECONDS", 0.0)
    seen: list[Progress] = []
    meter = Meter(FREE, clock, hooks=Hooks(progress=seen.append))
    for step in meter.steps(3, State()):
        meter.log(loss=torch.tensor(0.5 * step), lr=0.25)
    assert [at.logged for at in seen] == [{}, *({"loss": 0.5 * step, "lr": 0.25} for step in range(3))]


def test_what_enters_the_history_is_told_and_nothing_else(clock: Any) -> None:
    told: list[Logged] = []
    meter = Meter(FREE, clock, hooks=Hooks(logged=told.append))
    for step in meter.steps(1000, State(), name="experts/1"):
        meter.log(loss=2.0 * step)
    steps = [*range(201), *range(202, 401, 2), *range(404, 801, 4), *range(808, 1000, 8)]  # 200 points, then halved
    assert told == [Logged("experts", step, {"loss": 2.0 * step}) for step in steps]


def test_a_method_may_break_off(clock: Any) -> None:
    meter = Meter(FREE, clock)
    for step in meter.steps(10, State(), name="first"):
        clock.advance(1)
        if step == 3:
            break
    assert walk(meter, clock, 2) == [0, 1]
    meter.finish()
    assert meter.done == {"first": 3, "distil": 2}
    assert meter.charged == 6
    assert not meter.truncated


def test_the_first_step_that_has_a_result_is_counted_in_operations(clock: Any) -> None:
    meter = Meter(FREE, clock)
    left, right = torch.ones(2, 3), torch.ones(3, 4)
    for _ in meter.steps(2, State(), name="experts"):
        left @ right
    assert meter.flops_per_step is None
    for step in meter.steps(2, State(), an_artifact):
        for _ in range(step + 1):
            left @ right
    assert meter.flops_per_step == 2 * 2 * 3 * 4


def test_operations_are_counted_for_no_longer_than_that_step(clock: Any) -> None:
    counted = []
    for _ in Meter(FREE, clock).steps(2, State(), an_artifact):
        counted.append(counting())
    assert counted == [True, False]
    assert not counting()


def test_a_first_step_that_breaks_off_or_raises_is_no_longer_counted(clock: Any) -> None:
    broken, raised = Meter(FREE, clock), Meter(FREE, clock)
    for _ in broken.steps(2, State(), an_artifact):
        break
    assert not counting()
    with pytest.raises(KeyError) as error:  # noqa: PT012
        for _ in raised.steps(2, State(), an_artifact):
            raise KeyError
    assert error.tb is not None  # its frames are still there
    assert not counting()
    assert broken.flops_per_step is raised.flops_per_step is None


def test_a_process_clock_counts_work_forward() -> None:
    clock = clock_for(torch.device("cpu"))
    assert isinstance(clock, ProcessClock)
    before = clock.settle()
    sum(range(100_000))
    assert before < clock.tick() <= clock.settle()


# -- the cache ----------------------------------------------------------------------------------------------------


def maker(
    meter: Meter, clock: Any, n: int = 4, made: list[int] | None = None
) -> Callable[..., dict[str, torch.Tensor]]:
    """Experts of `n` steps, two seconds each."""

    def make(generator: torch.Generator) -> dict[str, torch.Tensor]:
        state = State(w=torch.zeros(2))
        for step in meter.steps(n, state, name="experts"):
            clock.advance(2)
            state.w += torch.rand(2, generator=generator)
            if made is not None:
                made.append(step)
        return {"w": state.w}

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", {"threads": 1})


def cached(clock: Any, cache: Cache | None, made: list[int], budget: Budget = FREE, **key: Any) -> tuple[Meter, Any]:
    meter = Meter(budget, clock, Generators("any"), cache=cache)
    tensors = meter.cached("experts", key, maker(meter, clock, made=made))
    meter.finish()
    return meter, tensors["w"]


def test_what_is_cached_is_made_once_and_charged_in_full_each_time(clock: Any, cache: Cache) -> None:
    made: list[int] = []
    first, w = cached(clock, cache, made)
    now = clock.now
    second, again = cached(clock, cache, made)
    assert made == [0, 1, 2, 3]
    assert clock.now == now
    assert torch.equal(w, again)
    for meter in (first, second):
        assert meter.seconds["experts"] == 8
        assert meter.charged == 8
        assert meter.done == meter.planned == {"experts": 4}
        assert not meter.truncated


def test_what_other_code_made_is_made_anew(clock: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    _, w = cached(clock, cache, made)
    monkeypatch.setattr("ddbench.meter.cache.source_digest", lambda make: "sha256:mended")
    _, again = cached(clock, cache, made)
    assert made == 2 * [0, 1, 2, 3]
    assert torch.equal(w, again)  # seeded alike


@pytest.mark.parametrize("budget", [Budget(steps=6), Budget(seconds=12)])
def test_cached_costs_count_against_the_budget(clock: Any, cache: Cache, budget: Budget) -> None:
    for _ in range(2):
        meter, _ = cached(clock, cache, [], budget)
        assert walk(meter, clock, 10, seconds=2) == [0, 1]
        assert meter.truncated


@pytest.mark.parametrize("budget", [Budget(steps=3), Budget(seconds=5)])
def test_what_the_budget_cut_short_is_not_stored(clock: Any, cache: Cache, budget: Budget) -> None:
    made: list[int] = []
    meter, _ = cached(clock, cache, made, budget)
    assert meter.truncated
    cached(clock, cache, made)
    assert made == [0, 1, 2, 0, 1, 2, 3]


@pytest.mark.parametrize("budget", [Budget(steps=3), Budget(seconds=5)])
def test_a_stored_entry_beyond_the_budget_is_cut_as_if_it_were_not_there(
    clock: Any, cache: Cache, budget: Budget
) -> None:
    without, w = cached(clock, None, [], budget)
    cached(clock, cache, [])
    with_entry, again = cached(clock, cache, [], budget)
    assert torch.equal(w, again)
    assert (with_entry.done, with_entry.seconds) == (without.done, without.seconds)
    assert with_entry.truncated


def test_without_a_cache_it_is_made_each_time(clock: Any) -> None:
    made: list[int] = []
    cached(clock, None, made)
    cached(clock, None, made)
    assert len(made) == 8


def test_the_key_decides_what_is_made(clock: Any, cache: Cache) -> None:
    made: list[int] = []
    _, w = cached(clock, cache, made, lr=0.1)
    _, other = cached(clock, cache, made, lr=0.2)
    assert len(made) == 8
    assert not torch.equal(w, other)


def test_the_tasks_seed_does_not(clock: Any) -> None:
    drawn = []
    for seed in (0, 1):
        generators = Generators("task", seed)
        torch.rand(seed, generator=generators.get("real"))
        meter = Meter(FREE, clock, generators)
        drawn.append(meter.cached("experts", {}, maker(meter, clock))["w"])
    assert torch.equal(*drawn)


def test_what_is_made_comes_detached_as_from_the_cache(clock: Any, cache: Cache) -> None:
    for _ in range(2):
        meter = Meter(FREE, clock, cache=cache)
        made = meter.cached("x", {}, lambda generator: {"w": torch.ones(1, requires_grad=True)})
        assert not made["w"].requires_grad


def test_two_caches_of_one_method_keep_their_loops_apart(clock: Any, cache: Cache) -> None:
    for _ in range(2):
        meter = Meter(FREE, clock, cache=cache)
        meter.cached("experts", {"n": 1}, maker(meter, clock))
        with pytest.raises(RuntimeError, match="loop 'experts' has run before"):
            meter.cached("experts", {"n": 2}, maker(meter, clock))


def test_a_loop_broken_off_inside_is_complete(clock: Any, cache: Cache) -> None:
    made = []

    def make(generator: torch.Generator) -> dict[str, torch.Tensor]:
        for step in meter.steps(10, State(), name="teacher"):
            made.append(step)
            if step == 1:
                break
        return {"w": torch.ones(1)}

    for _ in range(2):
        meter = Meter(FREE, clock, cache=cache)
        meter.cached("teacher", {}, make)
    assert made == [0, 1]
