"""The meter: a method asks it for steps; it keeps the budget, resumes, snapshots, logs and notices divergence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddbench import checkpoint
from ddbench.artifact import DistilledDataset
from ddbench.cache import Cache, Entry
from ddbench.checkpoint import State
from ddbench.clock import AHEAD, Clock, ProcessClock
from ddbench.files import canonical_json
from ddbench.flops import FlopCounter
from ddbench.generators import Generators, derive_seed, seeded
from ddbench.ledger import Ledger
from ddbench.logbook import Logbook
from ddbench.memory import OutOfMemoryBudget, peak_bytes
from ddbench.records import Budget

SNAPSHOTS = (0.0, 0.1, 0.25, 0.5, 0.75)
"""fractions of the budget at which the artefact in the making is kept; the finished one is the last point"""
PROGRESS_SECONDS = 0.2


@dataclass(frozen=True)
class Snapshot:
    step: int
    seconds: float
    """charged up to here"""


@dataclass(frozen=True)
class Progress:
    loop: str
    step: int
    planned: int
    seconds: float
    fraction: float
    """of the budget, or of the planned steps where that is further"""


@dataclass(frozen=True)
class Hooks:
    """Where snapshots and progress go."""

    snapshot: Callable[[int, DistilledDataset], None] = lambda index, artifact: None
    progress: Callable[[Progress], None] = lambda progress: None


class Meter:
    """What may be spent and what was.

    Args:
        budget: seconds, steps over all loops, peak bytes
        clock: process time on a CPU, device events on a GPU; tests inject a counting one
        generators: the task's; saved in every checkpoint and put back when a run resumes
        path: of the checkpoint file; None keeps nothing
        every: wall seconds between checkpoints; more where writing one takes longer than a second
        cache: for `cached`; None computes every time
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
        snapshots: tuple[float, ...] = SNAPSHOTS,
    ) -> None:
        self.budget = budget
        self.done: dict[str, int] = {}
        self.planned: dict[str, int] = {}
        self.taken: list[Snapshot] = []
        self.attempts = 1
        self.flops_per_step: int | None = None
        """operations of the first step of the main loop, the one that has snapshots"""
        self._ledger = Ledger(clock or ProcessClock())
        self._generators = generators or Generators("unnamed")
        self._path, self._every, self._cache = path, every, cache
        self._hooks, self._device = hooks or Hooks(), device or torch.device("cpu")
        self._fractions = snapshots
        self._open: str | None = None
        self._passed = 0
        self._ticks = 0
        self._log = Logbook()
        self._loops: dict[str, dict[str, Any]] = {}
        self._left: tuple[str, dict[str, Any]] | None = None
        self._cut: set[str] = set()
        self._resume()
        self._checkpointed = self._shown = time.monotonic()
        self._wait = every

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
            result: the artefact as it stands, asked for snapshots with the clock stopped
            name: of the loop, unique within a method; a loop that had finished before an interruption yields nothing
        """
        if self._open is not None:
            raise RuntimeError(f"loop {name!r} starts inside loop {self._open!r}; flatten them into one")
        self._keep_left()
        self._plan({name: n})
        start = self.done[name] = self._restore_loop(name, state)
        if self._loops.get(name, {}).get("finished"):
            return
        try:
            for step in range(start, n):
                if self._spent():
                    self._cut.add(name)
                    break
                if result is not None:
                    self._snapshot(result, step, n)
                self._open = name
                if self.flops_per_step is None and result is not None:
                    with FlopCounter() as counter:
                        yield step
                    self.flops_per_step = counter.total
                else:
                    yield step
                self._open = None
                self.done[name] = step + 1
                self._after_step(name, state, n)
        except GeneratorExit:
            # The method broke off, or its step raised; which of the two, only its next call of the meter tells.
            self._open = None
            self._leave(name, state)
            return
        self.finish()
        self._checkpoint(name, state, finished=True)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Charge what happens inside to the phase `name`. Waits for the device at both ends: not for single steps."""
        return self._ledger.phase(name)

    def cached(
        self, name: str, key: Mapping[str, Any], make: Callable[[torch.Generator], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Tensors that depend on `key` alone: computed once, charged in full to every run that uses them.

        Args:
            name: of the phase they are charged to, e.g. `experts`
            key: everything that decides them but data, network, device, threads and versions, which are added
            make: computes them with a CPU generator seeded from the key; its loops resume like any other. What the
                budget cuts short is returned but not stored.
        """
        self._keep_left()
        with self.paused("cache"):
            entry = self._cache.get(name, key, self._device) if self._cache else None
        if entry is None or not self._affords(entry):
            return self._make(name, key, make)
        self._plan(entry.steps)
        self.done.update(entry.steps)
        self.seconds[name] = self.seconds.get(name, 0.0) + entry.seconds
        self._forget(entry.steps)
        return entry.tensors

    def log(self, **values: Tensor | float) -> None:
        """Note values of this step, detached; the device is not waited for. One that is not finite ends the run."""
        loop = self._open or self._ledger.current
        self._log.note(self._ticks, loop, self.done.get(loop, 0), values)

    # -- what the harness calls ---------------------------------------------------------------------------------

    def paused(self, name: str) -> AbstractContextManager[None]:
        """Time spent inside is shown under `name` and not charged."""
        return self._ledger.paused(name)

    def finish(self) -> None:
        """Charge what is left and check the last logged values."""
        self._ledger.settle()
        self._log.read(before=self._ticks + 1)

    @property
    def truncated(self) -> bool:
        """Whether the budget ended a loop before its planned steps."""
        return bool(self._cut)

    @property
    def history(self) -> dict[str, list[tuple[int, float]]]:
        """Logged values by name, thinned, as (step, value)."""
        return self._log.history

    @property
    def seconds(self) -> dict[str, float]:
        """Charged to the budget, by phase."""
        return self._ledger.seconds

    @property
    def uncharged(self) -> dict[str, float]:
        """Snapshots, checkpoints and the cache."""
        return self._ledger.uncharged

    @property
    def charged(self) -> float:
        return self._ledger.charged

    # -- budget -------------------------------------------------------------------------------------------------

    def _spent(self) -> bool:
        budget = self.budget
        if budget.peak_bytes is not None and (peak := peak_bytes(self._device)) > budget.peak_bytes:
            raise OutOfMemoryBudget(f"{peak:,} bytes in use, the budget allows {budget.peak_bytes:,}")
        return (budget.seconds is not None and self.charged >= budget.seconds) or (
            budget.steps is not None and sum(self.done.values()) >= budget.steps
        )

    def _affords(self, entry: Entry) -> bool:
        """Whether it fits into what is left; if not, it is made anew, so that the budget cuts it at the same step."""
        seconds, steps = self.charged + entry.seconds, sum(self.done.values()) + sum(entry.steps.values())
        budget = self.budget
        return (budget.seconds is None or seconds <= budget.seconds) and (budget.steps is None or steps <= budget.steps)

    def _plan(self, loops: Mapping[str, int]) -> None:
        for name in loops:
            if name in self.planned:
                raise RuntimeError(f"loop {name!r} has run before; give every loop of a method a name of its own")
        self.planned.update(loops)

    def _fraction(self, step: int, n: int) -> float:
        parts = [step / n if n else 1.0]
        if self.budget.seconds is not None:
            parts.append(self.charged / self.budget.seconds)
        if self.budget.steps is not None:
            parts.append(sum(self.done.values()) / self.budget.steps)
        return min(1.0, max(parts))

    def _after_step(self, name: str, state: State, n: int) -> None:
        self._ledger.tick()
        self._ticks += 1
        self._log.read(before=self._ticks - (AHEAD if self._device.type == "cuda" else 0))
        now = time.monotonic()
        if now - self._shown >= PROGRESS_SECONDS:
            self._shown = now
            done = self.done[name]
            self._hooks.progress(Progress(name, done, n, self.charged, self._fraction(done, n)))
        if self._path is not None and now - self._checkpointed >= self._wait:
            self._checkpoint(name, state, finished=False)

    # -- snapshots ----------------------------------------------------------------------------------------------

    def _snapshot(self, result: Callable[[], DistilledDataset], step: int, n: int) -> None:
        due = sum(fraction <= self._fraction(step, n) for fraction in self._fractions)
        if due <= self._passed:
            return
        with self.paused("snapshots"):
            states = self._generators.get_state()
            self._hooks.snapshot(len(self.taken), result())
            self._generators.set_state(states)
        self.taken.append(Snapshot(step, self.charged))
        self._passed = due

    # -- resuming -----------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        saved = checkpoint.load(self._path) if self._path else None
        if saved is None:
            return
        self._loops = saved["loops"]
        self._log.history = saved["history"]
        self._ledger.uncharged = saved["uncharged"]
        self.taken = [Snapshot(*pair) for pair in saved["taken"]]
        self._passed = saved["passed"]
        self.attempts = saved["attempts"] + 1
        self.flops_per_step = saved["flops_per_step"]

    def _restore_loop(self, name: str, state: State) -> int:
        """Put back the loop as it was and return its next step; what led up to it is not charged twice."""
        loop = self._loops.get(name)
        if loop is None:
            return 0
        checkpoint.restore(state, loop["state"])
        self._generators.set_state(loop["generators"])
        self._ledger.restore(loop["seconds"])
        if loop["cut"]:
            self._cut.add(name)
        step: int = loop["step"]
        return step

    def _checkpoint(self, name: str, state: State, finished: bool) -> None:
        if self._path is None:
            return
        began = time.monotonic()
        with self.paused("checkpoints"):
            self._loops[name] = self._entry(name, state, finished)
            self._save(self._path)
        self._checkpointed = time.monotonic()
        self._wait = self._every * max(1.0, self._checkpointed - began)

    def _leave(self, name: str, state: State) -> None:
        if self._path is not None:
            with self.paused("checkpoints"):
                self._left = name, self._entry(name, state, finished=True)

    def _keep_left(self) -> None:
        """The method went on after a loop that it had broken off: that loop is finished."""
        if self._left is None or self._path is None:
            return
        (name, entry), self._left = self._left, None
        self.finish()
        with self.paused("checkpoints"):
            self._loops[name] = entry
            self._save(self._path)

    def _entry(self, name: str, state: State, finished: bool) -> dict[str, Any]:
        return {
            "step": self.done[name],
            "finished": finished,
            "cut": name in self._cut,
            "state": checkpoint.capture(state),
            "generators": self._generators.get_state(),
            "seconds": dict(self.seconds),
        }

    def _forget(self, loops: Iterable[str]) -> None:
        """Drop the states of loops whose outcome the cache keeps."""
        for name in loops:
            self._loops.pop(name, None)

    def _save(self, path: Path) -> None:
        content = {
            "loops": self._loops,
            "history": self.history,
            "uncharged": self.uncharged,
            "taken": [(snapshot.step, snapshot.seconds) for snapshot in self.taken],
            "passed": self._passed,
            "attempts": self.attempts,
            "flops_per_step": self.flops_per_step,
        }
        checkpoint.save(path, content)

    def _make(
        self, name: str, key: Mapping[str, Any], make: Callable[[torch.Generator], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        text = canonical_json(key).decode()
        generator = seeded(derive_seed(name, text))
        self._generators.adopt(f"cached:{name}:{text}", generator)
        already, earlier = self.seconds.get(name, 0.0), set(self.planned)
        with self.phase(name):
            tensors = {part: tensor.detach() for part, tensor in make(generator).items()}
            self._keep_left()
        steps = {loop: self.done[loop] for loop in self.planned if loop not in earlier}
        if self._cache is not None and self._cut.isdisjoint(steps):
            with self.paused("cache"):
                self._cache.put(name, key, Entry(tensors, self.seconds[name] - already, steps))
            self._forget(steps)
        return tensors
