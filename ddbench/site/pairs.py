"""What something consists of, as names and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddbench.files import canonical_json
from ddbench.site.figures import significant

Pairs = list[tuple[str, str]]


def pairs(mapping: Mapping[str, Any]) -> Pairs:
    return [(str(name), _text(value)) for name, value in mapping.items()]


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        return canonical_json(value).decode()
    return repr(value) if isinstance(value, float) else significant(value)
