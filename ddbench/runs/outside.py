"""The time of a distillation as its parent saw it, kept beside it until the record is written."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ddbench.io.atomic import read_sealed, write_sealed
from ddbench.records.cell import DeviceKind
from ddbench.records.fields import Strict
from ddbench.records.run_folder import OUTSIDE

GRACE_SECONDS = {"cpu": 10.0, "cuda": 30.0, "mps": 30.0}
GRACE_SHARE = 0.05
"""what a run may use beyond what it accounts for: importing the methods, writing its files, and on a GPU, where wall
seconds count, waiting for the machine"""


class Outside(Strict):
    """Core-seconds on a CPU, wall seconds on a GPU."""

    total: float
    """seconds of all attempts that came to their end"""
    last: float
    """seconds of the latest of them"""

    def exceeds(self, accounted: float, device: DeviceKind) -> bool:
        """Return whether the latest attempt took more than it accounts for."""
        return self.last > accounted * (1 + GRACE_SHARE) + GRACE_SECONDS[device]


def note_outside(folder: Path, seconds: float) -> None:
    """Keep what the latest attempt took, beside the sum of all.

    Raises:
        CannotWrite: when that cannot be written.
    """
    earlier = read_outside(folder)
    found = Outside(total=seconds + (earlier.total if earlier else 0.0), last=seconds)
    write_sealed(folder / OUTSIDE, found.model_dump_json().encode())


def read_outside(folder: Path) -> Outside | None:
    """Read what was noted; None where nothing was, or nothing that this release can read."""
    payload = read_sealed(folder / OUTSIDE)
    try:
        return Outside.model_validate_json(payload) if payload is not None else None
    except ValidationError:
        return None
