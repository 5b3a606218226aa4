"""A card for each method: what it is, its settings, its images and its records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddbench.registry import METHODS
from ddbench.site import docs
from ddbench.site.analysis_pages import analysis_page
from ddbench.site.content import BoardContent, Content, RecordEntry, family, shipped
from ddbench.site.families import by_family, look
from ddbench.site.pictures import Picture
from ddbench.site.tables import Table, TableLine, paper, paper_name


@dataclass(frozen=True)
class Result:
    """The result of one cell of a method on a board."""

    board: str
    line: TableLine
    entries: tuple[RecordEntry, ...]


@dataclass(frozen=True)
class Shown:
    """An artefact and its picture."""

    entry: RecordEntry
    picture: Picture

    @property
    def board(self) -> str:
        return self.entry.record.board

    @property
    def cell(self) -> Any:
        return self.entry.record.result.cell

    @property
    def seed(self) -> int:
        return self.entry.record.result.seed

    @property
    def accuracy(self) -> float | None:
        return self.entry.record.accuracy


def method_values(
    method: str, tables: Mapping[str, Sequence[Table]], content: Content, shown: Iterable[Shown]
) -> dict[str, Any]:
    """Return the values that the template `method.html` shows.

    Args:
        tables: the tables of each board
        shown: the pictures of the method's artefacts
    """
    cls = shipped(method)
    summary, _, body = docs.prose(cls).partition("\n\n") if cls else ("", "", "")
    return {
        "name": method,
        "family": family(method),
        "look": look(method),
        "ships": cls is not None,
        "summary": docs.render_markdown(summary),
        "body": docs.render_markdown(body.replace("Differences:", "**Differences:**", 1)),
        "citation": docs.render_inline(docs.citation(cls)) if cls else "",
        "paper": paper(method),
        "paper_name": paper_name(method),
        "aliases": METHODS.aliases(method) if cls else [],
        "settings_known": getattr(cls, "settings", ()),
        "settings": docs.settings(cls) if cls else [],
        "pictures": list(shown),
        "results": [result for board in content.boards for result in _results(method, board, tables[board.name])],
        "analysed": [
            (board.name, analysis_page(board.name), names)
            for board in content.boards
            if (names := _analysed(method, board))
        ],
    }


def overview(content: Content) -> dict[str, Any]:
    """Return the values that the template `methods.html` shows."""
    counts: dict[str, int] = {}
    for entry in content.entries:
        name = entry.record.result.cell.method
        counts[name] = counts.get(name, 0) + 1
    families = [
        (
            name,
            look(methods[0]),
            [
                {
                    "name": method,
                    "summary": docs.first_line(shipped(method)) if shipped(method) else "",
                    "paper": paper(method),
                    "paper_name": paper_name(method),
                    "records": counts.get(method, 0),
                }
                for method in methods
            ],
        )
        for name, methods in by_family(content.methods).items()
    ]
    return {"count": len(content.methods), "families": families}


def _analysed(method: str, board: BoardContent) -> list[str]:
    """Return the analyses of which a board has findings on the method's artefacts."""
    made = {entry.record.result.artifact for entry in board.entries if entry.record.result.cell.method == method}
    return sorted({found.analysis for found in board.findings if found.artifact in made})


def _results(method: str, board: BoardContent, tables: Iterable[Table]) -> list[Result]:
    lines = [line for table in tables for line in table.lines if line.row.method == method]
    return [Result(board.name, line, tuple(board.runs(line.row))) for line in lines]
