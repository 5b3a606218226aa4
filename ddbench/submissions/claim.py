"""A claim: a record, where it lies, and the artefact that it is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.errors import UserError
from ddbench.records.files import read_record
from ddbench.records.run_folder import artifact_beside
from ddbench.records.schema import Record


@dataclass(frozen=True)
class Claim:
    """A record that is valid."""

    path: Path
    content: bytes
    """content of the record's file"""
    record: Record
    artifact: Path | None
    """None where the file is not at hand"""

    @classmethod
    def read(cls, path: Path, artifact: Path | None = None) -> Claim:
        """A record with its artefact, found in its run's folder or in the folder of tables that the record lies in.

        Args:
            artifact: the file, where it lies elsewhere

        Raises:
            UserError: when the record is not valid.
        """
        record = read_record(path)
        return cls(path, path.read_bytes(), record, artifact or _found(path, record))


def read_claims(paths: Iterable[Path]) -> tuple[list[Claim], list[str]]:
    """The claims of these records, and a sentence for each record that is not valid."""
    claims, complaints = [], []
    for path in paths:
        try:
            claims.append(Claim.read(path))
        except UserError as error:
            complaints.append(str(error))
    return claims, complaints


def _found(path: Path, record: Record) -> Path | None:
    if (beside := artifact_beside(path)) is not None:
        return beside if beside.is_file() else None
    tables = next((parent.parent for parent in path.parents if parent.name == "records"), None)
    if tables is None:
        return None
    shelf = tables / "artifacts" / path.parent.relative_to(tables / "records")
    # A re-measurement shares the artefact of an earlier attempt, whose name differs by its number.
    candidates = sorted(shelf.glob(f"*-{record.key}*.safetensors"), key=lambda found: found.stem != path.stem)
    same = (found for found in candidates if file_digest(found) == record.result.artifact)
    return next(same, candidates[0] if candidates else None)
