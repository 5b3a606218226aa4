"""What finished runs have left, and whether it is still there: a method can write to every file of its user's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.errors import UserError
from ddbench.io.atomic import make_folder, write_atomically
from ddbench.io.documents import parse_json
from ddbench.records.files import write_record
from ddbench.records.run_folder import ARTIFACT, RECORD
from ddbench.records.schema import Record, Result

Stamp = tuple[int, int, int] | None
"""what a file cannot keep when it is written to: its number, size and time of change"""


@dataclass(frozen=True)
class _Kept:
    content: bytes
    """bytes of the record's file"""
    record_stamp: Stamp
    artifact_stamp: Stamp


class Keeper:
    """Remembers the records of a board's finished runs, and what their artefacts were like.

    Args:
        folders: of the runs that have records
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._kept: dict[Path, _Kept] = {}
        for folder in folders:
            self.note(folder)

    def note(self, folder: Path) -> None:
        """Remember what a run has left."""
        with suppress(OSError):
            content = (folder / RECORD).read_bytes()
            self._kept[folder] = _Kept(content, _stamp(folder / RECORD), _stamp(folder / ARTIFACT))

    def look(self) -> Iterator[tuple[Record, str]]:
        """Put back every record that was changed or removed; give what now stands there, and a sentence.

        An artefact that was changed or removed cannot be put back: its run counts as crashed, and is made again.
        """
        for folder, kept in list(self._kept.items()):
            stamps = _stamp(folder / RECORD), _stamp(folder / ARTIFACT)
            if stamps != (kept.record_stamp, kept.artifact_stamp):
                with suppress(OSError, UserError, ValidationError):  # what cannot be mended now is found the next time
                    yield from self._mended(folder, kept)
                    self.note(folder)

    def _mended(self, folder: Path, kept: _Kept) -> Iterator[tuple[Record, str]]:
        make_folder(folder)
        record, path = _record(kept.content), folder / ARTIFACT
        if not _is_whole(path, record):
            sentence = f"{path} was changed or removed meanwhile; the same command makes the run again"
            result = Result(cell=record.result.cell, seed=record.result.seed, status="crashed", reason=sentence)
            lost = record.model_copy(update={"result": result, "stored_bytes": {}})
            write_record(folder / RECORD, lost)
            yield lost, sentence
        elif not _reads(folder / RECORD, kept.content):
            write_atomically(folder / RECORD, kept.content)
            yield record, f"{folder / RECORD} was changed or removed meanwhile; it was put back"


def _record(content: bytes) -> Record:
    said = parse_json(content)
    del said["checksum"]
    return Record.model_validate(said)


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


def _is_whole(path: Path, record: Record) -> bool:
    try:
        return record.result.artifact is None or file_digest(path) == record.result.artifact
    except (OSError, UserError):
        return False
