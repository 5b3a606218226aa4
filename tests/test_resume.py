"""A run that was interrupted and resumed equals an unbroken one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.generators import Generators
from ddbench.meter.cache import Cache
from ddbench.meter.checkpoint import State
from ddbench.meter.hooks import Hooks
from ddbench.meter.meter import Meter, Snapshot
from ddbench.records.cell import Budget

FREE = Budget()


class Interrupted(Exception):
    """Stands for a kill."""


@dataclass
class Program:
    """A method of two loops: experts inside `cached`, then synthetic images that walk to them."""

    clock: Any
    stops: set[tuple[str, int]] = field(default_factory=set)
    """where it is interrupted, once each"""
    kept: dict[int, bytes] = field(default_factory=dict)
    attempts: int = 0

    def run(self, path: Path | None, cache: Cache | None, budget: Budget = FREE) -> tuple[Meter, State]:
        self.attempts += 1
        generators = Generators("task", 0)
        hooks = Hooks(snapshot=lambda index, artifact: self.kept.update({index: artifact.to_bytes()}))
        meter = Meter(budget, self.clock, generators, path=path, every=0, cache=cache, hooks=hooks)
        target = meter.cached("experts", {"n": 3}, lambda generator: {"w": self.experts(meter, generator)})["w"]
        images = torch.randn(1, 1, 2, 2, generator=generators.get("init")).requires_grad_()
        optimizer = torch.optim.SGD([images], lr=0.1, momentum=0.5)
        state = State(images=images, optimizer=optimizer, seen=[], weights={"w": torch.zeros(2)})

        def result() -> DistilledDataset:
            torch.rand(1, generator=generators.get("noise"))
            return DistilledDataset.pixels(state.images, torch.zeros(1, dtype=torch.int64))

        for step in meter.steps(6, state, result):
            self.clock.advance(3)
            noise = torch.rand(2, 2, generator=generators.get("noise"))
            optimizer.zero_grad()
            loss = ((images - target + noise) ** 2).sum()
            loss.backward()
            optimizer.step()
            state.weights["w"] += noise[0]
            state.seen.append(float(noise.sum()))
            meter.log(loss=loss)
            self.perhaps_stop("distil", step)
        meter.finish()
        return meter, state

    def experts(self, meter: Meter, generator: torch.Generator) -> torch.Tensor:
        state = State(w=torch.zeros(2, 2), order=[0])
        for step in meter.steps(3, state, name="experts"):
            self.clock.advance(2)
            state.w += len(state.order) * torch.rand(2, 2, generator=generator)
            state.order.append(step)
            self.perhaps_stop("experts", step)
        return state.w

    def perhaps_stop(self, loop: str, step: int) -> None:
        if (loop, step) in self.stops:
            self.stops.remove((loop, step))
            raise Interrupted

    def carry_through(self, path: Path | None, cache: Cache | None, budget: Budget = FREE) -> tuple[Meter, State]:
        while True:
            try:
                return self.run(path, cache, budget)
            except Interrupted:
                continue


def outcome(meter: Meter, state: State) -> dict[str, Any]:
    return {
        "images": state.images.tolist(),
        "weights": state.weights["w"].tolist(),
        "momentum": state.optimizer.state_dict()["state"][0]["momentum_buffer"].tolist(),
        "seen": state.seen,
        "done": meter.done,
        "planned": meter.planned,
        "seconds": meter.seconds,
        "taken": meter.taken,
        "history": meter.history,
        "truncated": meter.truncated,
    }


STOPS = [("experts", step) for step in range(3)] + [("distil", step) for step in range(6)]


@pytest.fixture
def unbroken(clock: Any) -> tuple[dict[str, Any], dict[int, bytes]]:
    program = Program(clock)
    return outcome(*program.run(None, None)), program.kept


def test_the_unbroken_program_is_as_computed_by_hand(unbroken: tuple[dict[str, Any], dict[int, bytes]]) -> None:
    result, kept = unbroken
    assert result["done"] == {"experts": 3, "distil": 6}
    assert result["seconds"] == {"distil": 18, "experts": 6}
    # before steps 0, 1 (1/6), 2 (1/3), 3 (1/2) and 5 (5/6), after 6 seconds of experts
    assert result["taken"] == [Snapshot(step, 6.0 + 3 * step) for step in (0, 1, 2, 3, 5)]
    assert sorted(kept) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("with_cache", [True, False])
@pytest.mark.parametrize("stop", STOPS, ids=str)
def test_an_interrupted_run_equals_an_unbroken_one(
    clock: Any,
    tmp_path: Path,
    unbroken: tuple[dict[str, Any], dict[int, bytes]],
    stop: tuple[str, int],
    with_cache: bool,
) -> None:
    program = Program(clock, {stop})
    cache = Cache(tmp_path / "cache", {}) if with_cache else None
    meter, state = program.carry_through(tmp_path / "checkpoint.pt", cache)
    assert program.attempts == 2
    assert outcome(meter, state) == unbroken[0]
    assert program.kept == unbroken[1]


@pytest.mark.parametrize("with_cache", [True, False])
def test_a_run_interrupted_at_every_step_equals_an_unbroken_one(
    clock: Any, tmp_path: Path, unbroken: tuple[dict[str, Any], dict[int, bytes]], with_cache: bool
) -> None:
    program = Program(clock, set(STOPS))
    cache = Cache(tmp_path / "cache", {}) if with_cache else None
    meter, state = program.carry_through(tmp_path / "checkpoint.pt", cache)
    assert outcome(meter, state) == unbroken[0]
    assert program.kept == unbroken[1]
    assert meter.attempts == len(STOPS)  # the first left no checkpoint


@pytest.mark.parametrize("budget", [Budget(steps=2), Budget(steps=7), Budget(seconds=17)], ids=str)
def test_a_run_cut_short_is_resumed_as_cut_short(clock: Any, tmp_path: Path, budget: Budget) -> None:
    whole = Program(clock)
    path = tmp_path / "checkpoint.pt"
    meter, state = whole.run(path, None, budget)
    again, restored = whole.run(path, None, budget)
    assert meter.truncated
    assert again.truncated
    assert (again.done, again.seconds, again.taken) == (meter.done, meter.seconds, meter.taken)
    assert torch.equal(restored.images, state.images)


def test_a_finished_loop_yields_nothing_and_keeps_its_last_state(clock: Any, tmp_path: Path) -> None:
    program = Program(clock)
    first = outcome(*program.run(tmp_path / "c.pt", None))
    now = clock.now
    assert outcome(*program.run(tmp_path / "c.pt", None)) == first
    assert clock.now == now


def test_a_loop_that_was_broken_off_stays_so(clock: Any, tmp_path: Path) -> None:
    def run(stop: int) -> tuple[list[int], list[int], Meter]:
        meter = Meter(FREE, clock, path=tmp_path / "c.pt", every=0)
        first, second = State(seen=[]), State(seen=[])
        for step in meter.steps(10, first, name="first"):
            clock.advance(1)
            first.seen.append(step)
            if step == 2:
                break
        first.seen.append(99)  # after the loop, so it is done again
        for step in meter.steps(3, second):
            clock.advance(1)
            if step == stop:
                raise Interrupted
            second.seen.append(step)
        meter.finish()
        return first.seen, second.seen, meter

    for stop in (0, 2):
        with pytest.raises(Interrupted):
            run(stop)
    first, second, meter = run(-1)
    assert (first, second) == ([0, 1, 2, 99], [0, 1, 2])
    assert meter.done == {"first": 2, "distil": 3}
    assert meter.seconds == {"distil": 6}


def test_a_run_interrupted_in_its_only_step_is_not_finished(clock: Any, tmp_path: Path) -> None:
    def steps(fail: bool) -> Iterator[int]:
        meter = Meter(FREE, clock, path=tmp_path / "c.pt", every=0)
        for step in meter.steps(1, State()):
            if fail:
                raise Interrupted
            yield step

    with pytest.raises(Interrupted):
        list(steps(fail=True))
    assert list(steps(fail=False)) == [0]


def test_without_a_path_nothing_is_kept(clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Program(clock).run(None, None)
    assert list(tmp_path.iterdir()) == []
