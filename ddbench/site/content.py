"""What the site shows: records with their files, rows and published figures; nothing else goes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ddbench.artifact import file_digest
from ddbench.catalogue import origins
from ddbench.leaderboard.cells import oldest_first, runs_by_cell
from ddbench.leaderboard.layout import Group, groups
from ddbench.leaderboard.origins import Origin
from ddbench.leaderboard.published import Published, published_beside
from ddbench.leaderboard.rows import Row, rows
from ddbench.record_files import records_by_path
from ddbench.records import Record
from ddbench.registry import METHODS
from ddbench.site.names import slug


@dataclass(frozen=True)
class Entry:
    """A record, its page, and the files it came from."""

    record: Record
    path: str
    """of the record's file, below the folder that the site is made from"""
    page: str
    artifact: Path | None
    newest: bool
    """whether no later attempt at the same run stands in its place"""

    @property
    def download(self) -> str:
        """Where the site has the artefact."""
        return self.page.replace("records/", "artifacts/", 1).removesuffix(".html") + ".safetensors"


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
    pages, shown = _pages(name, records), {id(run) for runs in runs_by_cell(records.values()).values() for run in runs}
    entries = tuple(
        Entry(record, path, pages[id(record)], artifacts.get(record.result.artifact or ""), id(record) in shown)
        for path, record in records.items()
    )
    return Board(name, entries, tuple(groups(rows(records.values(), published, shipping()))))


def _pages(board: str, records: Mapping[str, Record]) -> dict[int, str]:
    """A page for each record, named by its run; later attempts are numbered."""
    pages: dict[int, str] = {}
    attempts: dict[str, int] = {}
    for record in oldest_first(records.values()):
        attempts[record.key] = attempts.get(record.key, 0) + 1
        number = f"-{attempts[record.key]}" if attempts[record.key] > 1 else ""
        pages[id(record)] = f"records/{slug(board)}/{record.key}{number}.html"
    return pages


@lru_cache(maxsize=1)
def shipping() -> dict[str, Origin]:
    """Family and paper of the methods that ship, which do not change; looking for plugins each time would take long."""
    return origins()


def shipped(method: str) -> type[Any] | None:
    """The class of a method that ships; None for others: pages must not depend on which plugins are installed."""
    return METHODS.get(method) if method in shipping() else None


def family(method: str) -> str:
    return shipping()[method].family if method in shipping() else "unknown here"
