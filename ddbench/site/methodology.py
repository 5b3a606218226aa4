"""What the methodology page quotes: the documentation of the code that computes the numbers."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel

from ddbench import stats
from ddbench.compute import clock, compiling
from ddbench.evaluation import trainer
from ddbench.leaderboard import anytime, grouping
from ddbench.leaderboard.published import Figure
from ddbench.leaderboard.rows import Row
from ddbench.meter import snapshots
from ddbench.records import schema
from ddbench.site.docs import described, note_of, prose

Terms = list[tuple[str, str]]
"""names and their meaning, Markdown"""
STATUSES = {
    "ok": "every planned step was done",
    "truncated": "the budget ended before the planned steps; its scores count all the same",
    "diverged": "a logged value, or the artefact, was not finite, or a value exploded",
    "out_of_memory": "more was asked for than the device has, or than the budget of bytes allows",
    "timeout": "no step ended for a long time, or the run took far longer than its budget, on the wall",
    "crashed": "its process was ended from outside: by a signal, for memory, by a full disk, with its machine",
    "failed": "the method raised, exited, or gave something else than a distilled set",
}
RECORD: tuple[tuple[type[BaseModel], str], ...] = (
    (schema.Record, ""),
    (schema.Result, "result."),
    (schema.Cell, "result.cell."),
    (schema.Score, "result.scores[]."),
    (schema.CurvePoint, "result.curve[]."),
    (schema.Measured, "measured."),
)


def methodology_values() -> dict[str, Any]:
    """What the template `methodology.html` shows."""
    return {
        "confidence": f"{100 * stats.CONFIDENCE:g}",
        "fractions": ", ".join(f"{fraction:g}" for fraction in snapshots.SNAPSHOTS),
        "quotes": _quotes(),
        "statuses": [(status, STATUSES.get(status, "")) for status in get_args(schema.Status)],
        "budget": _fields(schema.Budget, "budget."),
        "published": _fields(Figure),
        "record": [term for model, prefix in RECORD for term in _fields(model, prefix)],
    }


def _quotes() -> dict[str, str]:
    """Docstrings by the names of what they describe."""
    things = (
        stats.interval, stats.paired_difference, stats.welch, stats.discoveries, stats.ranks,
        anytime.anytime, stats.front, grouping.conditions, Row, trainer.evaluate, clock,
        clock.ProcessClock, clock.DeviceClock,
        compiling.worth_compiling,
    )  # fmt: skip
    quoted = {thing.__name__: prose(thing) for thing in things}
    return quoted | {"Setting": note_of(schema, "Setting"), "SNAPSHOTS": note_of(snapshots, "SNAPSHOTS")}


def _fields(model: type[BaseModel], prefix: str = "") -> Terms:
    notes = described(model)
    return [(prefix + name, notes.get(name, "")) for name in model.model_fields]
