"""The fields of rows, for the CSV tables and for programs: numbers as numbers, lists and dictionaries as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ddbench.io.atomic import canonical_json
from ddbench.leaderboard.cross_architecture import further_fields
from ddbench.leaderboard.rows import Row
from ddbench.leaderboard.summaries import NOTHING
from ddbench.stats import Interval

LATER = {"precision": "float32", "captured": "false", "chosen": ""}
"""fields that came later, with the value of every cell from before"""


def fields_of(made: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the fields of each row; one of `LATER` only if a cell has another value than those from before."""
    lines = [_fields(row) for row in made]
    silent = {name for name, rest in LATER.items() if all(line[name] == rest for line in lines)}
    return [{name: value for name, value in line.items() if name not in silent} for line in lines]


def _fields(row: Row) -> dict[str, Any]:
    """Return the fields of a line of the CSV table, lists and dictionaries as JSON; empty where nothing is known."""
    cell = row.cell
    return {
        "board": row.board,
        "rank": "" if row.rank is None else row.rank,
        "method": row.method,
        "family": row.origin.family if row.origin else "",
        "paper": row.origin.paper if row.origin else "",
        "dataset": row.dataset,
        "dataset_digest": cell.dataset_digest,
        "preprocessing": cell.preprocessing,
        "network": row.network,
        "setting": row.setting,
        "ipc": row.ipc,
        "protocol": row.protocol,
        "networks": cell.networks,
        "split": row.split,
        "device": cell.device,
        "precision": cell.precision,
        "captured": _json(cell.capture),
        "threads": cell.threads,
        "machines": row.machines,
        "pool": _json(cell.pool.model_dump() if cell.pool else None),
        "attack": _json(cell.attack.model_dump() if cell.attack else None),
        "budget": row.budget,
        "budget_seconds": cell.budget.seconds,
        "budget_steps": cell.budget.steps,
        "budget_peak_bytes": cell.budget.peak_bytes,
        **_interval_fields("accuracy", row.accuracy),
        **_interval_fields("versus_start", row.gain),
        **_interval_fields("versus_random", row.versus_random),
        "gap_closed": _decimals(row.gap_closed),
        "metrics": _json({name: round(value.mean, 6) for name, value in row.metrics.items()}),
        "published": _json([figure.model_dump(include={"accuracy", "source", "read"}) for figure in row.published]),
        "seconds": _decimals(row.seconds),
        "seconds_by_phase": _json({name: round(value, 6) for name, value in row.seconds_by_phase.items()}),
        "uncharged_seconds": _json({name: round(value, 6) for name, value in row.uncharged_seconds.items()}),
        **_interval_fields("anytime_accuracy", row.anytime.accuracy if row.anytime else None),
        "seconds_to_90_percent": _decimals(row.anytime.seconds if row.anytime else None),
        "peak_bytes": row.peak_bytes,
        "stored_bytes": _json(row.stored_bytes),
        "on_front": _json(row.on_front),
        "steps": "" if row.steps == NOTHING else row.steps,
        "label_source": row.labels,
        "states": _json(row.states),
        "statuses": _json(row.statuses),
        "reasons": _json(row.reasons),
        **{name: _json(value) for name, value in further_fields(row).items()},
        "seeds": _json(row.seeds),
        "hyperparameters": _json(row.hyperparameters),
        "chosen": row.chosen or "",
    }


def _interval_fields(name: str, value: Interval | None) -> dict[str, Any]:
    """Return the fields of an interval; without one they are empty and n is 0."""
    return {
        name: _decimals(value.mean if value else None),
        f"{name}_half_width": _decimals(value.half_width if value else None),
        f"{name}_n": value.n if value else 0,
    }


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{round(value, 6) + 0.0:.6f}"


def _json(value: Any) -> str:
    return canonical_json(value).decode()
