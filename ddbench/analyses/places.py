"""Places of artefacts that are to be analysed, and of what is found of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.errors import UserError
from ddbench.records.files import read_record
from ddbench.records.run_folder import ARTIFACT, RECORD, record_beside
from ddbench.records.schema import Record


@dataclass(frozen=True)
class Source:
    """A file to be analysed."""

    file: Path
    record: Record | None = None
    """its run's record, where that lies with it"""
    folder: Path | None = None
    """folder of the findings; None keeps none"""
    run: str = ""
    """what the names of their files begin with"""

    def place(self, name: str) -> Path | None:
        """Return the path of the file of a finding with this name; None where none is kept."""
        if self.folder is None:
            return None
        return self.folder / (f"{self.run}-{name}" if self.run else name)


def sources(path: Path, out: Path | None = None) -> list[Source]:
    """The artefacts of a file, of a folder of a board's runs, or of a folder of tables or a part of it.

    Findings go beside a run's record, or to `analyses/<board>/<method>/` of the tables.

    Args:
        out: folder for all findings, in place of these

    Raises:
        UserError: when there is no artefact, or a record is not valid.
    """
    if not path.exists():
        raise UserError(f"no artefact or folder at {path}; `ddbench distill` writes an artefact")
    if path.is_file():
        found = [Source(path, _of_file(path), None, path.stem)]
    else:
        tables = _tables(path.absolute())
        found = list(_committed(path.absolute(), tables) if tables else _of_runs(path))
    if not found:
        raise UserError(f"no artefacts below {path}; name a file, a folder of runs, or leaderboards/artifacts/BOARD")
    if out is not None:
        found = [replace(source, folder=out, run=source.run or _name(source)) for source in found]
    return found


def _name(source: Source) -> str:
    return source.record.name if source.record else source.file.stem


def _of_file(path: Path) -> Record | None:
    beside = path.with_name(RECORD) if path.name == ARTIFACT else record_beside(path)
    if not beside.is_file():
        return None
    record = read_record(beside)
    return record if record.result.artifact == file_digest(path) else None


def _of_runs(folder: Path) -> Iterator[Source]:
    for file in sorted(folder.rglob(ARTIFACT)):
        record = _of_file(file)
        if record is not None:
            yield Source(file, record, file.parent)


def _tables(folder: Path) -> Path | None:
    """Return the folder of tables that a folder is, or lies in."""
    return next(
        (at for at in (folder, *folder.parents) if all((at / n).is_dir() for n in ("records", "artifacts"))), None
    )


def _committed(folder: Path, tables: Path) -> Iterator[Source]:
    kind, *rest = folder.relative_to(tables).parts or ("artifacts",)
    if kind not in ("records", "artifacts", "analyses"):
        return
    records = lru_cache(_by_artifact)
    for file in sorted((tables / "artifacts").joinpath(*rest).rglob("*.safetensors")):
        shelf = file.parent.relative_to(tables / "artifacts")
        record = records(tables / "records" / shelf).get(file_digest(file))
        if record is not None:
            yield Source(file, record, tables / "analyses" / shelf, file.stem)


def _by_artifact(shelf: Path) -> Mapping[str, Record]:
    found = [read_record(path) for path in sorted(shelf.glob("*.json"))]
    return {record.result.artifact: record for record in found if record.result.artifact and not record.replays}
