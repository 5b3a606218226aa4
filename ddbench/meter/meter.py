"""The meter gives a method its steps, keeps the budget, resumes, takes snapshots, logs and detects divergence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddbench.compute.clock import AHEAD, Clock, ProcessClock
from ddbench.compute.environment import now
from ddbench.compute.generators import Generators, derive_seed, seeded
from ddbench.compute.memory import check_memory, peak_bytes
from ddbench.errors import Stopped
from ddbench.io.atomic import canonical_json
from ddbench.meter.cache import Cache, CachedTensors, with_source
from ddbench.meter.checkpoint import State
from ddbench.meter.counting import StepCounter
from ddbench.meter.hooks import Hooks, Progress
from ddbench.meter.log import Log
from ddbench.meter.phases import PhaseTimer
from ddbench.meter.reporter import Reporter
from ddbench.meter.resuming import Resumption, group_of, together
from ddbench.meter.snapshots import SNAPSHOTS, Snapshot, Snapshots
from ddbench.records.cell import Budget

if TYPE_CHECKING:
    from ddbench.artifacts.distilled_dataset import DistilledDataset


class Meter:
    """The meter counts what a run spends, stops its loops when the budget is spent, and lets it resume.

    Args:
        budget: limits on seconds, on steps over all loops and on peak bytes
        clock: process time on a CPU, device events on a GPU; tests inject a counting one
        generators: generators of the task, saved in every checkpoint and restored when a run resumes
        path: path of the checkpoint file; None keeps nothing
        every: wall seconds between checkpoints; more where writing one takes longer than a second
        cache: cache for `cached`; None computes every time
        seed: distillation seed, part of the key of everything that is cached
    """

    def __init__(
        self,
        budget: Budget,
        clock: Clock | None = None,
        generators: Generators | None = None,
        *,
        path: Path | None = None,
        every: float = 20.0,
        cache: Cache | None = None,
        hooks: Hooks | None = None,
        device: torch.device | None = None,
        seed: int = 0,
        snapshots: tuple[float, ...] = SNAPSHOTS,
    ) -> None:
        self.budget = budget
        self.attempts = 1
        self.started = now()  # of the first attempt
        self._hooks, self._cache, self._seed = hooks or Hooks(), cache, seed
        self._device = device or torch.device("cpu")
        self._generators = generators or Generators("unnamed")
        self.timer = PhaseTimer(clock or ProcessClock())
        self.counter = StepCounter(self.timer, budget.seconds)
        """counts the operations of the main loop's first step, unless its `total` is set before"""
        self._log, self._reporter = Log(self._hooks.logged), Reporter()
        self._snapshots = Snapshots(snapshots, self._hooks.snapshot, self._generators)
        self._resumption = Resumption(path, every, self._generators, self.timer, self._beside, self._device)
        self._open: str | None = None
        self._ticks = self._peak_before = 0
        self._resume()

    # -- what a method calls ------------------------------------------------------------------------------------
    def steps(
        self,
        n: int,
        state: State,
        result: Callable[[], DistilledDataset] | None = None,
        name: str = "distil",
    ) -> Iterator[int]:
        """Yield 0, 1, ... up to `n - 1`, or fewer when the budget ends first.

        Args:
            n: planned steps
            state: everything the loop changes; saved and restored
            result: function that returns the current artefact, called for snapshots with the clock stopped
            name: name of the loop, unique in a method; a loop that had finished before an interruption yields nothing.
                Loops `experts/0`, `experts/1`, ... are reported together, as `experts`
        """
        if self._open is not None:
            raise RuntimeError(f"loop {name!r} starts inside loop {self._open!r}; flatten them into one")
        self._keep_left()
        self._resumption.plan({name: n})
        start, finished = self._resumption.restore(name, state)
        if finished:
            return
        main = result is not None
        self._report(name, n, main)
        try:
            for step in range(start, n):
                check_memory(self.budget.peak_bytes, self._device)
                if self.budget.spent(self.charged, self._resumption.steps_done):
                    self._resumption.cut.add(name)
                    break
                if result is not None:
                    self._snapshot(result, step, n)
                self._open = name
                with self.counter.step() if main else nullcontext():
                    yield step
                self._open = None
                self._resumption.done[name] = step + 1
                self._after_step(name, state)
                self._report(name, n, main)
        except GeneratorExit:
            self._open = None
            self._resumption.leave(name, state)  # by the method or an error; its next call of the meter shows which
            return
        self.finish()
        self._resumption.keep(name, state, finished=True)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Charge the block to the phase `name`. It waits for the device at both ends: not for use in single steps."""
        return self.timer.phase(name)

    def cached(
        self,
        name: str,
        key: Mapping[str, Any],
        make: Callable[[torch.Generator], dict[str, Tensor]],
        device: torch.device | None = None,
    ) -> dict[str, Tensor]:
        """Return tensors that depend on `key` alone, computed once and charged in full to every run that uses them.

        Args:
            name: name of the phase they are charged to, e.g. `experts`
            key: everything that decides them except data, network, distillation seed, device, threads and versions,
                which are added
            make: function that computes them with a CPU generator seeded from the key; the digest of the file that
                defines it is added to the key. Its loops resume like any other. A result that the budget cut short is
                returned but not stored.
            device: where cached tensors are put; None is the run's device
        """
        key = {**key, "seed": self._seed}
        self._keep_left()
        with self.paused("cache"):
            entry = self._cache.get(name, with_source(key, make), device or self._device) if self._cache else None
        spent = self._resumption.steps_done
        if entry is None or not self.budget.affords(self.charged + entry.seconds, spent + sum(entry.steps.values())):
            return self._make(name, key, make)  # what the rest of the budget does not cover is cut at the same step
        self._resumption.plan(entry.steps)
        self._resumption.done.update(entry.steps)
        self.timer.charge(name, entry.seconds)
        self._resumption.forget(entry.steps)
        return entry.tensors

    def log(self, **values: Tensor | float) -> None:
        """Log values of this step, detached, without waiting for the device.

        A value that is not finite, or more than `log.EXPLODED` times its first one, ends the run: within the step on a
        CPU, at most eight steps later on a GPU, and before a snapshot is taken.
        """
        loop = group_of(self._open or self.timer.current)
        self._log.note(self._ticks, loop, self.done.get(loop, 0), values)

    # -- what the harness calls ---------------------------------------------------------------------------------

    def paused(self, name: str) -> AbstractContextManager[None]:
        """Do not charge the time of the block, but show it under `name`."""
        return self.timer.paused(name)

    def finish(self) -> None:
        """Charge the time since the last step and check the last logged values."""
        self.timer.settle()
        self._log.read(before=self._ticks + 1)

    @property
    def done(self) -> dict[str, int]:
        """Steps done, by name of the loop or of the loops reported together."""
        return together(self._resumption.done)

    @property
    def planned(self) -> dict[str, int]:
        """Planned steps, likewise."""
        return together(self._resumption.planned)

    @property
    def flops_per_step(self) -> int | None:
        """Operations of the first step of the main loop, which is the one with snapshots."""
        return self.counter.total

    @property
    def taken(self) -> list[Snapshot]:
        return self._snapshots.taken

    @property
    def peak_bytes(self) -> int:
        """Peak memory over all attempts."""
        return max(self._peak_before, peak_bytes(self._device))

    @property
    def truncated(self) -> bool:
        """True if the budget ended a loop before its planned steps."""
        return bool(self._resumption.cut)

    @property
    def history(self) -> dict[str, list[tuple[int, float]]]:
        """Logged values by name, thinned, as (step, value)."""
        return self._log.history

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds charged to the budget, by phase."""
        return self.timer.seconds

    @property
    def uncharged(self) -> dict[str, float]:
        """Seconds of snapshots, checkpoints, compilation, counting and the cache, not charged, by phase."""
        return self.timer.uncharged

    @property
    def charged(self) -> float:
        return self.timer.charged

    def _fraction(self, step: int, n: int) -> float:
        return min(1.0, max(step / n if n else 1.0, self.budget.share(self.charged, self._resumption.steps_done)))

    def _report(self, name: str, n: int, main: bool) -> None:
        if self._reporter.is_due(name):
            done = self._resumption.done[name]
            fraction = self._fraction(done if main else 0, n or 1)  # a side loop's end is not the run's
            self._hooks.progress(Progress(name, done, n, self.charged, fraction, self._log.latest(group_of(name))))

    def _after_step(self, name: str, state: State) -> None:
        self.timer.tick(name)
        self._ticks += 1
        self._log.read(before=self._ticks - (AHEAD if self._device.type == "cuda" else 0))
        stopping = self._hooks.stopping()
        if stopping or self._resumption.due:
            self._resumption.keep(name, state, finished=False)
        if stopping:
            raise Stopped

    def _snapshot(self, result: Callable[[], DistilledDataset], step: int, n: int) -> None:
        fraction = self._fraction(step, n)
        if self._snapshots.due(fraction):
            with self.paused("snapshots"):
                self._log.read(before=self._ticks + 1)  # so that every snapshot is of a sound run
                self._snapshots.take(result, fraction, step, self.charged)

    def _resume(self) -> None:
        if (saved := self._resumption.read()) is not None:
            self._log.history = saved["history"]
            self.timer.uncharged = saved["uncharged"]
            self._snapshots.restore(saved["album"])  # its name in checkpoints from before
            self.attempts = saved["attempts"] + 1
            self.started, self._peak_before = saved["started"], saved["peak_bytes"]
            self.counter.total, self.counter.first = saved["flops_per_step"], saved.get("first_step")
            self.timer.remember(saved.get("usual", 0.0))

    def _beside(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the loops."""
        return {
            "history": self.history,
            "uncharged": self.uncharged,
            "album": self._snapshots.describe(),
            "attempts": self.attempts,
            "started": self.started,
            "peak_bytes": self.peak_bytes,
            "flops_per_step": self.flops_per_step,
            "first_step": self.counter.first,
            "usual": self.timer.usual,
        }

    def _keep_left(self) -> None:
        if self._resumption.left:
            self.finish()
            self._resumption.keep_left()

    def _make(
        self, name: str, key: Mapping[str, Any], make: Callable[[torch.Generator], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        text = canonical_json(key).decode()
        generator = seeded(derive_seed(name, text))
        self._generators.adopt(f"cached:{name}:{text}", generator)
        already, earlier = self.seconds.get(name, 0.0), set(self._resumption.planned)
        with self.phase(name):
            tensors = {part: tensor.detach() for part, tensor in make(generator).items()}
            self._keep_left()
            self._generators.drop(f"cached:{name}:{text}")
        steps = {loop: done for loop, done in self._resumption.done.items() if loop not in earlier}
        if self._cache is not None and self._resumption.cut.isdisjoint(steps):
            made = CachedTensors(tensors, self.seconds[name] - already, steps)
            with self.paused("cache"):
                self._cache.put(name, with_source(key, make), made)
            self._resumption.forget(steps)
        return tensors
