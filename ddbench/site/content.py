"""What the site shows: records with their files, rows and published figures; nothing else goes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.io.atomic import canonical_json, digest
from ddbench.leaderboard.columns import Group, groups
from ddbench.leaderboard.grouping import oldest_first, runs_by_cell
from ddbench.leaderboard.origins import Origin, origins
from ddbench.leaderboard.published import Published, published_beside
from ddbench.leaderboard.rows import Row, rows
from ddbench.records.files import records_by_path
from ddbench.records.schema import Record
from ddbench.registry import METHODS
from ddbench.site.format import slug


@dataclass(frozen=True)
class Entry:
    """A record, its place in the site, and the files it came from."""

    record: Record
    path: str
    """of the record's file, below the folder that the site is made from"""
    page: str
    """of its cell, which all seeds share"""
    name: str
    """in its board: that of its run; later attempts are numbered"""
    artifact: Path | None
    newest: bool
    """whether no later attempt at the same run stands in its place"""

    @property
    def place(self) -> str:
        """Where its page says what it holds."""
        return f"{self.page}#{self.name}"

    @property
    def picture(self) -> str:
        """Where the site has the artefact's picture."""
        return f"pictures/{slug(self.record.board)}/{self.name}.png"

    @property
    def download(self) -> str:
        """Where the site has the artefact."""
        return f"artifacts/{slug(self.record.board)}/{self.name}.safetensors"


@dataclass(frozen=True)
class Board:
    name: str
    entries: tuple[Entry, ...]
    """by the paths of their files"""
    groups: tuple[Group, ...]

    @property
    def rows(self) -> list[Row]:
        return [row for group in self.groups for row in group.rows]

    @property
    def methods(self) -> list[str]:
        return sorted({row.method for row in self.rows})

    @property
    def newest(self) -> Entry:
        last = oldest_first(entry.record for entry in self.entries)[-1]
        return next(entry for entry in self.entries if entry.record is last)

    @cached_property
    def _of_record(self) -> dict[int, Entry]:
        return {id(entry.record): entry for entry in self.entries}

    def runs(self, row: Row) -> list[Entry]:
        """The pages of the runs that a row is made of, by seed."""
        return [self._of_record[id(run)] for run in row.runs]


@dataclass(frozen=True)
class Content:
    boards: tuple[Board, ...]
    published: Published
    methods: tuple[str, ...]
    """those that ship, and those that a record names"""

    @property
    def entries(self) -> list[Entry]:
        return [entry for board in self.boards for entry in board.entries]

    @property
    def cells(self) -> dict[str, list[Entry]]:
        """The records of each page by seed, what stands in the tables before earlier attempts."""
        found: dict[str, list[Entry]] = {}
        for entry in sorted(self.entries, key=lambda each: (each.record.result.seed, not each.newest, each.name)):
            found.setdefault(entry.page, []).append(entry)
        return found

    @property
    def headline(self) -> Board:
        """The board that compares most methods; of equals the one with the newest record."""
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
    boards = tuple(_board(name, by_board[name], published, artifacts) for name in sorted(by_board))
    named = {record.result.cell.method for record in files.values()}
    return Content(boards, published, tuple(sorted({*shipping(), *named})))


def _board(name: str, records: Mapping[str, Record], published: Published, artifacts: Mapping[str, Path]) -> Board:
    names, shown = _names(records), {id(run) for runs in runs_by_cell(records.values()).values() for run in runs}
    entries = tuple(
        Entry(
            record=record,
            path=path,
            page=_page(record),
            name=names[id(record)],
            artifact=artifacts.get(record.result.artifact or ""),
            newest=id(record) in shown,
        )
        for path, record in records.items()
    )
    return Board(name, entries, tuple(groups(rows(records.values(), published, shipping()))))


def _page(record: Record) -> str:
    """Of the cell, named by what it holds, so that further seeds leave the name as it is."""
    cell = canonical_json(record.result.cell.model_dump(mode="json"))
    return f"records/{slug(record.board)}/{digest(cell)[-16:]}.html"


def _names(records: Mapping[str, Record]) -> dict[int, str]:
    """A name for each record, that of its run; later attempts are numbered."""
    names: dict[int, str] = {}
    attempts: dict[str, int] = {}
    for record in oldest_first(records.values()):
        attempts[record.key] = attempts.get(record.key, 0) + 1
        number = f"-{attempts[record.key]}" if attempts[record.key] > 1 else ""
        names[id(record)] = f"{record.key}{number}"
    return names


@lru_cache(maxsize=1)
def shipping() -> dict[str, Origin]:
    """Family and paper of the methods that ship, which do not change; looking for plugins each time would take long."""
    return origins()


def shipped(method: str) -> type[Any] | None:
    """The class of a method that ships; None for others: pages must not depend on which plugins are installed."""
    return METHODS.get(method) if method in shipping() else None


def family(method: str) -> str:
    return shipping()[method].family if method in shipping() else "unknown here"
