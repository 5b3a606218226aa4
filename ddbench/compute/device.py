"""Lookup of devices by name, and what differs between them."""

from __future__ import annotations

import torch

from ddbench.errors import UserError

NAMES = "auto, cpu, cuda, cuda:N or mps"
MPS = torch.device("mps", 0)
"""Apple's GPU, as its tensors name it"""


def resolve_device(name: str) -> torch.device:
    """Return an existing device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    `auto` takes a CUDA GPU or the CPU, and never Apple's `mps`, whose seconds are those of the wall.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown device {name!r}; use {NAMES}") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device {name!r} is not supported; use {NAMES}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {name!r} asked for, but torch sees {torch.cuda.device_count()} GPUs; use --device cpu")
    if device.type == "mps":
        if device.index or not torch.backends.mps.is_available():
            raise UserError(f"device {name!r} asked for, but torch sees no such GPU of Apple here; use --device cpu")
        return MPS
    return device


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def with_float64(device: torch.device) -> torch.device:
    """Return the device, or the CPU for `mps`, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device
