"""Executors carry out a board's runs: side by side on one machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from ddbench.boards.jobs import Job
from ddbench.errors import UserError, suggestion
from ddbench.meter.hooks import Logged, Progress
from ddbench.records.schema import Record

Assignment = tuple[Job, Path]
"""a run and the folder it goes into"""


@dataclass(frozen=True)
class Event:
    """Something the display may show."""

    job: Job
    kind: str
    """`started`, `progress`, `logged`, `warning`, `stopping`, `finished`"""
    stage: str = ""
    """`prepare`, `pool`, `compile`, a loop's step as `distil 12/200`, `evaluate 1/5` or `check`; or the warning"""
    fraction: float = 0.0
    """share of the stage; in a method's loops, that of all distilling"""
    at: Progress | None = None
    """the step of a method's loop that `progress` is from"""
    logged: Logged | None = None
    record: Record | None = None


Listener = Callable[[Event], None]


class Executor(Protocol):
    """Carries out runs, each in a process of its own; whatever becomes of one, the others go on."""

    @property
    def device(self) -> torch.device:
        """What its runs run on."""
        ...

    def run(self, assignments: list[Assignment], out: Path, on_event: Listener) -> list[Record]:
        """Carry out every run and give the records, which also lie in the runs' folders.

        Args:
            out: the board's folder

        Raises:
            KeyboardInterrupt: after SIGINT or SIGTERM; every run is left at a checkpoint, without a record.
        """
        ...


def make_executor(name: str, device: str = "auto", workers: int | None = None) -> Executor:
    """An executor by name.

    Args:
        name: `local` or `ray`
        device: `auto`, `cpu`, `cuda` or, of this machine, `cuda:N` or `mps`
        workers: runs side by side on this machine; None is one on a CPU, or one on each GPU

    Raises:
        UserError: when it is unknown or not installed, or the device is not there.
    """
    if name == "local":
        from ddbench.runs.executors.local import Local

        return Local.named(device, workers)
    if name == "ray":
        from ddbench.runs.executors.ray import Ray

        if workers is not None:
            raise UserError(
                f"--workers {workers} with --executor ray: Ray runs what the cluster has room for; leave it out"
            )
        return Ray.named(device)
    raise UserError(f"unknown executor {name!r}; {suggestion(name, ('local', 'ray'))}")
