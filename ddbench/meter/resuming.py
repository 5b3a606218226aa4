"""The progress of each loop of a run, in memory and on disk, from which an interrupted run continues."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ddbench.compute.generators import Generators
from ddbench.meter import checkpoint
from ddbench.meter.checkpoint import State
from ddbench.meter.phases import PhaseTimer


def group_of(loop: str) -> str:
    """Return the name under which a loop is reported: `experts` for `experts/3`."""
    return loop.partition("/")[0]


def together(steps: Mapping[str, int]) -> dict[str, int]:
    """Add up the steps of loops that are reported together."""
    total = dict[str, int]()
    for loop, count in steps.items():
        total[group_of(loop)] = total.get(group_of(loop), 0) + count
    return total


class Resumption:
    """The loops of a run, and one checkpoint file with their last states.

    Args:
        path: path of the file; None keeps nothing
        every: wall seconds between checkpoints; more where writing one takes longer than a second
        generators: generators that are saved and restored with every loop
        timer: its seconds are saved and restored too; writing is not charged
        beside: function that returns what else an interrupted run needs, called at every write
        device: device of the run
    """

    def __init__(
        self,
        path: Path | None,
        every: float,
        generators: Generators,
        timer: PhaseTimer,
        beside: Callable[[], dict[str, Any]],
        device: torch.device,
    ) -> None:
        self.done: dict[str, int] = {}
        """steps done, by loop"""
        self.planned: dict[str, int] = {}
        self.cut: set[str] = set()
        """loops that the budget ended"""
        self._path, self._every, self._beside, self._device = path, every, beside, device
        self._generators, self._timer = generators, timer
        self._loops: dict[str, dict[str, Any]] = {}
        """states of finished loops, and of the unfinished one until it continues"""
        self._left: tuple[str, dict[str, Any]] | None = None
        self._written, self._wait = time.monotonic(), every

    @property
    def steps_done(self) -> int:
        return sum(self.done.values())

    @property
    def due(self) -> bool:
        """True if it is time for a checkpoint."""
        return self._path is not None and time.monotonic() - self._written >= self._wait

    @property
    def left(self) -> bool:
        """True if a loop was left early and the meter has not been called since."""
        return self._left is not None

    def read(self) -> dict[str, Any] | None:
        """Read an earlier attempt's loops, and return what was kept beside them; None where there is no checkpoint."""
        saved = checkpoint.load(self._path, self._device) if self._path else None
        if saved is not None:
            self._loops = saved.pop("loops")
        return saved

    def plan(self, loops: Mapping[str, int]) -> None:
        """Record the planned steps of new loops."""
        for name in loops:
            if name in self.planned:
                raise RuntimeError(f"loop {name!r} has run before; give every loop of a method a name of its own")
        self.planned.update(loops)

    def restore(self, name: str, state: State) -> tuple[int, bool]:
        """Restore a loop; return its next step, and whether it had finished.

        The time until here is not charged twice.
        """
        loop = self._loops.get(name)
        self.done[name] = loop["step"] if loop else 0
        if loop is None:
            return 0, False
        checkpoint.restore(state, checkpoint.copied(loop["state"]) if loop["finished"] else loop["state"])
        self._generators.set_state(loop["generators"])
        self._timer.restore(loop["seconds"])
        if not loop["finished"]:
            del self._loops[name]
        if loop["cut"]:
            self.cut.add(name)
        return loop["step"], loop["finished"]

    def keep(self, name: str, state: State, finished: bool) -> None:
        """Write a checkpoint with this loop's current state."""
        if self._path is not None:
            with self._timer.paused("checkpoints"):
                if finished:
                    self._loops[name] = self._entry(name, checkpoint.capture(state), finished)
                    self._write(self._loops)
                else:
                    self._write({**self._loops, name: self._entry(name, checkpoint.contents(state), finished)})

    def leave(self, name: str, state: State) -> None:
        """Remember a loop that was left early; what follows shows whether the method or an error ended it."""
        if self._path is not None:
            with self._timer.paused("checkpoints"):
                self._left = name, self._entry(name, checkpoint.capture(state), finished=True)

    def keep_left(self) -> None:
        """Mark the loop that was left early as finished, since the method has continued after it."""
        if self._left is not None:
            (name, entry), self._left = self._left, None
            with self._timer.paused("checkpoints"):
                self._loops[name] = entry
                self._write(self._loops)

    def forget(self, loops: Iterable[str]) -> None:
        """Drop the states of loops whose result is in the cache."""
        for name in loops:
            self._loops.pop(name, None)

    def _entry(self, name: str, state: dict[str, Any], finished: bool) -> dict[str, Any]:
        return {
            "step": self.done[name],
            "finished": finished,
            "cut": name in self.cut,
            "state": state,
            "generators": self._generators.get_state(),
            "seconds": dict(self._timer.seconds),
        }

    def _write(self, loops: dict[str, dict[str, Any]]) -> None:
        assert self._path is not None
        began = time.monotonic()
        checkpoint.save(self._path, {"loops": loops, **self._beside()})
        self._written = time.monotonic()
        self._wait = self._every * max(1.0, self._written - began)
