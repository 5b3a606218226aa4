"""Cache of what several cells compute in the same way, such as expert trajectories; every use is charged in full."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddbench.io.atomic import canonical_json, digest, warn_of_damage, write_atomically
from ddbench.io.safetensors_files import read_tensors, tensor_bytes
from ddbench.records.source_digest import source_digest


@dataclass(frozen=True)
class CachedTensors:
    tensors: dict[str, Tensor]
    seconds: float
    """charged seconds that making it took"""
    steps: dict[str, int]
    """steps, by loop, that making it took"""


class Cache:
    """A folder of safetensors files named by the hash of everything that decides their content.

    Args:
        folder: folder of the cache, created on first use
        context: part of every key: data digest, network, device, threads, versions
    """

    def __init__(self, folder: Path, context: Mapping[str, Any]) -> None:
        self._folder = folder
        self._context = dict(context)

    def key(self, name: str, key: Mapping[str, Any]) -> str:
        return digest(canonical_json({"name": name, "key": dict(key), "context": self._context}))

    def get(self, name: str, key: Mapping[str, Any], device: torch.device) -> CachedTensors | None:
        """Return what is stored; None where nothing is, or the file is damaged, which is set aside with a warning."""
        path = self._path(name, key)
        if not path.exists():
            return None
        try:
            header, tensors = read_tensors(path)
            if header.pop("checksum") != _checksum(header, tensors):
                raise ValueError("another checksum")
            moved = {part: tensor.to(device) for part, tensor in tensors.items()}
            return CachedTensors(moved, header["seconds"], header["steps"])
        except (OSError, ValueError, KeyError):
            warn_of_damage(path, "it is not what was written")
            return None

    def put(self, name: str, key: Mapping[str, Any], entry: CachedTensors) -> None:
        tensors = {part: _own(tensor.detach().cpu().contiguous()) for part, tensor in entry.tensors.items()}
        header = {"seconds": entry.seconds, "steps": entry.steps, "key": dict(key), "context": self._context}
        sealed = header | {"checksum": _checksum(header, tensors)}
        write_atomically(self._path(name, key), tensor_bytes(tensors, sealed))

    def _path(self, name: str, key: Mapping[str, Any]) -> Path:
        return self._folder / f"{name}-{self.key(name, key).removeprefix('sha256:')[:16]}.safetensors"


def _own(tensor: Tensor) -> Tensor:
    """Return the tensor, copied where it is a view of a larger one: safetensors refuses shared memory."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the checksum of everything that a file holds."""
    found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for part, tensor in sorted(tensors.items()):
        found.update(f"{part} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def with_source(key: Mapping[str, Any], make: Callable[..., Any]) -> dict[str, Any]:
    """Return the key of a cache entry, with its code; generators are seeded from the key alone, whatever the code."""
    return {**key, "source": source_digest(make)}
