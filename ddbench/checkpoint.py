"""Saving what a loop changes, and putting it back in place."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ddbench.files import read_sealed, warn_of_damage, write_sealed

VERSION = 2
PLAIN = (type(None), bool, int, float, str, bytes, torch.dtype, torch.device)


class State(SimpleNamespace):
    """What a loop changes from step to step; a method reads it through this namespace, never from a local copy.

    Tensors are restored in place; generators, optimizers and whatever else has a `state_dict` by that; any other
    value, also a list that grows, is replaced. Restoring therefore works only for names used as `state.name`.
    """


def capture(state: State) -> dict[str, Any]:
    """A copy of the state in tensors, containers and plain values.

    Raises:
        TypeError: for a value that no checkpoint could hold.
    """
    return {name: _capture(value) for name, value in vars(state).items()}


def restore(state: State, saved: dict[str, Any]) -> None:
    """Put a captured state back into the namespace."""
    for name, value in saved.items():
        setattr(state, name, _restore(getattr(state, name, None), _capture(value)))


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically, with a checksum."""
    buffer = io.BytesIO()
    torch.save({"version": VERSION, **content}, buffer)
    write_sealed(path, buffer.getbuffer())


def load(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint; None where there is none, or where it cannot be used, which is said."""
    payload = read_sealed(path)
    if payload is None:
        return None
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True)
        version = content.pop("version")
    except Exception as error:  # torch raises many kinds for what another release wrote
        warn_of_damage(path, str(error).partition("\n")[0])
        return None
    if version != VERSION:
        warn_of_damage(path, f"it has version {version} and this ddbench reads {VERSION}")
        return None
    return content


def _capture(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, torch.Generator):
        return value.get_state()
    if hasattr(value, "state_dict"):
        return _capture(value.state_dict())
    if isinstance(value, dict):
        return {key: _capture(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_capture(item) for item in value)
    if not isinstance(value, PLAIN):
        raise TypeError(
            f"a loop's state holds a {type(value).__name__}, which cannot be resumed; keep tensors, lists, dicts, "
            "plain values, generators or what has a state_dict in it"
        )
    return value


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
