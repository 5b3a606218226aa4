"""Scores of a row beyond its headline: other networks and protocols, and rules of selection."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ddbench.leaderboard.rows import Row
from ddbench.records.schema import Score

BySeed = Mapping[int, float]
"""accuracy in [0, 1] by distillation seed, each the mean over its evaluation networks"""


@dataclass(frozen=True)
class Selections:
    """Accuracy by rule of selection, over the same seeds."""

    last: BySeed
    validation: BySeed
    oracle: BySeed


def ways(row: Row) -> dict[str, dict[str, BySeed]]:
    """Return accuracies by protocol, then by network, the headline's first; seeds without scores are left out."""
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for run in row.runs:
        headline = [(row.protocol, score) for score in run.result.scores]
        for protocol, score in headline + [(score.protocol, score) for score in run.result.also]:
            by_seed = found.setdefault((protocol, str(score.network)), {})
            by_seed.setdefault(run.result.seed, []).append(score.accuracy)
    nested: dict[str, dict[str, BySeed]] = {}
    for (protocol, network), by_seed in found.items():
        means = {seed: statistics.fmean(accuracies) for seed, accuracies in by_seed.items()}
        nested.setdefault(protocol, {})[network] = means
    return nested


def along_training(row: Row) -> Selections | None:
    """Select among the readings of evaluation networks; None for a row without readings."""

    def mean(accuracy: Callable[[Score], float]) -> BySeed:
        runs = [run for run in row.runs if run.result.scores and all(map(_selects, run.result.scores))]
        return {run.result.seed: statistics.fmean(map(accuracy, run.result.scores)) for run in runs}

    found = Selections(
        last=mean(lambda score: score.accuracy),
        validation=mean(lambda score: score.metrics["validation"]),
        oracle=mean(lambda score: score.metrics["oracle"]),
    )
    return found if found.last else None


def along_distillation(row: Row) -> Selections | None:
    """Select among snapshots and finished artefacts; None for a row without snapshots."""
    selected = {run.result.seed: run.result.snapshots for run in row.runs if run.result.snapshots}
    return (
        None
        if not selected
        else Selections(
            last={seed: found.last for seed, found in selected.items()},
            validation={seed: found.validation for seed, found in selected.items()},
            oracle={seed: found.oracle for seed, found in selected.items()},
        )
    )


def _selects(score: Score) -> bool:
    return {"validation", "oracle"} <= score.metrics.keys()
