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


class State(SimpleNamespace):
    """What a loop changes from step to step; a method reads it through this namespace, never from a local copy.

    Tensors are restored in place; generators, optimizers and whatever else has a `state_dict` by that; any other
    value, also a list that grows, is replaced. Restoring therefore works only for names used as `state.name`.
    """


def capture(state: State) -> dict[str, Any]:
    """A copy of the state in tensors, containers and plain values."""
    return {name: _capture(value) for name, value in vars(state).items()}


def restore(state: State, saved: dict[str, Any]) -> None:
    """Put a captured state back into the namespace."""
    for name, value in saved.items():
        setattr(state, name, _restore(getattr(state, name, None), value))


def save(path: Path, content: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint, or None where there is none."""
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f"checkpoint {path} cannot be read ({error}); delete it to start the run anew") from error
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
    return value


def _restore(current: Any, saved: Any) -> Any:
    if isinstance(current, torch.Generator):
        current.set_state(saved)
        return current
    if hasattr(current, "load_state_dict"):
        current.load_state_dict(saved)
        return current
    if isinstance(current, Tensor) and isinstance(saved, Tensor) and current.shape == saved.shape:
        with torch.no_grad():
            current.copy_(saved)
        return current
    if isinstance(current, dict) and isinstance(saved, dict) and current.keys() == saved.keys():
        return {key: _restore(current[key], item) for key, item in saved.items()}
    return saved
