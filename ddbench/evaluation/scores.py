"""The networks that a run is scored with, one after the other; each score is kept as soon as it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.evaluation.modality import Evaluator
from ddbench.evaluation.selection import select
from ddbench.io.atomic import write_sealed
from ddbench.records.cell import Cell
from ddbench.records.fields import Strict
from ddbench.records.files import read_kept
from ddbench.records.schema import MOST_OF_START, CurvePoint, FurtherScore, Score, Selected
from ddbench.registry import PROTOCOLS


@dataclass(frozen=True)
class Files:
    """What there is to score, and where scores are kept.

    Args:
        artifact: the finished one
        digest: of that; scores of another are not taken for its own
        snapshots: step and file of each
        start: file of the artefact before the first step; None where there is none
        kept: scores by name, as JSON, until the record is written
    """

    artifact: Path
    digest: str
    snapshots: Sequence[tuple[int, Path]]
    kept: Path
    start: Path | None = None


@dataclass(frozen=True)
class Scores:
    """The fields of the same names of a `Result`."""

    scores: list[Score] = field(default_factory=list)
    start: list[Score] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    also: list[FurtherScore] = field(default_factory=list)
    snapshots: Selected | None = None


@dataclass(frozen=True)
class _Trial:
    """One network to be trained on one file."""

    name: str
    evaluator: Evaluator
    file: Path
    seed: int = 0
    short: bool = False


def score_run(cell: Cell, evaluator: Evaluator, files: Files, report: Callable[[str, float], None]) -> Scores:
    """Every score of a run, from wherever an earlier attempt left it.

    Args:
        evaluator: of the cell's headline
        report: called with `evaluate`, the network and their number, and the share that is done, before every step
    """
    known, trials = _known(files), list[_Trial]()

    def progress(share: float) -> None:
        report(f"evaluate {len(known) + 1}/{len(trials)}", (len(known) + share) / len(trials))

    trials += _trials(cell, evaluator.reporting(progress), files)
    load = lru_cache(maxsize=1)(DistilledDataset.load)
    for trial in trials:
        if trial.name not in known:
            artifact = load(trial.file)
            known[trial.name] = trial.evaluator.score(artifact, seed=trial.seed, short=trial.short)
            kept = _Kept(artifact=files.digest, scores=known)
            write_sealed(files.kept, kept.model_dump_json().encode())
    return _scores(cell, files, known)


class _Kept(Strict):
    """Scores by name, and the digest of the artefact that they are of."""

    artifact: str
    scores: dict[str, Score]


def _known(files: Files) -> dict[str, Score]:
    """By an earlier attempt, of the same artefact."""
    kept = read_kept(files.kept, _Kept)
    return dict(kept.scores) if kept is not None and kept.artifact == files.digest else {}


def _trials(cell: Cell, evaluator: Evaluator, files: Files) -> Iterator[_Trial]:
    for seed in range(cell.networks):
        yield _Trial(f"score-{seed}", evaluator, files.artifact, seed)
    for seed in range(_of_start(cell, files)):
        yield _Trial(f"start-{seed}", evaluator, files.start or files.artifact, seed)
    for index, scoring in enumerate(cell.also or []):
        protocol = PROTOCOLS.get(scoring.protocol)
        other = evaluator.under(scoring.network, protocol)
        for seed in range(scoring.networks):
            yield _Trial(f"also-{index}-{seed}", other, files.artifact, seed)
    for index, (_, file) in enumerate(files.snapshots):
        yield _Trial(f"snapshot-{index}", evaluator, file, short=True)
    if files.snapshots and cell.peek:
        yield _Trial("final", evaluator, files.artifact, short=True)


def _of_start(cell: Cell, files: Files) -> int:
    return min(cell.networks, MOST_OF_START) if files.start is not None else 0


def _scores(cell: Cell, files: Files, known: dict[str, Score]) -> Scores:
    snapshots = [known[f"snapshot-{index}"] for index in range(len(files.snapshots))]
    return Scores(
        scores=[known[f"score-{seed}"] for seed in range(cell.networks)],
        start=[known[f"start-{seed}"] for seed in range(_of_start(cell, files))],
        curve=[
            CurvePoint(step=step, accuracy=score.accuracy)
            for (step, _), score in zip(files.snapshots, snapshots, strict=True)
        ],
        also=[
            FurtherScore(**known[f"also-{index}-{seed}"].model_dump(), protocol=scoring.protocol)
            for index, scoring in enumerate(cell.also or [])
            for seed in range(scoring.networks)
        ],
        snapshots=_selected([*snapshots, known["final"]]) if "final" in known else None,
    )


def _selected(scores: Sequence[Score]) -> Selected:
    return select([score.accuracy for score in scores], [score.metrics["held_out"] for score in scores])
