"""The environment of a measurement, which may affect it besides its cell: device, versions, revision, time."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import warnings
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ddbench.compute.precision import rounds_convolutions

REVISION_VARIABLE = "DDBENCH_REVISION"
"""names the commit of a copy of the tree that has no `.git`"""
DIGITS = 12
"""digits of a commit that records keep"""


def environment(device: torch.device, threads: int, compiled: bool) -> dict[str, Any]:
    """Describe what a measurement may depend on besides its cell."""
    return {
        "device": device_name(device),
        "threads": threads,
        "compiled": compiled,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "git": git_revision(),
        **versions(),
        **(determinism() if device.type == "cuda" else {}),
    }


def determinism() -> dict[str, Any]:
    """Describe which of a GPU's operations are deterministic; on a CPU all of them are."""
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "float32_matmul": torch.get_float32_matmul_precision(),
        "tf32_convolutions": rounds_convolutions(),
    }


def versions() -> dict[str, str]:
    return {"ddbench": _installed_version(), "torch": torch.__version__}


@lru_cache
def device_name(device: torch.device) -> str:
    """Return the name of a GPU or of the processor; Apple's GPU also says what its seconds are."""
    if device.type == "mps":
        return f"{_apple_chip()} (mps, wall seconds)"
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _apple_chip() -> str:
    try:
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or "Apple"
    except (OSError, subprocess.CalledProcessError):
        return platform.processor() or "Apple"


@lru_cache
def git_revision() -> str | None:
    """Return the commit that ddbench runs from, with `+` if files have changed; None where nothing tells.

    A tree without `.git`, such as a copy on a machine of a cluster, has the one that `$DDBENCH_REVISION` names.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # an installed package may be inside another repository
        return _named_revision(os.environ.get(REVISION_VARIABLE, ""))
    # A clone that belongs to somebody else has a revision all the same.
    git = ["git", "-C", str(root), "-c", "safe.directory=*"]
    command = [*git, "describe", "--always", f"--abbrev={DIGITS}", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def _named_revision(named: str) -> str | None:
    """Return a commit that a user names, as git would shorten it; None, with a warning, for what is none."""
    found = re.fullmatch(rf"(?P<commit>[0-9a-f]{{{DIGITS},40}})(?P<changed>\+?)", named.strip().lower())
    if found is not None:
        return found["commit"][:DIGITS] + found["changed"]
    if named:
        warnings.warn(
            f"{REVISION_VARIABLE} is {named!r}, which names no commit, so that records name none; give {DIGITS} to 40 "
            "hexadecimal digits, and a + where files have changed",
            RuntimeWarning,
            stacklevel=3,
        )
    return None


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def instant(date: str) -> datetime.datetime:
    """Parse what `now` wrote; without a zone it is read as UTC.

    Raises:
        ValueError: when it is no date of ISO 8601.
    """
    found = datetime.datetime.fromisoformat(date)
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _installed_version() -> str:
    try:
        return version("ddbench")
    except PackageNotFoundError:  # an uninstalled clone
        return "unknown"
