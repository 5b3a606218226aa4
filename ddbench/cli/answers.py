"""What commands answer with `--json`: one document of plain values, whose fields the command's help names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import typer

from ddbench.records.schema import Record


def answer(value: Any) -> None:
    """Print the document; nothing else of a command with `--json` goes to standard output."""
    typer.echo(json.dumps(value, allow_nan=False))


def paths(found: Iterable[object]) -> list[str]:
    return [str(path) for path in found]


def run_fields(record: Record) -> dict[str, Any]:
    """Return what a run was and how it went; its record has the rest."""
    cell, result = record.result.cell, record.result
    return {
        "method": cell.method,
        "dataset": cell.dataset,
        "ipc": cell.ipc,
        "seed": result.seed,
        "key": record.key,
        "status": result.status,
        "reason": result.reason,
        "accuracy": record.accuracy,
        "charged_seconds": record.charged_seconds,
        "device": cell.device,
        "steps_done": result.steps_done,
        "steps_planned": result.steps_planned,
        "artifact": result.artifact,
    }
