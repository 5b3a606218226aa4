"""How much memory a run holds."""

from __future__ import annotations

import resource
import sys

import torch


class OutOfMemoryBudget(MemoryError):
    """The run holds more memory than its budget allows."""


def peak_bytes(device: torch.device) -> int:
    """The most memory held so far: of the device on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
