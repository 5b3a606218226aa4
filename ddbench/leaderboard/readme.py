"""The first table of README: one board between two marks, a line for each method and a column for each group."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ddbench.leaderboard.answers import answers
from ddbench.leaderboard.columns import Group, Lines, Strong, escape, groups, percent, summary
from ddbench.leaderboard.controls import REFERENCE, is_plain
from ddbench.leaderboard.curves import has_curve
from ddbench.leaderboard.grouping import oldest_first
from ddbench.leaderboard.origins import Origins
from ddbench.leaderboard.rows import Row, rows
from ddbench.leaderboard.summaries import NOTHING
from ddbench.leaderboard.tables import link_definitions, pipe_table
from ddbench.records.cell import CEILING
from ddbench.records.schema import Record
from ddbench.registry import CONTROL

MARKS = re.compile(r"(<!-- leaderboard: (?P<board>\S+) -->\n).*?(<!-- end of leaderboard -->)", re.DOTALL)


def with_board(text: str, boards: Mapping[str, Sequence[Record]], folder: str, origins: Origins | None = None) -> str:
    """Return the text with its marked part made anew; a text without marks, or whose board has no records, as it is.

    Args:
        folder: folder of the tables, as links in the text name it
        origins: family and paper of the methods, by name
    """
    found = MARKS.search(text)
    if found is None or found["board"] not in boards:
        return text
    block = _block(found["board"], boards[found["board"]], folder, origins)
    return text[: found.start()] + found[1] + block + text[found.start(3) :]


def readme_of(folder: Path) -> Path:
    """Return the path of the README that shows a board of this folder of tables."""
    return folder.resolve().parent / "README.md"


def overview(found: Sequence[Group]) -> Lines:
    """Tabulate accuracy by method, and by budget where there are several: the best mean rank first, soft labels after
    classes, controls last.

    Where a method ran with several settings in a group, the newest count: tables choose nothing by test accuracy. Of
    controls, those are shown that store whole images with the labels of their method; `full_data` comes last.
    """
    tops = {row.dataset: row for group in found for row in group.rows if row.method == CEILING}
    found = [group for group in found if group.rows[0].method != CEILING]
    members: dict[tuple[str, str], dict[int, Row]] = {}
    for index, group in enumerate(found):
        owner = {id(run): row for row in group.rows for run in row.runs}
        for run in oldest_first(run for row in group.rows for run in row.runs):
            row = owner[id(run)]
            if _is_control(row) and not is_plain(run):
                continue
            members.setdefault((row.method, row.budget), {})[index] = row
    several = len({budget for _, budget in members}) > 1
    known = any(row.origin for group in found for row in group.rows)
    columns = _columns(found)
    lines = []
    for (method, budget), shown in sorted(members.items(), key=lambda item: (_place([*item[1].values()]), item[0])):
        row = next(iter(shown.values()))
        texts = {"method": f"{method} ({budget})" if several else method}
        if known:
            texts["family"] = row.origin.family if row.origin else NOTHING
        texts |= {column: _cell(shown.get(index)) for index, column in enumerate(columns)}
        lines.append((row, texts))
    if tops:
        row = next(iter(tops.values()))
        texts = {"method": CEILING} | ({"family": row.origin.family if row.origin else NOTHING} if known else {})
        below = {column: tops.get(group.rows[0].dataset) for column, group in zip(columns, found, strict=True)}
        lines.append((row, texts | {column: _cell(top) for column, top in below.items()}))
    return lines


def _block(board: str, records: Sequence[Record], folder: str, origins: Origins | None) -> str:
    made = rows(records, origins=origins)
    lines = overview(groups(made))
    told = " In parentheses: points beyond what the runs themselves started from." if any(r.gain for r in made) else ""
    parts = [
        f"**Leaderboard [{board}]({folder}/{board}.md).** {summary(made)} ± is the 95 % interval over "
        "distillation seeds; bold: rank 1, nothing in the column with labels of the same source is significantly "
        f"better.{told} Sorted by mean rank, soft labels after classes, "
        f"controls last. [The board's page]({folder}/{board}.md) has ranks and their test, costs and storage; "
        f"[every record]({folder}/records/{board}) lies beside it.",
        *_answered(groups(made), made),
        pipe_table(lines),
        f"![accuracy against charged device seconds]({folder}/{board}.png)" if has_curve(records) else "",
        link_definitions(row for row, _ in lines),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _answered(found: Sequence[Group], made: Sequence[Row]) -> Iterator[str]:
    """Yield a list of which distilled set is best, for each table that compares any: the first answer of each."""
    said = [(group, told[0]) for group in found if (told := answers(group, made))]
    names = _columns([group for group, _ in said])
    if said:
        yield "\n".join(
            f"- Best on {name}: {escape(answer.sentence)}" for name, (_, answer) in zip(names, said, strict=True)
        )


def _columns(found: Sequence[Group]) -> list[str]:
    """Return short names of groups, or their headings where two short names are the same."""
    short = [f"{group.rows[0].dataset}, ipc {group.rows[0].ipc}" for group in found]
    return short if len(set(short)) == len(short) else [group.heading for group in found]


def _place(shown: Sequence[Row]) -> tuple[bool, bool, float, float]:
    """Return what lines are sorted by: controls last, and before them rows of other labels, which rank apart."""
    control, apart = _is_control(shown[0]), shown[0].labels != "hard"
    ranks = [row.rank for row in shown if row.rank is not None]
    means = [row.accuracy.mean for row in shown if row.accuracy]
    return control, apart, statistics.fmean(ranks or [math.inf]), -statistics.fmean(means or [0.0])


def _is_control(row: Row) -> bool:
    return row.method == REFERENCE or (row.origin is not None and row.origin.family == CONTROL)


def _cell(row: Row | None) -> str:
    """Return accuracy and gain, bold at rank 1, or the statuses without any; nothing where the method did not run."""
    if row is None:
        return ""
    text = percent(row.accuracy) if row.accuracy else ", ".join(row.statuses)
    if row.gain is not None:
        text = f"{text} ({round(100 * row.gain.mean, 1) + 0.0:+.1f})"
    return Strong(text) if row.rank == 1 else text
