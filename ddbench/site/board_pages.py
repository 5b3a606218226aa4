"""The page of each board: its tables and its curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ddbench.leaderboard.against_selection import HEADING
from ddbench.leaderboard.published import footnotes
from ddbench.leaderboard.tables import READING
from ddbench.records.states import STATES
from ddbench.site import reproduce
from ddbench.site.analysis_pages import analysis_page
from ddbench.site.charts import chart
from ddbench.site.content import BoardContent, Content
from ddbench.site.families import legend
from ddbench.site.overview import conditions
from ddbench.site.tables import Table, beyond_headlines, storage


def board_values(board: BoardContent, tables: Sequence[Table], content: Content, csv: str) -> dict[str, Any]:
    """Return the values that the template `board.html` shows.

    Args:
        csv: link to the board's data
    """
    stored, beyond = storage(tables), beyond_headlines(tables)
    parts = [*stored, *(part for table in tables for part in table.parts)]
    shown = {column for part in parts for column in part.columns}.union(*(table.columns for table in tables))
    if any(table.against_selection for table in tables):
        shown |= {HEADING}
    charts = [chart(table.group) for table in tables]
    figures = [figure for row in board.rows for figure in (*row.published, *row.published_across)]
    return {
        "board": board,
        "conditions": conditions(board.rows),
        "families": legend(board.methods),
        "tables": list(zip(tables, charts, strict=True)),
        "datasets": sorted({row.dataset for row in board.rows}),
        "ipcs": sorted({row.ipc for row in board.rows}),
        "states": [name for name in STATES if name != "claimed"],
        "published": content.published,
        "footnotes": footnotes(figures, content.published),
        "csv": csv,
        "stored": stored,
        "beyond": beyond,
        "analyses": analysis_page(board.name) if board.findings else "",
        "command": reproduce.of_board(board.name),
        "reading": [(column, text) for column, text in READING.items() if column in shown],
    }
