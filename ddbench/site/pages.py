"""The files of the site, each rendered from the content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddbench.leaderboard.tables import csv_table
from ddbench.records.files import dump_record
from ddbench.site import (
    answer_pages,
    board_pages,
    changes_page,
    method_pages,
    methodology,
    overview,
    protocol_pages,
    published_page,
    record_pages,
    shared_page,
    study_page,
)
from ddbench.site.analysis_pages import analysis_page, analysis_values
from ddbench.site.content import Content, shipping
from ddbench.site.format import board_page, method_page, protocol_page, slug
from ddbench.site.method_pages import Shown
from ddbench.site.pictures import picture
from ddbench.site.rendering import HERE, Renderer
from ddbench.site.tables import Table, tables_of

ASSETS = ("style.css", "script.js")
Page = tuple[str, str, Mapping[str, Any]]
"""path inside the site, name of the template, and the values that it shows"""


def files(content: Content, documentation: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield the path and the bytes of each file of the site, a pure function of the arguments and of the code."""
    renderer, shown = Renderer(documentation), _pictures(content)
    yield from ((name, (HERE / name).read_bytes()) for name in ASSETS)
    for page, template, values in _pages(content, shown):
        yield page, renderer.render(page, template, values)
    for board in content.boards:
        yield (
            _csv(board.name),
            csv_table((entry.record for entry in board.entries), content.published, shipping()).encode(),
        )
    yield from ((each.entry.picture, each.picture.png) for each in shown.values())
    yield from ((entry.json, dump_record(entry.record)) for entry in content.entries)
    yield from ((entry.download, entry.artifact.read_bytes()) for entry in content.entries if entry.artifact)


def _pages(content: Content, shown: Mapping[str, Shown]) -> Iterator[Page]:
    tables = {board.name: tables_of(board) for board in content.boards}
    asked = answer_pages.questions(content, tables)
    yield "index.html", "index.html", overview.overview_values(content, asked)
    for question in asked:
        yield question.page, "answer.html", answer_pages.answer_values(question, content, shown)
    yield "methods.html", "methods.html", method_pages.overview(content)
    yield "protocols.html", "protocols.html", protocol_pages.overview(content)
    yield "published.html", "published.html", published_page.published_values(content, tables)
    yield "methodology.html", "methodology.html", methodology.methodology_values()
    yield shared_page.PAGE, "shared.html", shared_page.shared_values(content)
    changed = changes_page.changes_values(changes_page.changes(content))
    yield changes_page.PAGE, "changes.html", changed
    yield changes_page.FEED, "changes.xml", changed
    yield changes_page.CITE, "cite.html", {"snapshot": content.snapshot}
    if content.studies:
        yield study_page.PAGE, "studies.html", study_page.study_values(content)
    yield from _cards(content, tables, shown)
    findings = {board.name: board.findings for board in content.boards}
    for page, entries in content.cells.items():
        own = findings[entries[0].record.board]
        yield page, "records.html", record_pages.record_values(entries, shown, own)


def _cards(content: Content, tables: Mapping[str, Sequence[Table]], shown: Mapping[str, Shown]) -> Iterator[Page]:
    for board in content.boards:
        values = board_pages.board_values(board, tables[board.name], content, Path(_csv(board.name)).name)
        yield board_page(board.name), "board.html", values
        if board.findings:
            yield analysis_page(board.name), "analyses.html", analysis_values(board)
    for method in content.methods:
        own = [each for each in shown.values() if each.cell.method == method and each.entry.newest]
        yield method_page(method), "method.html", method_pages.method_values(method, tables, content, own)
    for protocol in protocol_pages.names(content):
        yield protocol_page(protocol), "protocol.html", protocol_pages.protocol_values(protocol, content)


def _pictures(content: Content) -> dict[str, Shown]:
    """Return the pictures of artefacts by the `place` of their record."""
    return {
        entry.place: Shown(entry, made)
        for entry in content.entries
        if entry.artifact and (made := picture(entry.artifact))
    }


def _csv(board: str) -> str:
    return f"boards/{slug(board)}.csv"
