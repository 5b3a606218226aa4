"""What the runs of one cell come to: medians of what they took, means of their scores, and counts of how they ended."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ddbench.records.loops import main_loop
from ddbench.records.schema import STATUSES, Record
from ddbench.records.states import STATES, State, state
from ddbench.stats import Interval, interval

NOTHING = "–"  # noqa: RUF001


def machine(environment: dict[str, Any]) -> str:
    """Name a machine and how it computed: `AMD EPYC, eager`."""
    return f"{environment.get('device', 'unknown')}, {'compiled' if environment.get('compiled') else 'eager'}"


def representative(runs: Sequence[Record]) -> tuple[Record, ...]:
    """Return the runs with scores, or all where none has scores."""
    return tuple(run for run in runs if run.result.scores) or tuple(runs)


def medians(values: Sequence[dict[str, float]] | Sequence[dict[str, int]]) -> dict[str, float]:
    """Return the median of each entry; a run without the entry counts as 0."""
    names = sorted({name for value in values for name in value})
    return {name: statistics.median(value.get(name, 0) for value in values) for name in names}


def metrics(runs: Sequence[Record]) -> dict[str, Interval]:
    """Return the mean over runs of each further metric, each the mean over its evaluation networks."""
    names = sorted({name for run in runs for score in run.result.scores for name in score.metrics})
    return {name: interval([mean for run in runs if (mean := _mean_of(run, name)) is not None]) for name in names}


def _mean_of(run: Record, metric: str) -> float | None:
    values = [score.metrics[metric] for score in run.result.scores if metric in score.metrics]
    return statistics.fmean(values) if values else None


def steps(runs: Sequence[Record]) -> str:
    """Return `done/planned` of the main loop, the median over runs."""
    # median_low: a number of steps that some run really made.
    loops = [(run.result, main_loop(run) or "") for run in runs]
    planned = statistics.median_low(result.steps_planned.get(loop, 0) for result, loop in loops)
    done = statistics.median_low(result.steps_done.get(loop, 0) for result, loop in loops)
    return f"{done}/{planned}" if planned or done else NOTHING


def statuses(runs: Sequence[Record]) -> dict[str, int]:
    """Count how the runs ended."""
    counts = Counter(run.result.status for run in runs)
    return {status: counts[status] for status in STATUSES if counts[status]}


def states(runs: Sequence[Record], agreeing: dict[int, list[Record]]) -> dict[State, int]:
    """Count the states of the runs with scores.

    Args:
        agreeing: what agrees with records, see `records.states.evidence`
    """
    counts = Counter(state(agreeing.get(id(run), [])) for run in runs if run.accuracy is not None)
    return {name: counts[name] for name in STATES if counts[name]}


def reasons(runs: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    """Return the distinct reasons that runs gave, by status."""
    found: dict[str, set[str]] = {}
    for run in runs:
        if run.result.reason:
            found.setdefault(run.result.status, set()).add(run.result.reason)
    return {status: tuple(sorted(found[status])) for status in STATUSES if status in found}
