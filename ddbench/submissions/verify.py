"""Does an artefact give the accuracy that its record claims?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.device import resolve_device
from ddbench.errors import UserError
from ddbench.records.cell import Cell
from ddbench.records.files import problems
from ddbench.records.network_files import check_files
from ddbench.records.run_folder import record_beside
from ddbench.records.schema import Score
from ddbench.registry import discover
from ddbench.submissions.checks import complaints, recorded_data
from ddbench.submissions.claim import Claim
from ddbench.submissions.rescoring import evaluator_of, place_of, rescore, rescored_record
from ddbench.submissions.submit import add_record, held_records
from ddbench.submissions.verdict import LEAST_FURTHER, Comparison, compare


@dataclass(frozen=True)
class Verification:
    """What came of it, for the claim or against it."""

    complaints: list[str] = field(default_factory=list)
    """why the claim is refused before anything is trained, a sentence each"""
    comparisons: list[Comparison] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    """measured again"""
    same_bytes: bool | None = None
    """true if a replay's artefact holds what the record's does, to the bit; None where there are not two to compare"""
    elsewhere: list[str] = field(default_factory=list)
    """in what a replay's surroundings differ from the record's, where it holds other bytes: `torch 2.9, here 2.10`"""
    filed: list[Path] = field(default_factory=list)
    """files that were written"""

    @property
    def accepted(self) -> bool:
        return not self.complaints and all(comparison.accepted for comparison in self.comparisons)

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "accepted": self.accepted,
            "complaints": self.complaints,
            "comparisons": [
                {**asdict(one), "difference": one.difference, "accepted": one.accepted} for one in self.comparisons
            ],
            "same_bytes": self.same_bytes,
            "elsewhere": self.elsewhere,
            "scores": [score.model_dump(mode="json") for score in self.scores],
            "filed": [str(path) for path in self.filed],
        }


def verify(
    record: str | Path,
    *,
    artifact: str | Path | None = None,
    dataset: str | None = None,
    count: int | None = None,
    device: str = "auto",
    to: Path | None = None,
    on_score: Callable[[Score], None] = lambda score: None,
    report: Callable[[str, float], None] = lambda stage, share: None,
) -> Verification:
    """Check a record, train networks on its artefact as it says, and accept or refuse its scores.

    First whatever can be seen without training, see `checks.complaints`. Then the record's networks are trained
    again from equal seeds, and each once more on images that one rounding has changed: the claimed mean may lie above
    the re-measured one by half a point, or by what such roundings do at 99 % confidence. Where `count` asks for five
    or more networks that the record does not have, these are compared by their spread, and so are given networks where
    this machine does not train them to the bit as the record's did. Too low a claim is accepted. Both rules are in
    `ddbench.submissions.verdict`.

    What this shows is that the artefact gives the accuracy. That the method makes such an artefact in as many steps is
    seen by `replay`; what it costs, and what is said of its snapshots, by running the cell again.

    Args:
        record: in a run's folder, or in a folder of tables
        artifact: where it does not lie beside the record, or among the kept ones
        dataset: where the record's data set lies, when not under its name
        count: networks; None takes as many as the record has
        to: a folder of tables, to file what is measured as a new record of the same run, which tables then show
        on_score: told each network of the record's artefact
        report: told `pool`, while given networks are trained, or `evaluate`, and the share that is done

    A network of a file is found where this process has named it, as by `make_network("./net.py:Small")`.

    Raises:
        UserError: when the record, the artefact, the data set or the file of a network is not to be had.
    """
    discover()
    record, artifact = Path(record), Path(artifact) if artifact else None
    claim, wrong = examine(record, artifact, dataset)
    if claim is None:
        return Verification(wrong)
    distilled = _distilled(claim)
    if wrong:
        return Verification(wrong)
    _check_count(claim.record.result.cell, count, filed=to is not None)
    if to is not None:
        held_records(to)  # before anything is trained
    place = place_of(claim.record, resolve_device(device), report)
    evaluator = evaluator_of(claim.record, dataset, place)
    same = evaluator.starts_as(distilled.provenance)
    if not same and (count or claim.record.result.cell.networks) < LEAST_FURTHER:
        raise UserError(
            "given networks, trained again on this machine, are not to the bit those of the record, and fewer than "
            f"{LEAST_FURTHER} cannot be compared by their spread; raise --count, or verify on the record's machine"
        )
    found = rescore(claim.record, distilled, evaluator, place, count, on_score, partial(report, "evaluate"))
    if unknown := {name for way in found.ways for name in way.claimed[0].metrics.keys() - way.scores[0].metrics.keys()}:
        return Verification([f"{record}: metrics {', '.join(sorted(unknown))} are none that its cell measures"])
    comparisons = [
        one for way in found.ways for one in compare(way.claimed, way.scores, way.rounded, way.way, same_networks=same)
    ]
    return Verification(
        comparisons=comparisons,
        scores=[score for way in found.ways for score in way.scores],
        filed=[] if to is None else add_record(rescored_record(claim, found, comparisons), to),
    )


def examine(record: Path, artifact: Path | None, dataset: str | None) -> tuple[Claim | None, list[str]]:
    """Return a claim, where the record has the form of one, and what can be seen to be wrong with it without training.

    Raises:
        UserError: when the record, its data set or the file of its network is not to be had.
    """
    if not record.is_file():
        raise UserError(f"no record at {record}; give a run's record.json, or one below leaderboards/records")
    if record.suffix == ".safetensors":
        raise UserError(f"{record} is no record; give that of the run that made it, as {record_beside(record)}")
    if wrong := problems(record):
        return None, wrong
    claim = Claim.read(record, artifact)
    check_files(claim.record.result.cell.all_networks)
    if artifact is not None and not artifact.is_file():
        raise UserError(f"no artefact of {record} at {artifact}; name its file with --artifact")
    return claim, complaints(claim, recorded_data(claim.record.result.cell, dataset))


def _distilled(claim: Claim) -> DistilledDataset:
    if not claim.record.result.scores:
        raise UserError(f"{claim.path} has no scores to verify; its run ended as {claim.record.result.status}")
    if claim.artifact is None:
        raise UserError(f"no artefact of {claim.path}; name its file with --artifact")
    return DistilledDataset.load(claim.artifact)


def _check_count(cell: Cell, count: int | None, filed: bool) -> None:
    """Raise UserError where a cell has fewer given networks than are asked for, or a record of it needs more."""
    if count is not None and cell.pool is not None and count > cell.pool.held_out:
        raise UserError(f"{cell.pool.held_out} networks were held out, {count} are asked for; lower --count")
    most = cell.most_networks
    if count is not None and filed and count < most:
        raise UserError(f"a record of this cell has {most} networks, {count} are asked for; raise --count")
