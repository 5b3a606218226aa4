"""Scores measured again from an artefact, as its record says they were."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.clock import clock_for
from ddbench.compute.compiling import Compiler
from ddbench.compute.environment import environment, now
from ddbench.compute.generators import seeded
from ddbench.compute.precision import precision
from ddbench.evaluation.modality import Evaluator, Place, Report
from ddbench.evaluation.trainer import evaluate
from ddbench.io.atomic import digest
from ddbench.records.schema import FurtherScore, Measured, Record, Score
from ddbench.registry import MODALITIES, PROTOCOLS
from ddbench.submissions.claim import Claim
from ddbench.submissions.verdict import Comparison, allowance

ROUNDING = 2.0**-11
"""relative: half of the last digit of TensorFloat-32, the coarsest arithmetic that torch chooses by itself"""


@dataclass(frozen=True)
class _Way:
    """One of the ways that a record's artefact was scored."""

    name: str
    """`lenet under dsa-1000@1`; empty for the headline"""
    evaluator: Evaluator
    claimed: list[Score]


@dataclass(frozen=True)
class Rescored:
    """A way, measured again."""

    way: str
    claimed: list[Score]
    scores: list[Score]
    """scores of evaluation seeds 0, 1, ..."""
    rounded: list[Score]
    """scores of the record's seeds, from images that one rounding has changed"""


@dataclass(frozen=True)
class Rescoring:
    """What was measured again."""

    ways: list[Rescored]
    """the headline first"""
    measured: Measured
    """the record's, and the time and place of this evaluation"""


def rescore(
    record: Record,
    artifact: DistilledDataset,
    evaluator: Evaluator,
    place: Place,
    networks: int | None = None,
    on_score: Callable[[Score], None] = lambda score: None,
    report: Callable[[float], None] = lambda share: None,
) -> Rescoring:
    """Train networks on a record's artefact as the record says.

    Args:
        evaluator: see `evaluator_of`
        place: where it computes
        networks: how many, the record's seeds first; beyond the headline no more than the record has. None takes as
            many as the record has
        on_score: told each as soon as it is known
        report: told the share that is done, before every step of a training
    """
    clock, started, done = clock_for(place.device), now(), list[Score]()

    def progress(share: float) -> None:
        report((len(done) + share) / total)

    def told(score: Score) -> None:
        done.append(score)
        on_score(score)

    ways = list(_ways(record, evaluator.reporting(progress)))
    total = sum(_number(way, networks) + _again(way, networks) for way in ways)
    with _threads(record.result.cell.threads), precision(place.device, record.result.cell.precision):
        begun = clock.settle()
        scores = [evaluate(artifact, way.evaluator, _number(way, networks), told) for way in ways]
        seconds, changed = clock.settle() - begun, perturbed(artifact)
        rounded = [evaluate(changed, way.evaluator, _again(way, networks), done.append) for way in ways]
        around = environment(place.device, record.result.cell.threads, place.compiler.enabled)
    changes = {
        "started": started,
        "finished": now(),
        "uncharged_seconds": record.measured.uncharged_seconds | {"evaluation": seconds},
        "rescored_in": around,
    }
    found = [Rescored(way.name, way.claimed, *both) for way, *both in zip(ways, scores, rounded, strict=True)]
    return Rescoring(found, record.measured.model_copy(update=changes))


def rescored_record(claim: Claim, found: Rescoring, comparisons: Sequence[Comparison]) -> Record:
    """The record of the same run with the scores of now; what distilling took, and its snapshots, stay as claimed."""
    headline, *further = ([score for score in way.scores if score.seed < len(way.claimed)] for way in found.ways)
    protocols = [scoring.protocol for scoring in claim.record.result.cell.also or []]
    also = [
        FurtherScore(**score.model_dump(), protocol=protocol)
        for protocol, scores in zip(protocols, further, strict=True)
        for score in scores
    ]
    return claim.record.model_copy(
        update={
            "rescores": digest(claim.content),
            "bound": allowance(comparisons, statistics.fmean(score.accuracy for score in headline)),
            "result": claim.record.result.model_copy(update={"scores": headline, "also": also}),
            "measured": found.measured,
        }
    )


def place_of(record: Record, device: torch.device, report: Report = lambda stage, share: None) -> Place:
    """Return the place to train a record's networks again, compiled if its own were."""
    capture = record.result.cell.capture and device.type == "cuda"
    return Place(device, Compiler(record.measured.environment.get("compiled") is True, capture=capture), report)


def evaluator_of(record: Record, dataset: str | None, place: Place) -> Evaluator:
    """What scored a record's headline, made again.

    Args:
        dataset: where the record's data set lies, when not under its name
    """
    cell = record.result.cell
    return MODALITIES.get(cell.modality).evaluator(cell, dataset or cell.dataset, place)


def perturbed(artifact: DistilledDataset) -> DistilledDataset:
    """The artefact with its images changed by up to one rounding, the same at every call."""
    generator = seeded(0)

    def changed(name: str, part: Tensor) -> Tensor:
        if name == "labels" or not part.is_floating_point():
            return part
        return part * (1 + ROUNDING * (2 * torch.rand(part.shape, generator=generator, dtype=part.dtype) - 1))

    return replace(artifact, parts={name: changed(name, part) for name, part in artifact.parts.items()})


def _ways(record: Record, evaluator: Evaluator) -> Iterator[_Way]:
    yield _Way("", evaluator, record.result.scores)
    for way in record.result.cell.also or []:
        claimed = [
            score for score in record.result.also if (score.network, score.protocol) == (way.network, way.protocol)
        ]
        other = evaluator.under(way.network, PROTOCOLS.get(way.protocol))
        yield _Way(f"{way.network} under {way.protocol}", other, list(claimed))


def _number(way: _Way, networks: int | None) -> int:
    """Return the number of networks to train; a kernel predicts the same from further seeds."""
    own = len(way.claimed)
    wanted = networks or own
    return min(wanted, own) if way.name or way.evaluator.protocol.kind == "krr" else wanted


def _again(way: _Way, networks: int | None) -> int:
    """Return the number of networks to train on changed images, too."""
    return min(_number(way, networks), len(way.claimed))


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """As many threads of torch, since they decide the order of its sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
