"""What the harness hears of a meter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddbench.artifacts.distilled_dataset import DistilledDataset


@dataclass(frozen=True)
class Progress:
    loop: str
    step: int
    planned: int
    seconds: float
    fraction: float
    """share of the budget, or of the main loop's planned steps if that is larger"""
    logged: Mapping[str, float] = field(default_factory=dict)
    """the values that were read last of those that the method has logged"""

    @property
    def stage(self) -> str:
        """The loop and how far it is: `distil 12/200`."""
        return f"{self.loop} {self.step}/{self.planned}"


@dataclass(frozen=True)
class Logged:
    """Values that a method has logged in one step, and that its record keeps, at least for the time being."""

    loop: str
    """name of the loop, or of the loops reported together"""
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Hooks:
    """Functions that take snapshots and progress, and one that asks for a stop."""

    snapshot: Callable[[int, DistilledDataset], str | None] = lambda index, artifact: None
    """function that keeps a snapshot and returns the digest of its file"""
    progress: Callable[[Progress], None] = lambda progress: None
    stopping: Callable[[], bool] = lambda: False
    """function called after every step; if true, the run writes a checkpoint and raises `Stopped`"""
    logged: Callable[[Logged], None] = lambda logged: None
    """function told what enters the log, some steps later on a GPU"""
