"""The meter: a method asks it for steps; it keeps the budget, resumes, snapshots, logs and notices divergence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddbench.compute.clock import AHEAD, Clock, ProcessClock
from ddbench.compute.environment import now
from ddbench.compute.flops import FlopCounter
from ddbench.compute.generators import Generators, derive_seed, seeded
from ddbench.compute.memory import peak_bytes
from ddbench.errors import Stopped
from ddbench.io.atomic import canonical_json
from ddbench.meter.allowance import Allowance
from ddbench.meter.cache import Cache, CachedTensors
from ddbench.meter.checkpoint import State
from ddbench.meter.log import Log
from ddbench.meter.phases import PhaseTimer
from ddbench.meter.resuming import Resumption
from ddbench.meter.snapshots import SNAPSHOTS, Snapshot, Snapshots
from ddbench.records.schema import Budget
from ddbench.records.source_digest import source_digest

if TYPE_CHECKING:
    from ddbench.artifacts.distilled_dataset import DistilledDataset

PROGRESS_SECONDS = 0.2


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
    """Where snapshots and progress go, and where a stop comes from."""

    snapshot: Callable[[int, DistilledDataset], str | None] = lambda index, artifact: None
    """keeps one and gives the digest of its file"""
    progress: Callable[[Progress], None] = lambda progress: None
    stopping: Callable[[], bool] = lambda: False
    """asked after every step; then the run is checkpointed and left by `Stopped`"""


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
        self.attempts = 1
        self.started = now()
        """the first of the attempts"""
        self.flops_per_step: int | None = None
        """operations of the first step of the main loop, the one that has snapshots"""
        self._hooks, self._cache, self._device = hooks or Hooks(), cache, device or torch.device("cpu")
        self._generators = generators or Generators("unnamed")
        self._allowance = Allowance(budget, self._device)
        self._ledger = PhaseTimer(clock or ProcessClock())
        self._log = Log()
        self._album = Snapshots(snapshots, self._hooks.snapshot, self._generators)
        self._journal = Resumption(path, every, self._generators, self._ledger, self._beside, self._device)
        self._open: str | None = None
        self._ticks = 0
        self._peak_before = 0
        self._shown = time.monotonic()
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
            result: the artefact as it stands, asked for snapshots with the clock stopped
            name: of the loop, unique within a method; a loop that had finished before an interruption yields nothing
        """
        if self._open is not None:
            raise RuntimeError(f"loop {name!r} starts inside loop {self._open!r}; flatten them into one")
        self._keep_left()
        self._journal.plan({name: n})
        start, finished = self._journal.restore(name, state)
        if finished:
            return
        try:
            for step in range(start, n):
                if self._allowance.spent(self.charged, self._journal.steps_done):
                    self._journal.cut.add(name)
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
            self._journal.leave(name, state)
            return
        self.finish()
        self._journal.keep(name, state, finished=True)

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
            make: computes them with a CPU generator seeded from the key; the digest of the file that defines it is
                added too. Its loops resume like any other. What the budget cuts short is returned but not stored.
        """
        self._keep_left()
        with self.paused("cache"):
            entry = self._cache.get(name, _with_source(key, make), self._device) if self._cache else None
        if entry is None or not self._affords(entry):
            return self._make(name, key, make)
        self._journal.plan(entry.steps)
        self.done.update(entry.steps)
        self.seconds[name] = self.seconds.get(name, 0.0) + entry.seconds
        self._journal.forget(entry.steps)
        return entry.tensors

    def log(self, **values: Tensor | float) -> None:
        """Note values of this step, detached; the device is not waited for.

        One that is not finite, or `logbook.EXPLODED` times beyond its first, ends the run: within the step on a CPU,
        at most eight steps later on a GPU, and before a snapshot is taken.
        """
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
    def done(self) -> dict[str, int]:
        """Steps by loop."""
        return self._journal.done

    @property
    def planned(self) -> dict[str, int]:
        """Steps by loop."""
        return self._journal.planned

    @property
    def taken(self) -> list[Snapshot]:
        return self._album.taken

    @property
    def peak_bytes(self) -> int:
        """The most memory that any attempt held."""
        return max(self._peak_before, peak_bytes(self._device))

    @property
    def truncated(self) -> bool:
        """Whether the budget ended a loop before its planned steps."""
        return bool(self._journal.cut)

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
        """Snapshots, checkpoints, compilation and the cache, by phase."""
        return self._ledger.uncharged

    @property
    def charged(self) -> float:
        return self._ledger.charged

    # -- budget -------------------------------------------------------------------------------------------------

    def _affords(self, entry: CachedTensors) -> bool:
        """Whether it fits into what is left; if not, it is made anew, so that the budget cuts it at the same step."""
        steps = self._journal.steps_done + sum(entry.steps.values())
        return self._allowance.affords(self.charged + entry.seconds, steps)

    def _fraction(self, step: int, n: int) -> float:
        return min(1.0, max(step / n if n else 1.0, self._allowance.share(self.charged, self._journal.steps_done)))

    def _after_step(self, name: str, state: State, n: int) -> None:
        self._ledger.tick()
        self._ticks += 1
        self._log.read(before=self._ticks - (AHEAD if self._device.type == "cuda" else 0))
        moment = time.monotonic()
        if moment - self._shown >= PROGRESS_SECONDS:
            self._shown = moment
            done = self.done[name]
            self._hooks.progress(Progress(name, done, n, self.charged, self._fraction(done, n)))
        stopping = self._hooks.stopping()
        if stopping or self._journal.due:
            self._journal.keep(name, state, finished=False)
        if stopping:
            raise Stopped

    def _snapshot(self, result: Callable[[], DistilledDataset], step: int, n: int) -> None:
        fraction = self._fraction(step, n)
        if self._album.due(fraction):
            with self.paused("snapshots"):
                self._log.read(before=self._ticks + 1)  # so that every snapshot is of a sound run
                self._album.take(result, fraction, step, self.charged)

    def _resume(self) -> None:
        saved = self._journal.read()
        if saved is not None:
            self._log.history = saved["history"]
            self._ledger.uncharged = saved["uncharged"]
            self._album.restore(saved["album"])
            self.attempts = saved["attempts"] + 1
            self.started, self._peak_before = saved["started"], saved["peak_bytes"]
            self.flops_per_step = saved["flops_per_step"]

    def _beside(self) -> dict[str, Any]:
        """What the journal keeps beside the loops."""
        return {
            "history": self.history,
            "uncharged": self.uncharged,
            "album": self._album.describe(),
            "attempts": self.attempts,
            "started": self.started,
            "peak_bytes": self.peak_bytes,
            "flops_per_step": self.flops_per_step,
        }

    def _keep_left(self) -> None:
        if self._journal.left:
            self.finish()
            self._journal.keep_left()

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
        if self._cache is not None and self._journal.cut.isdisjoint(steps):
            with self.paused("cache"):
                self._cache.put(
                    name, _with_source(key, make), CachedTensors(tensors, self.seconds[name] - already, steps)
                )
            self._journal.forget(steps)
        return tensors


def _with_source(key: Mapping[str, Any], make: Callable[..., Any]) -> dict[str, Any]:
    """Of a cache's entry; generators are seeded from the key alone, so that a mended comment draws the same."""
    return {**key, "source": source_digest(make)}
