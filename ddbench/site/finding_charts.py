"""The figure of an analysis as geometry: a line a row of its table, which a template draws."""

from __future__ import annotations

from dataclasses import dataclass

from ddbench.leaderboard.findings import AnalysedRow, AnalysisTable
from ddbench.site.charts import LABEL_LENGTH, Scale, Size, lead, nice_ticks, path, places
from ddbench.site.families import look

SIZE = Size(980, 340, left=56)


@dataclass(frozen=True)
class FindingLine:
    """The line of one row, with its label."""

    label: str
    value: str
    """height of its last mark"""
    look: int
    path: str
    marks: tuple[tuple[float, float], ...]
    lead: str
    """SVG path from the last mark to the label"""
    label_y: float


@dataclass(frozen=True)
class FindingChart:
    size: Size
    title: str
    description: str
    x_label: str
    y_label: str
    xs: tuple[tuple[float, str], ...]
    """ticks: place and text"""
    ys: tuple[tuple[float, str], ...]
    lines: tuple[FindingLine, ...]


def finding_chart(table: AnalysisTable, size: Size = SIZE) -> FindingChart | None:
    """Lay out the figure of a table; None where its analysis has none, or no row has a line."""
    rows = [row for row in table.rows if row.points]
    if table.figure is None or not rows:
        return None
    x, xs = _axis([x for row in rows for x, _ in row.points], size.left, size.end - 16)
    y, ys = _axis([y for row in rows for _, y in row.points], size.floor, size.top)
    label_ys = places([y(row.points[-1][1]) for row in rows], size)
    lines = tuple(_line(row, x, y, size, label_y) for row, label_y in zip(rows, label_ys, strict=True))
    title = f"{table.analysis}, {table.heading}"
    ends = "; ".join(f"{row.label} {row.points[-1][1]:.3g}" for row in rows)
    description = f"{table.figure.y_label} against {table.figure.x_label}. At the right end: {ends}."
    return FindingChart(size, title, description, table.figure.x_label, table.figure.y_label, xs, ys, lines)


def _axis(values: list[float], start: float, end: float) -> tuple[Scale, tuple[tuple[float, str], ...]]:
    """Scale values linearly between two positions, with a margin for equal ones."""
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5

    def scale(value: float) -> float:
        return start + (end - start) * (value - low) / (high - low)

    return scale, tuple((round(scale(tick), 1), f"{tick:g}") for tick in nice_ticks(low, high))


def _line(row: AnalysedRow, x: Scale, y: Scale, size: Size, label_y: float) -> FindingLine:
    marks = tuple((round(x(place), 1), round(y(height), 1)) for place, height in row.points)
    label = row.label if len(row.label) <= LABEL_LENGTH else row.label[: LABEL_LENGTH - 1] + "…"
    value = f"{row.points[-1][1]:.3g}"
    return FindingLine(label, value, look(row.row.method), path(marks), marks, lead(marks[-1], size, label_y), label_y)
