"""The table that README opens with: one board between two marks, as its records give it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ddbench.leaderboard.layout import groups, summary
from ddbench.leaderboard.rows import rows
from ddbench.leaderboard.tables import markdown_table
from ddbench.records import Record

MARKS = re.compile(r"(<!-- leaderboard: (?P<board>\S+) -->\n).*?(<!-- end of leaderboard -->)", re.DOTALL)
OMITTED = ("steps", "stored kB")
"""columns that the board's own page has"""


def with_board(text: str, boards: Mapping[str, Sequence[Record]], folder: str) -> str:
    """The text with its marked part made anew; a text without marks, or of a board without records, as it is.

    Args:
        folder: of the tables, as links from the text name it
    """
    found = MARKS.search(text)
    if found is None or found["board"] not in boards:
        return text
    return (
        text[: found.start()]
        + found[1]
        + _block(found["board"], boards[found["board"]], folder)
        + text[found.start(3) :]
    )


def readme_of(folder: Path) -> Path:
    """Where the text lies that shows a board of this folder of tables."""
    return folder.resolve().parent / "README.md"


def _block(board: str, records: Iterable[Record], folder: str) -> str:
    made = rows(records)
    parts = [f"## The newest leaderboard: `{board}`", summary(made)]
    for group in groups(made):
        parts += [f"**{group.heading}**", markdown_table(group, omit=OMITTED)]
    parts += [
        f"![accuracy against charged device seconds]({folder}/{board}.png)",
        f"All columns: [{folder}/{board}.md]({folder}/{board}.md); every number's record: "
        f"[{folder}/records/{board}]({folder}/records/{board}).",
    ]
    return "\n\n".join(parts) + "\n"
