"""Render records as Markdown, CSV and curves, by pure functions of the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ddbench.io.atomic import write_atomically
from ddbench.leaderboard.committed import boards, check_tables, write_tables
from ddbench.leaderboard.curves import has_curve
from ddbench.leaderboard.origins import Origin, Origins
from ddbench.leaderboard.plain import plain_rows
from ddbench.leaderboard.plots import plot_curves
from ddbench.leaderboard.published import Figure, Published, load_published, published_beside
from ddbench.leaderboard.rows import Row, rows
from ddbench.leaderboard.tables import csv_table, markdown, rich_table
from ddbench.records.files import read_records
from ddbench.records.schema import Record
from ddbench.stats import Interval, interval, paired_difference

__all__ = [
    "Figure",
    "Interval",
    "Origin",
    "Origins",
    "Published",
    "Row",
    "boards",
    "check_tables",
    "csv_table",
    "interval",
    "load_published",
    "markdown",
    "paired_difference",
    "plain_rows",
    "plot_curves",
    "published_beside",
    "render",
    "rich_table",
    "rows",
    "write_tables",
]


def render(
    records_or_folder: Path | Sequence[Record], out: Path, title: str, origins: Origins | None = None
) -> list[Path]:
    """Write `leaderboard.md`, `leaderboard.csv` and, where a run has a curve, `curves.png` into `out`.

    Args:
        origins: family and paper of the methods that the tables name, by name

    Returns:
        The files written.

    Raises:
        UserError: when there are no records, or one of them is not valid.
    """
    if isinstance(records_or_folder, Path):
        records: Sequence[Record] = read_records(records_or_folder)
    else:
        records = records_or_folder
    written, published = [out / "leaderboard.md", out / "leaderboard.csv"], load_published()
    write_atomically(written[0], markdown(records, title, published, origins).encode())
    write_atomically(written[1], csv_table(records, published, origins).encode())
    if has_curve(records):
        written.append(out / "curves.png")
        plot_curves(records, written[-1], origins)
    return written
