"""A leaderboard of a day as one file, which a paper can cite and anybody can render again."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ddbench.compute.environment import versions
from ddbench.io.atomic import canonical_json, digest, write_atomically
from ddbench.records.files import read_records
from ddbench.records.schema import Record

EPOCH = (1980, 1, 1, 0, 0, 0)
"""time of every member of the archive, so that equal contents give equal bytes"""
CITATION = "SNAPSHOT.bib"


@dataclass(frozen=True)
class Snapshot:
    """What identifies a leaderboard."""

    date: str
    """day on which the newest record was finished"""
    records: int
    digest: str
    """digest of the paths and contents of records, findings and published figures; records name artefacts by theirs"""
    version: str
    """version of ddbench, which renders it"""

    @property
    def file_name(self) -> str:
        return f"ddbench-leaderboard-{self.date}.zip"

    @property
    def bibtex(self) -> str:
        """Entry for a bibliography."""
        return (
            f"@misc{{ddbench-{self.date},\n"
            f"  title  = {{The ddbench leaderboard of dataset distillation, snapshot of {self.date}}},\n"
            f"  author = {{{{the ddbench authors}}}},\n"
            f"  year   = {{{self.date[:4]}}},\n"
            f"  note   = {{{self.records} records, {self.digest}, ddbench {self.version}}},\n"
            f"}}"
        )


def snapshot_of(folder: Path, records: Iterable[Record]) -> Snapshot:
    """Return what identifies the leaderboard that a folder holds.

    Args:
        records: those of the folder
    """
    finished = [record.measured.finished[:10] for record in records]
    decisive = sorted([*folder.rglob("*.json"), *folder.glob("published.yaml")])
    contents = {path.relative_to(folder).as_posix(): digest(path.read_bytes()) for path in decisive}
    return Snapshot(max(finished), len(finished), digest(canonical_json(contents)), versions()["ddbench"])


def write_snapshot(folder: Path, out: Path | None = None) -> tuple[Snapshot, Path]:
    """Write records, findings, artefacts, tables and published figures of a folder into one archive.

    Equal folders give equal archives, whenever they are written. Unpacked, it is such a folder again, and gives the
    same tables and pages.

    Args:
        out: the archive; None names it by its date, in the current directory

    Raises:
        UserError: when there are no records, or one of them is not valid.
    """
    made, buffer = snapshot_of(folder, read_records(folder)), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CITATION):
            _add(archive, path.relative_to(folder).as_posix(), path.read_bytes())
        _add(archive, CITATION, f"{made.bibtex}\n".encode())
    target = out or Path(made.file_name)
    write_atomically(target, buffer.getvalue())
    return made, target


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(f"leaderboards/{name}", EPOCH)
    member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(member, content)
