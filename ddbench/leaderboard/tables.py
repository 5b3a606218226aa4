"""Rows as Markdown, CSV and terminal tables: the same bytes from the same records, in whatever order they come."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from ddbench.files import canonical_json
from ddbench.leaderboard.layout import COLUMNS, STATUS, VERSUS, Group, cells, groups, summary
from ddbench.leaderboard.rows import NOTHING, Row, rows
from ddbench.leaderboard.statistics import Interval
from ddbench.records import Record

ALIGNMENT = ("left", "right", "right", "right", "right", "right", "right", "left")
STATUS_WIDTH = 10
TERMINAL_OMITS = ("steps", "stored kB")
"""so that a line fits into 80 characters"""


def markdown(records: Iterable[Record], title: str) -> str:
    """A heading, a sentence, and one table for each data set, ipc and whatever else differs."""
    made = rows(records)
    if not made:
        return f"# {title}\n\nNo records yet.\n"
    parts = [f"# {title}", summary(made)]
    for group in groups(made):
        parts += [f"## {group.heading}", _markdown_table(group)]
    return "\n\n".join(parts) + "\n"


def csv_table(records: Iterable[Record]) -> str:
    """One line a cell with every field: accuracy in [0, 1], seconds, bytes; dictionaries and lists as JSON."""
    text = io.StringIO()
    lines = [_fields(row) for row in rows(records)]
    if lines:
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()


def rich_table(records: Iterable[Record]) -> list[Table]:
    """The tables of `markdown` without steps and stored bytes, for a terminal."""
    return [_rich_table(group) for group in groups(rows(records))]


def _markdown_table(group: Group) -> str:
    lines = []
    for row in group.rows:
        line = [_escape(text) for text in cells(row, group.label(row))]
        if row.versus_random and row.versus_random.excludes_zero:
            line[VERSUS] = f"**{line[VERSUS]}**"
        lines.append(line)
    return tabulate(lines, COLUMNS, tablefmt="pipe", colalign=ALIGNMENT, disable_numparse=True)


def _escape(text: str) -> str:
    for sign in "\\|*<`":
        text = text.replace(sign, "\\" + sign)
    return text


def _rich_table(group: Group) -> Table:
    table = Table(title=Text(group.heading, style="bold"), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    kept = [index for index, column in enumerate(COLUMNS) if column not in TERMINAL_OMITS]
    lines = [cells(row, group.label(row)) for row in group.rows]
    for index in kept:
        justify: JustifyMethod = "left" if ALIGNMENT[index] == "left" else "right"
        table.add_column(COLUMNS[index], justify=justify, min_width=_least_width(index, lines))
    for row, line in zip(group.rows, lines, strict=True):
        # Text, not str: a reason such as "[1, 10] expected" must not be read as markup.
        texts = [Text(text) for text in line]
        if row.versus_random and row.versus_random.excludes_zero:
            texts[VERSUS].stylize("bold")
        if row.accuracy is None:
            texts[STATUS].stylize("red")
        table.add_row(*(texts[index] for index in kept))
    return table


def _least_width(index: int, lines: list[list[str]]) -> int:
    """Numbers stay whole; in a narrow terminal the settings behind a method's name and reasons wrap."""
    if index == STATUS:
        return STATUS_WIDTH
    return max(len(line[index].partition(" (")[0] if index == 0 else line[index]) for line in lines)


def _fields(row: Row) -> dict[str, Any]:
    cell = row.cell
    return {
        "board": row.board,
        "method": row.method,
        "dataset": row.dataset,
        "dataset_digest": cell.dataset_digest,
        "preprocessing": cell.preprocessing,
        "network": row.network,
        "setting": row.setting,
        "ipc": row.ipc,
        "protocol": row.protocol,
        "networks": cell.networks,
        "split": row.split,
        "device": cell.device,
        "threads": cell.threads,
        "budget": row.budget,
        "budget_seconds": cell.budget.seconds,
        "budget_steps": cell.budget.steps,
        "budget_peak_bytes": cell.budget.peak_bytes,
        **_interval_fields("accuracy", row.accuracy),
        **_interval_fields("versus_random", row.versus_random),
        "seconds": _decimals(row.seconds),
        "seconds_by_phase": _json({name: round(value, 6) for name, value in row.seconds_by_phase.items()}),
        "peak_bytes": row.peak_bytes,
        "stored_bytes": _json(row.stored_bytes),
        "steps": "" if row.steps == NOTHING else row.steps,
        "statuses": _json(row.statuses),
        "reasons": _json(row.reasons),
        "seeds": _json(row.seeds),
        "hyperparameters": _json(row.hyperparameters),
    }


def _interval_fields(name: str, value: Interval | None) -> dict[str, Any]:
    """Empty fields where there is nothing; n is 0 then."""
    return {
        name: _decimals(value.mean if value else None),
        f"{name}_half_width": _decimals(value.half_width if value else None),
        f"{name}_n": value.n if value else 0,
    }


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{round(value, 6) + 0.0:.6f}"


def _json(value: Any) -> str:
    return canonical_json(value).decode()
