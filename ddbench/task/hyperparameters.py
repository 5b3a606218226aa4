"""Settings of a method, an analysis or a study, read and checked."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ddbench.errors import UserError, suggestion
from ddbench.records.fields import complaint


def make_method(cls: type[Any], settings: Mapping[str, Any], kind: str = "hyper-parameter") -> Any:
    """A method with these hyper-parameters, the others at their defaults.

    Args:
        kind: what messages call a field

    Raises:
        UserError: when a name is unknown, a value has the wrong type or lies outside its range.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    known = [field.name for field in dataclasses.fields(cls)]
    values = {}
    for name, value in settings.items():
        if name not in known:
            raise UserError(f"unknown {kind} {name!r} of {cls.name}; {suggestion(name, known)}")
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            detail = error.errors()[0]
            raise UserError(f"{name}={value!r} of {cls.name}: {complaint(detail)}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name}={value!r} of {cls.name} is not finite; give a number")
    return cls(**values)


def settings_of(made: Any) -> dict[str, Any]:
    """Return every field of a method, an analysis or a study, defaults included."""
    return dataclasses.asdict(made)
