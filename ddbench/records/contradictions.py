"""What no sound record says: the checks that reading, submitting and the check of all tables share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ddbench.compute.environment import instant
from ddbench.records.cell import run_key
from ddbench.records.schema import COUNTED, SCORED, Record

MOST_SHARE, MOST_SECONDS = 0.5, 1.0
"""share of a budget by which a step may overdraw it, and seconds that go with that, before a run is `overdrawn`"""


def contradictions(record: Record) -> Iterator[str]:
    """Yield what is wrong within a record, a sentence each."""
    result = record.result
    if record.key != run_key(result.cell, result.seed, record.method_source):
        yield f"key {record.key} is not the hash of its cell and seed; run the cell again"
    if result.status in SCORED and not result.scores and not result.unscored:
        yield f"status {result.status} without scores; run the cell again"
    if result.unscored and result.scores:
        yield "scores of a run that was left unscored; run the cell again"
    if len(record.measured.curve_seconds) != len(result.curve):
        yield f"{len(result.curve)} curve points but {len(record.measured.curve_seconds)} times"
    if record.rescores and record.replays:
        yield "it measures one record's scores again and replays another; it can do one of the two"
    if record.bound is not None and not (record.rescores or record.replays):
        yield "a bound without a record that is measured again; run the cell again"
    yield from _of_steps(record)
    yield from _of_time(record)
    yield from _of_dates(record)


def _of_steps(record: Record) -> Iterator[str]:
    result, most = record.result, record.result.cell.budget.steps
    for loop, done in result.steps_done.items():
        planned = result.steps_planned.get(loop)
        if planned is not None and done > planned:
            yield f"{done} steps of {loop} where {planned} were planned; run the cell again"
    if most is not None and sum(result.steps_done.values()) > most:
        yield f"{sum(result.steps_done.values())} steps of a budget of {most}; run the cell again"


def _of_time(record: Record) -> Iterator[str]:
    budget = record.result.cell.budget.seconds
    if budget is None or record.result.status not in COUNTED:
        return
    if record.charged_seconds > (1 + MOST_SHARE) * budget + MOST_SECONDS:
        yield (
            f"{record.charged_seconds:.4g} s charged to a budget of {budget:g} s, and status {record.result.status}; "
            "run the cell again"
        )


def _of_dates(record: Record) -> Iterator[str]:
    """A record that finished in the future would be the newest for ever, and the one that tables show."""
    measured = record.measured
    try:
        started, finished = instant(measured.started), instant(measured.finished)
    except ValueError:
        yield f"started {measured.started!r} and finished {measured.finished!r}; both are to be dates of ISO 8601"
        return
    if not started <= finished <= datetime.now(UTC) + timedelta(days=1):
        yield f"started {measured.started} and finished {measured.finished}, which is too early or too late"
