"""The pages of protocols, with every field as the code registers it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from ddbench.evaluation.protocols import AnyProtocol, Protocol
from ddbench.leaderboard import Row
from ddbench.registry import PROTOCOLS
from ddbench.site.content import Content
from ddbench.site.docs import arguments, prose
from ddbench.site.format import significant


def names(content: Content) -> list[str]:
    """Return the names of registered protocols, and of those that a record or a published figure names."""
    recorded = {entry.record.result.cell.protocol for entry in content.entries}
    published = {figure.protocol for figure in content.published.entries if figure.protocol}
    return sorted({*PROTOCOLS, *recorded, *published})


def protocol_values(name: str, content: Content) -> dict[str, Any]:
    """Return the values that the template `protocol.html` shows."""
    protocol = PROTOCOLS.get(name) if name in PROTOCOLS else None
    meanings = arguments(type(protocol)) if protocol else {}
    fields = dataclasses.fields(protocol) if protocol else ()
    return {
        "name": name,
        "source": protocol.source if protocol else "",
        "fields": [
            (field.name, _text(getattr(protocol, field.name)), meanings.get(field.name, ""))
            for field in fields
            if field.name not in ("name", "source")
        ],
        "boards": _boards(name, content),
    }


def overview(content: Content) -> dict[str, Any]:
    """Return the values that the template `protocols.html` shows."""
    known = [PROTOCOLS.get(name) for name in PROTOCOLS]
    summary = f"{prose(Protocol)} Those whose names begin with krr train no network: a kernel predicts."
    return {"summary": summary, "protocols": [_line(protocol, content) for protocol in known]}


def _line(protocol: AnyProtocol, content: Content) -> dict[str, Any]:
    shared = {"name": protocol.name, "honours": protocol.honours, "boards": _boards(protocol.name, content)}
    if protocol.kind == "krr":
        predicts = f"none: kernel ridge regression with {protocol.kernel}, ridge {protocol.regulariser:g}"
        return shared | {"length": predicts, "augmentation": "none"}
    return shared | {
        "length": f"{protocol.length} of {protocol.batch_size}, step size {protocol.lr:g}",
        "augmentation": protocol.augmentation.replace("_", " "),
    }


def _boards(protocol: str, content: Content) -> list[str]:
    return [board.name for board in content.boards if any(protocol in _protocols(row) for row in board.rows)]


def _protocols(row: Row) -> set[str]:
    """Return the protocols of a row: that of its headline, and those of further scores of its artefacts."""
    return {row.protocol, *(way.protocol for way in row.cell.also or [])}


def _text(value: Any) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(" ".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in value) or "none"
    return significant(value) if value is None or isinstance(value, bool) else str(value)
