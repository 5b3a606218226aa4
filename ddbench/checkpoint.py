"""Saving what a loop changes, and putting it back in place."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ddbench.errors import UserError
from ddbench.files import write_atomically

VERSION = 1
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
    buffer = io.BytesIO()
    torch.save({"version": VERSION, **content}, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint, or None where there is none."""
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).partition("\n")[0]
        raise UserError(f"checkpoint {path} cannot be read ({reason}); delete it to start the run anew") from error
    version = content.pop("version", None) if isinstance(content, dict) else None
    if version != VERSION:
        raise UserError(
            f"checkpoint {path} has version {version} and this ddbench reads {VERSION}; delete it to start the run anew"
        )
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
