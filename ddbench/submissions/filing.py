"""Filing claims in a folder of tables: records are only ever added, with all small artefacts and some larger ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically
from ddbench.leaderboard.grouping import runs_by_cell
from ddbench.records.schema import Record
from ddbench.submissions.claim import Claim

ARTIFACT_LIMIT = 400_000
"""bytes of the largest artefact that is kept: ten images a class of MNIST"""
SMALL_ARTIFACT = 50_000
"""bytes below which every artefact is kept, so that each of its scores can be checked"""


@dataclass
class Filing:
    """What is to be written, and what stands against it."""

    records: dict[Path, Claim] = field(default_factory=dict)
    """claims that are new, by the place of their record"""
    files: dict[Path, bytes] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan_filing(claims: Iterable[Claim], folder: Path, held: Mapping[Path, Record]) -> Filing:
    """Plan the place of each claim that is not there yet, and of the artefact of each cell's median run.

    Args:
        folder: of the tables
        held: the records that it holds, by path
    """
    filing, known = Filing(), dict(held)
    for claim in sorted(claims, key=lambda claim: claim.record.measured.started):
        try:
            path = _place(claim, folder, known)
        except UserError as error:
            filing.complaints.append(str(error))
            continue
        if path is not None:
            filing.records[path], known[path] = claim, claim.record
            filing.files[path] = claim.content
    kept = dict(_small(filing.records, folder)) | dict(_medians(filing.records, known, folder))
    for path, artifact in kept.items():
        size = artifact.stat().st_size
        if size <= ARTIFACT_LIMIT:
            shelf = _shelf(filing.records[path].record, folder)
            filing.files[shelf / f"{path.stem}.safetensors"] = artifact.read_bytes()
        else:
            filing.notes.append(
                f"{artifact} has {size} bytes, more than the {ARTIFACT_LIMIT} of an artefact that is kept; publish it "
                "with `ddbench card`, and say where in the pull request"
            )
    return filing


@contextmanager
def all_or_none(files: Mapping[Path, bytes]) -> Iterator[None]:
    """Write new files, which stay if all can be written and what is done within succeeds.

    Raises:
        UserError: when one of them exists.
    """
    for path in files:
        if path.exists():
            raise UserError(f"{path} exists, and is not of a record that is there; move it away")
    try:
        for path, data in files.items():
            write_atomically(path, data)
        yield
    except BaseException:
        for path in files:
            path.unlink(missing_ok=True)
        raise


def _place(claim: Claim, folder: Path, known: Mapping[Path, Record]) -> Path | None:
    """The next free name of the run; None when the same record is there.

    Raises:
        UserError: when the attempt is there with other content.
    """
    record, number = claim.record, 1
    shelf = folder / "records" / record.board / record.result.cell.method
    path = shelf / f"{record.name}.json"
    while (earlier := known.get(path)) is not None:
        if earlier == record:
            return None
        if earlier.measured.started == record.measured.started:
            raise UserError(
                f"{claim.path} is {path} with other content; records are never changed: run again, and submit that"
            )
        number += 1
        path = shelf / f"{record.name}-{number}.json"
    return path


def _small(new: Mapping[Path, Claim], folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each new record whose artefact takes next to no place and is not kept yet, and that artefact."""
    for path, claim in new.items():
        file, record = claim.artifact, claim.record
        if file is None or file.stat().st_size >= SMALL_ARTIFACT:
            continue
        if record.result.artifact not in _kept(record, folder):
            yield path, file


def _medians(new: Mapping[Path, Claim], known: Mapping[Path, Record], folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the new record of median accuracy, and its artefact, for each cell whose table shows new runs and none
    with a kept artefact."""
    paths = {id(record): path for path, record in known.items()}
    for board in sorted({claim.record.board for claim in new.values()}):
        for runs in runs_by_cell(record for record in known.values() if record.board == board).values():
            added = [(path, new[path]) for run in runs if (path := paths[id(run)]) in new]
            found = sorted(
                (claim.record.accuracy or 0.0, claim.record.result.seed, path, claim.artifact)
                for path, claim in added
                if claim.artifact
            )
            if found and not any(run.result.artifact in _kept(runs[0], folder) for run in runs):
                yield found[(len(found) - 1) // 2][2:]


def _kept(record: Record, folder: Path) -> set[str]:
    """Digests of the artefacts that are kept of a method on a board."""
    return {file_digest(path) for path in _shelf(record, folder).glob("*.safetensors")}


def _shelf(record: Record, folder: Path) -> Path:
    return folder / "artifacts" / record.board / record.result.cell.method
