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
ENDINGS = {
    "budget used": "the budget ended before the planned steps, as budgets do; the scores count",
    "barely begun": (
        "the budget ended before a hundredth of the planned steps, and the images are less than a point better than at "
        "their start: the row says what the method starts from"
    ),
}
"""what tables say of runs with status `truncated`"""
LEAST_SHARE = 0.01
"""share of the planned steps below which a run that has gained nothing had barely begun"""
LEAST_GAIN = 0.01
"""difference of accuracies, a point, below which nothing was gained"""


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


def gain(run: Record) -> float | None:
    """Return the accuracy beyond that of the run's own start, by the same networks; None where either is not known."""
    scores = run.result.scores if run.accuracy is not None else []
    pairs = list(zip(scores, _start(run), strict=False))
    return statistics.fmean(score.accuracy - before for score, before in pairs) if pairs else None


def _start(run: Record) -> list[float]:
    """Accuracies of the start by evaluation seed; of the first snapshot, if those were scored as the headline is."""
    if run.result.start:
        return [score.accuracy for score in run.result.start]
    first = next((point for point in run.result.curve if point.step == 0), None)
    whole = run.protocol.get("steps") or run.protocol.get("epochs")
    return [first.accuracy] if first is not None and run.protocol.get("short") == whole else []


def endings(runs: Sequence[Record]) -> dict[str, int]:
    """Count how the runs ended, in the words of `ENDINGS`, or their status."""
    counts = Counter(ending(run) for run in runs)
    order = [*STATUSES, *ENDINGS]
    return {name: counts[name] for name in sorted(counts, key=order.index)}


def ending(run: Record) -> str:
    """Return how a run ended, in the words of `ENDINGS`, or its status."""
    if run.result.status != "truncated":
        return run.result.status
    loop, gained = main_loop(run) or "", gain(run)
    done, planned = run.result.steps_done.get(loop, 0), run.result.steps_planned.get(loop, 0)
    little = gained is None or gained < LEAST_GAIN
    return "barely begun" if not done or (little and done < LEAST_SHARE * planned) else "budget used"


def below_start(runs: Sequence[Record]) -> int:
    """Count the runs that ended below their start by more than `LEAST_GAIN`."""
    return sum(found < -LEAST_GAIN for run in runs if (found := gain(run)) is not None)


def one_set(runs: Sequence[Record]) -> bool:
    """Return whether several seeds gave the same distilled set, to the bit."""
    made = [run.result.artifact for run in runs if run.accuracy is not None]
    return len(made) > 1 and len(set(made)) == 1 and made[0] is not None


def samples(runs: Sequence[Record]) -> list[float]:
    """Return the accuracy of each seed with scores; of each evaluation network, where all seeds gave one set."""
    if one_set(runs):
        return [score.accuracy for score in next(run for run in runs if run.accuracy is not None).result.scores]
    return [run.accuracy for run in runs if run.accuracy is not None]


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
