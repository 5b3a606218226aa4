"""Everything that the site shows: records with their files, rows and published figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.io.atomic import canonical_json, digest
from ddbench.leaderboard.columns import Group, groups
from ddbench.leaderboard.findings import read_findings
from ddbench.leaderboard.grouping import oldest_first, runs_by_cell
from ddbench.leaderboard.origins import Origin, origins
from ddbench.leaderboard.published import Published, published_beside
from ddbench.leaderboard.rows import Row, rows
from ddbench.leaderboard.snapshot import Snapshot, snapshot_of
from ddbench.leaderboard.studies import read_studies
from ddbench.records.files import records_by_path
from ddbench.records.findings import AnalysisRecord
from ddbench.records.schema import Record
from ddbench.records.states import evidence
from ddbench.records.studies import StudyRecord
from ddbench.registry import METHODS
from ddbench.site.format import slug


@dataclass(frozen=True)
class RecordEntry:
    """A record with its page, its picture and the files it came from."""

    record: Record
    path: str
    """path of the record's file below the folder that the site is made from"""
    page: str
    """page of its cell, which all seeds share"""
    name: str
    """name of its run in its board; later attempts are numbered"""
    artifact: Path | None
    newest: bool
    """true if there is no later attempt at the same run"""
    agreeing: tuple[Record, ...] = ()
    """records that measured it again elsewhere and agree"""

    @property
    def place(self) -> str:
        """Link to its section of the cell's page."""
        return f"{self.page}#{self.name}"

    @property
    def picture(self) -> str:
        """Path of the artefact's picture in the site."""
        return f"pictures/{slug(self.record.board)}/{self.name}.png"

    @property
    def download(self) -> str:
        """Path of the artefact in the site."""
        return f"artifacts/{slug(self.record.board)}/{self.name}.safetensors"

    @property
    def json(self) -> str:
        """Path of the record's file in the site."""
        return f"json/{slug(self.record.board)}/{self.name}.json"


@dataclass(frozen=True)
class BoardContent:
    name: str
    entries: tuple[RecordEntry, ...]
    """records, sorted by the paths of their files"""
    groups: tuple[Group, ...]
    findings: tuple[AnalysisRecord, ...] = ()
    """findings of analyses of its artefacts"""

    @property
    def rows(self) -> list[Row]:
        return [row for group in self.groups for row in group.rows]

    @property
    def methods(self) -> list[str]:
        return sorted({row.method for row in self.rows})

    @property
    def newest(self) -> RecordEntry:
        last = oldest_first(entry.record for entry in self.entries)[-1]
        return next(entry for entry in self.entries if entry.record is last)

    @cached_property
    def _of_record(self) -> dict[int, RecordEntry]:
        return {id(entry.record): entry for entry in self.entries}

    def runs(self, row: Row) -> list[RecordEntry]:
        """Return the records of a row's runs, by seed."""
        return [self._of_record[id(run)] for run in row.runs]


@dataclass(frozen=True)
class Content:
    boards: tuple[BoardContent, ...]
    published: Published
    methods: tuple[str, ...]
    """methods that ship, and those that a record names"""
    snapshot: Snapshot
    """what identifies it"""
    studies: tuple[StudyRecord, ...] = ()
    """rows of studies"""

    @property
    def entries(self) -> list[RecordEntry]:
        return [entry for board in self.boards for entry in board.entries]

    @property
    def cells(self) -> dict[str, list[RecordEntry]]:
        """The records of each page, by seed; those in the tables come before earlier attempts."""
        found: dict[str, list[RecordEntry]] = {}
        for entry in sorted(self.entries, key=lambda each: (each.record.result.seed, not each.newest, each.name)):
            found.setdefault(entry.page, []).append(entry)
        return found

    @property
    def headline(self) -> BoardContent:
        """The board with the most methods; among equals the one with the newest record."""
        most = max(len(board.methods) for board in self.boards)
        widest = [board for board in self.boards if len(board.methods) == most]
        last = oldest_first(board.newest.record for board in widest)[-1]
        return next(board for board in widest if board.newest.record is last)


def read_content(folder: Path) -> Content:
    """Read records, artefacts and published figures below a folder.

    Raises:
        UserError: when there are no records, or one of them is not valid.
    """
    published, files = published_beside(folder), records_by_path(folder)
    artifacts = {file_digest(path): path for path in sorted(folder.rglob("*.safetensors"))}
    by_board: dict[str, dict[str, Record]] = {}
    for path, record in files.items():
        by_board.setdefault(record.board, {})[path.relative_to(folder).as_posix()] = record
    findings = read_findings(folder)
    boards = tuple(
        replace(_board(name, by_board[name], published, artifacts), findings=tuple(findings.get(name, ())))
        for name in sorted(by_board)
    )
    named = {record.result.cell.method for record in files.values()}
    methods = tuple(sorted({*shipping(), *named}))
    return Content(boards, published, methods, snapshot_of(folder, files.values()), tuple(read_studies(folder)))


def _board(
    name: str, records: Mapping[str, Record], published: Published, artifacts: Mapping[str, Path]
) -> BoardContent:
    names, shown = _names(records), {id(run) for runs in runs_by_cell(records.values()).values() for run in runs}
    agreeing = evidence(records.values())
    entries = tuple(
        RecordEntry(
            record=record,
            path=path,
            page=_page(record),
            name=names[id(record)],
            artifact=artifacts.get(record.result.artifact or ""),
            newest=id(record) in shown,
            agreeing=tuple(agreeing.get(id(record), ())),
        )
        for path, record in records.items()
    )
    return BoardContent(name, entries, tuple(groups(rows(records.values(), published, shipping()))))


def _page(record: Record) -> str:
    """Return the page of the record's cell, named by the cell's content, so that further seeds do not change it."""
    cell = canonical_json(record.result.cell.model_dump(mode="json"))
    return f"records/{slug(record.board)}/{digest(cell)[-16:]}.html"


def _names(records: Mapping[str, Record]) -> dict[int, str]:
    """Return a name for each record, that of its run; later attempts are numbered."""
    names: dict[int, str] = {}
    attempts: dict[str, int] = {}
    for record in oldest_first(records.values()):
        attempts[record.key] = attempts.get(record.key, 0) + 1
        number = f"-{attempts[record.key]}" if attempts[record.key] > 1 else ""
        names[id(record)] = f"{record.key}{number}"
    return names


@lru_cache(maxsize=1)
def shipping() -> dict[str, Origin]:
    """Return family and paper of the methods that ship; cached, since looking for plugins takes long."""
    return origins()


def shipped(method: str) -> type[Any] | None:
    """Return the class of a method that ships; None for others: pages must not depend on installed plugins."""
    return METHODS.get(method) if method in shipping() else None


def family(method: str) -> str:
    return shipping()[method].family if method in shipping() else "unknown here"
