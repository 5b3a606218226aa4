"""What the harness hears of a meter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    """share of the budget, or of the planned steps if that is larger"""


@dataclass(frozen=True)
class Hooks:
    """Functions that take snapshots and progress, and one that asks for a stop."""

    snapshot: Callable[[int, DistilledDataset], str | None] = lambda index, artifact: None
    """function that keeps a snapshot and returns the digest of its file"""
    progress: Callable[[Progress], None] = lambda progress: None
    stopping: Callable[[], bool] = lambda: False
    """function called after every step; if true, the run writes a checkpoint and raises `Stopped`"""
