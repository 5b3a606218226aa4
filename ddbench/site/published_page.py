"""The page of published figures, with what was measured of the same cells."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ddbench.leaderboard.evaluations import ways
from ddbench.leaderboard.published import Figure
from ddbench.leaderboard.rows import Row
from ddbench.site.content import Content
from ddbench.site.families import look
from ddbench.site.tables import Table, TableLine


def published_values(content: Content, tables: Mapping[str, Sequence[Table]]) -> dict[str, Any]:
    """Return the values that the template `published.html` shows."""
    figures = sorted(content.published.entries, key=_order)
    measured = [line for made in tables.values() for table in made for line in table.lines if line.row.accuracy]
    lines = [line for figure in figures for line in _lines(figure, measured, content)]
    return {
        "figures": sorted(lines, key=lambda line: line["accuracy"] is None),
        "sources": sorted(content.published.sources.items()),
        "datasets": sorted({figure.dataset for figure in figures}),
        "ipcs": [*sorted({figure.ipc for figure in figures if figure.ipc}), "all images"],
    }


def _lines(figure: Figure, measured: Sequence[TableLine], content: Content) -> Iterator[dict[str, Any]]:
    """Yield a line for each measured cell that a figure compares with, or one line without a cell."""
    ours: list[TableLine | None] = [
        line for line in measured if figure in line.row.published + line.row.published_across
    ]
    for line in ours or [None]:
        yield {
            "figure": figure,
            "known": figure.method in content.methods,
            "look": look(figure.method),
            "details": ", ".join(_details(figure)),
            "accuracy": _accuracy(figure, line.row) if line else None,
            "anchor": line.anchor if line else "",
        }


def _accuracy(figure: Figure, row: Row) -> float | None:
    """Return the accuracy of the row, scored as the figure was; None where its runs failed."""
    by_seed = ways(row).get(figure.protocol or "", {}).get(figure.scored or row.network)
    return statistics.fmean(by_seed.values()) if by_seed else None


def _details(figure: Figure) -> Iterator[str]:
    yield from (f"{name}={value}" for name, value in figure.variant.items())
    if figure.setting != "random":
        yield f"setting {figure.setting}"
    if figure.preprocessing != "normalize":
        yield figure.preprocessing


def _order(figure: Figure) -> tuple[Any, ...]:
    cell = figure.dataset, figure.ipc or float("inf"), figure.method, figure.protocol or ""
    return *cell, -figure.accuracy, figure.source
