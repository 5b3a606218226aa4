"""The methodology page, which quotes the documentation of the code that computes the numbers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ddbench import stats
from ddbench.compute import clock, compiling
from ddbench.evaluation import trainer
from ddbench.leaderboard import anytime, grouping
from ddbench.leaderboard.published import Figure
from ddbench.leaderboard.rows import Row
from ddbench.leaderboard.summaries import ENDINGS
from ddbench.meter import snapshots
from ddbench.records import cell, schema
from ddbench.records.states import STATES
from ddbench.site.docs import described, note_of, prose

Terms = list[tuple[str, str]]
"""names and their meaning, in Markdown"""
RECORD: tuple[tuple[type[BaseModel], str], ...] = (
    (schema.Record, ""),
    (schema.Result, "result."),
    (cell.Cell, "result.cell."),
    (schema.Score, "result.scores[]."),
    (schema.CurvePoint, "result.curve[]."),
    (schema.Measured, "measured."),
)


def methodology_values() -> dict[str, Any]:
    """Return the values that the template `methodology.html` shows."""
    return {
        "confidence": f"{100 * stats.CONFIDENCE:g}",
        "fractions": ", ".join(f"{fraction:g}" for fraction in snapshots.SNAPSHOTS),
        "quotes": _quotes(),
        "sources": list(schema.LABELS.items()),
        "states": list(STATES.items()),
        "statuses": list(schema.STATUSES.items()),
        "endings": list(ENDINGS.items()),
        "budget": _fields(cell.Budget, "budget."),
        "published": _fields(Figure),
        "record": [term for model, prefix in RECORD for term in _fields(model, prefix)],
    }


def _quotes() -> dict[str, str]:
    """Return docstrings and notes by the names of what they describe."""
    things = (
        stats.interval, stats.paired_difference, stats.welch, stats.discoveries, stats.ranks,
        anytime.anytime, stats.front, grouping.conditions, Row, trainer.evaluate, clock,
        clock.ProcessClock, clock.DeviceClock,
        compiling.worth_compiling,
    )  # fmt: skip
    quoted = {thing.__name__: prose(thing) for thing in things}
    return quoted | {"Setting": note_of(cell, "Setting"), "SNAPSHOTS": note_of(snapshots, "SNAPSHOTS")}


def _fields(model: type[BaseModel], prefix: str = "") -> Terms:
    notes = described(model)
    return [(prefix + name, notes.get(name, "")) for name in model.model_fields]
