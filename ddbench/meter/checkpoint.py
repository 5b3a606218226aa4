"""Saving of what a loop changes, and restoring of it in place."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.serialization import default_restore_location
from torch.utils import _pytree as pytree

from ddbench.compute.memory import out_of_memory
from ddbench.io.atomic import read_sealed, sealed, warn_of_damage

VERSION = 3
PLAIN = (type(None), bool, int, float, str, bytes, torch.dtype, torch.device)


class State(SimpleNamespace):
    """Everything a loop changes from step to step; a method reads it through this namespace, never from a local copy.

    Tensors are restored in place; generators, optimizers and other objects with a `state_dict` through that; any other
    value, also a list that grows, is replaced. Restoring therefore works only for names used as `state.name`.
    """


def contents(state: State) -> dict[str, Any]:
    """Return the state as tensors, which it shares, containers and plain values: write it before the next step.

    Raises:
        TypeError: for a value that no checkpoint could hold.
    """
    return {name: _plain(value) for name, value in vars(state).items()}


def capture(state: State) -> dict[str, Any]:
    """Return a copy of the contents, which does not change with the state."""
    return copied(contents(state))


def copied(contents: dict[str, Any]) -> dict[str, Any]:
    """Return contents that share no tensor with the given ones."""
    copy: dict[str, Any] = pytree.tree_map_only(Tensor, torch.clone, contents)
    return copy


def restore(state: State, saved: dict[str, Any]) -> None:
    """Put contents back into the namespace, which then owns them."""
    for name, value in saved.items():
        setattr(state, name, _restore(getattr(state, name, None), value))


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically, with a checksum."""
    with sealed(path) as file:
        torch.save({"version": VERSION, **_apart(content)}, file)


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Load the content of a checkpoint; None where there is none, or where it cannot be used, with a warning.

    Args:
        device: device for tensors that were on any GPU; those of the CPU stay there
    """
    payload = read_sealed(path)
    if payload is None:
        return None

    def placed(storage: Any, place: str) -> Any:
        return default_restore_location(storage, place if place == "cpu" else str(device))

    try:
        content: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True, map_location=placed)
        version = content.pop("version")
    except Exception as error:  # torch raises many kinds for what another release wrote
        if out_of_memory(error):
            raise
        warn_of_damage(path, str(error).partition("\n")[0])
        return None
    if version != VERSION:
        warn_of_damage(path, f"it has version {version} and this ddbench reads {VERSION}")
        return None
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, torch.Generator):
        return value.get_state()
    if hasattr(value, "state_dict"):
        return _plain(value.state_dict())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if not isinstance(value, PLAIN):
        raise TypeError(
            f"a loop's state holds a {type(value).__name__}, which cannot be resumed; keep tensors, lists, dicts, "
            "plain values, generators or what has a state_dict in it"
        )
    return value


def _apart(contents: dict[str, Any]) -> dict[str, Any]:
    """Return contents with copies of tensors that share memory, which torch writes whole, or refuses for two types."""
    met = set[int]()

    def apart(tensor: Tensor) -> Tensor:
        if tensor.layout is not torch.strided:
            return tensor
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in met:
            return tensor.clone()
        met.add(storage.data_ptr())
        return tensor

    separate: dict[str, Any] = pytree.tree_map_only(Tensor, apart, contents)
    return separate


def _restore(current: Any, saved: Any) -> Any:
    if isinstance(current, torch.Generator):
        current.set_state(saved)
        return current
    if hasattr(current, "load_state_dict"):
        current.load_state_dict(saved)
        return current
    if isinstance(current, Tensor) and isinstance(saved, Tensor) and _alike(current, saved):
        with torch.no_grad():
            current.copy_(saved)
        return current
    if isinstance(current, dict) and isinstance(saved, dict) and current.keys() == saved.keys():
        for key, item in saved.items():
            current[key] = _restore(current[key], item)
        return current
    return saved


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype
