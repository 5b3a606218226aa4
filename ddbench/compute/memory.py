"""The memory of a run: how much it holds, limits on it, and errors that mean it ran out."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import torch

if sys.platform != "win32":
    import resource

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""parameter numbers from glibc's malloc.h"""


class OutOfMemoryBudget(MemoryError):
    """The run holds more memory than its budget allows."""


def peak_bytes(device: torch.device) -> int:
    """Return the peak memory so far: of the device on a GPU, of the process on a CPU.

    Apple's `mps` keeps no peak: there it is what the driver holds for the process now, which falls only between runs.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if sys.platform == "win32":
        held = psutil.Process().memory_info()
        return int(getattr(held, "peak_wset", held.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def check_memory(allowed: int | None, device: torch.device) -> None:
    """Refuse to hold more memory than allowed; None allows everything.

    Raises:
        OutOfMemoryBudget: when more is held; the message names both figures.
    """
    if allowed is not None and (peak := peak_bytes(device)) > allowed:
        raise OutOfMemoryBudget(overrun(peak, allowed))


def overrun(held: int, allowed: int) -> str:
    """Return the reason of a run that was ended for its memory."""
    return f"{held:,} bytes in use, the budget allows {allowed:,}"


def limit_device_memory(allowed: int | None, device: torch.device) -> None:
    """Let a GPU's allocator refuse more than the allowed bytes, also within a step; None removes an earlier limit."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        total = torch.cuda.get_device_properties(index).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (allowed or total) / total), index)
    elif device.type == "mps" and allowed is not None:  # it ends with the process, which has one run
        torch.mps.set_per_process_memory_fraction(min(1.0, allowed / torch.mps.recommended_max_memory()))


def device_memory(device: torch.device) -> int | None:
    """Return the bytes of a GPU's memory; None for a CPU, whose memory others share."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def release_device_memory() -> None:
    """Give what a GPU's allocator holds without using it back to other processes."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def be_the_first_to_go() -> None:
    """Let the kernel end this process before all others, the command's too, when the machine runs out of memory."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def keep_freed_memory() -> None:
    """Let the C library keep the memory that it frees, as CUDA's allocator does, instead of returning it to the system.

    A batch's activations are otherwise mapped again, page by page, in every step: ConvNet-3 forward and backward ran
    1.5 times faster with this. It has no effect where the C library is not glibc.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(M_MMAP_MAX, 0)
            library.mallopt(M_TRIM_THRESHOLD, -1)


ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"
"""first words of a RuntimeError that torch raises instead of a MemoryError"""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that an allocator refused, or that a memory budget was exceeded."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or ALLOCATOR in str(error).partition("\n")[0]
