"""Safetensors files with one JSON object in their header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ddbench.io.documents import parse_json
from ddbench.io.regular import check_regular

NAME = "ddbench"
"""key of the JSON object in the header's metadata"""
MOST_HEADER = 2**20
"""largest number of bytes of a header, for some thousand tensors; the library allows a hundred times as many"""
TYPES = ("BOOL", "U8", "I8", "I16", "I32", "I64", "F16", "BF16", "F32", "F64")
"""types of elements for which PyTorch has all operations"""


class Headless(ValueError):
    """The file is a sound safetensors file, but has no such JSON object."""


def tensor_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Return a file's content; equal tensors and headers give equal bytes."""
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    return safetensors.torch.save(dict(tensors), metadata={NAME: text})


def read_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the object and the tensors of a file that `tensor_bytes` made.

    Raises:
        ValueError: when the file is truncated, or not such a file.
        OSError: when it is missing or cannot be read.
    """
    metadata, tensors = read_safetensors(path, device)
    if NAME not in metadata:
        raise Headless("it has no ddbench header")
    header = parse_json(metadata[NAME])
    if not isinstance(header, dict):
        raise ValueError(f"its header holds a {type(header).__name__}")
    return header, tensors


def read_safetensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read metadata and tensors of any safetensors file; both are bounded by its size.

    Raises:
        ValueError: when the file is truncated or no safetensors, or has elements of a type that PyTorch hardly knows.
        OSError: when it is missing or cannot be read.
    """
    check_regular(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER:
        raise ValueError(f"its header would have {length} bytes")
    try:
        with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
            return file.metadata() or {}, {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise ValueError(str(error).partition("\n")[0]) from error


def _tensor(file: Any, name: str) -> Tensor:
    kind = file.get_slice(name).get_dtype()
    if kind not in TYPES:
        raise ValueError(f"{name!r} has elements of type {kind}")
    tensor: Tensor = file.get_tensor(name)
    return tensor
