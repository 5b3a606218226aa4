"""The first page of the site: one board in short, and a line for each board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ddbench.leaderboard.columns import CONDITIONS, budgets
from ddbench.leaderboard.readme import overview
from ddbench.leaderboard.rows import Row
from ddbench.site.answer_pages import Question
from ddbench.site.charts import SMALL, chart
from ddbench.site.content import BoardContent, Content
from ddbench.site.families import legend, look
from ddbench.site.study_page import PAGE

TITLES = {"networks": "scored with", "split": "scored on", "threads": "device"}
"""names of conditions where they stand alone"""


def overview_values(content: Content, asked: Sequence[Question]) -> dict[str, Any]:
    """Return the values that the template `index.html` shows."""
    board = content.headline
    lines = overview(board.groups)
    records = content.entries
    measured = {entry.record.result.cell.method for entry in records}
    drawn = [made for group in board.groups if (made := chart(group, SMALL))]
    return {
        "questions": asked,
        "board": board,
        "conditions": conditions(board.rows),
        "families": legend(board.methods),
        "headings": [column for column in lines[0][1] if column not in ("method", "family")],
        "lines": [(look(row.method), row.method, texts) for row, texts in lines],
        "charts": drawn,
        "facts": [
            (len(records), "records"),
            (len(measured), "methods measured"),
            (len(content.methods), "methods to run"),
            (len(content.boards), "boards"),
            (len(content.published.entries), "published figures"),
        ],
        "boards": [_line(each) for each in content.boards],
        "studies": PAGE if content.studies else "",
    }


def conditions(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the conditions under which rows were measured: the values of each, and the budgets."""
    found = {
        TITLES.get(name, name): sorted({text(row).removeprefix(f"{name} ") for row in rows})
        for name, text in CONDITIONS.items()
        if name != "digest"
    }
    return found | {"budget": budgets(rows)}


def _line(board: BoardContent) -> dict[str, Any]:
    rows = board.rows
    best = [(group, group.rows[0]) for group in board.groups if group.rows[0].accuracy]
    return {
        "board": board,
        "datasets": sorted({row.dataset for row in rows}),
        "ipc": sorted({row.ipc for row in rows}),
        "protocols": sorted({row.protocol for row in rows}),
        "budgets": conditions(rows)["budget"],
        "best": [(group.heading, row, look(row.method)) for group, row in best],
    }
