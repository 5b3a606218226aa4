"""What finished runs have left, and whether it is still there: a method can write to every file of its user's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically
from ddbench.records.files import damage, read_record, write_record
from ddbench.records.run_folder import ARTIFACT, RECORD
from ddbench.records.schema import Record, Result

Stamp = tuple[int, int, int] | None
"""what a file cannot keep when it is written to: its number, size and time of change"""


@dataclass(frozen=True)
class _Kept:
    record: Record
    content: bytes
    stamp: Stamp
    artifact_stamp: Stamp


class Keeper:
    """Remembers the records of a board's finished runs, and the digests of their artefacts.

    Args:
        folders: of the runs that have records
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._kept: dict[Path, _Kept] = {}
        for folder in folders:
            self.note(folder)

    def note(self, folder: Path) -> None:
        """Remember what a run has left."""
        path = folder / RECORD
        if path.is_file() and damage(path) is None:
            self._kept[folder] = _Kept(read_record(path), path.read_bytes(), _stamp(path), _stamp(folder / ARTIFACT))

    def look(self) -> Iterator[tuple[Record, str]]:
        """Put back every record that was changed or removed; give what now stands there, and a sentence.

        An artefact that was changed or removed cannot be put back: its run counts as crashed, and is made again.
        """
        for folder, kept in list(self._kept.items()):
            if _stamp(folder / ARTIFACT) != kept.artifact_stamp and not _is_whole(folder, kept.record):
                yield self._lost(folder, kept)
            elif _stamp(folder / RECORD) != kept.stamp and not _reads(folder / RECORD, kept.content):
                (folder).mkdir(parents=True, exist_ok=True)
                write_atomically(folder / RECORD, kept.content)
                self.note(folder)
                yield kept.record, f"{folder / RECORD} was changed or removed meanwhile; it was put back"

    def _lost(self, folder: Path, kept: _Kept) -> tuple[Record, str]:
        sentence = f"{folder / ARTIFACT} was changed or removed meanwhile; the same command makes the run again"
        result = Result(cell=kept.record.result.cell, seed=kept.record.result.seed, status="crashed", reason=sentence)
        record = kept.record.model_copy(update={"result": result, "stored_bytes": {}})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ARTIFACT).unlink(missing_ok=True)
        write_record(folder / RECORD, record)
        del self._kept[folder]
        return record, sentence


def _stamp(path: Path) -> Stamp:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns


def _reads(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _is_whole(folder: Path, record: Record) -> bool:
    try:
        return record.result.artifact is None or file_digest(folder / ARTIFACT) == record.result.artifact
    except (OSError, UserError):
        return False
