"""The figure of an analysis or a study as geometry: a line a row of its table, which a template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ddbench.leaderboard.findings import AnalysisTable
from ddbench.records.findings import Figure
from ddbench.site.charts import LABEL_LENGTH, Scale, Size, lead, nice_ticks, path, places
from ddbench.site.families import look

SIZE = Size(980, 340, left=56)


Axis = tuple[Scale, tuple[tuple[float, str], ...]]


@dataclass(frozen=True)
class Drawn:
    """What is drawn of a row."""

    label: str
    method: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    """places with the least and the greatest height; empty without a spread"""


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
    band: str = ""
    """SVG path around the least and the greatest heights"""


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
    rows = [Drawn(row.label, row.row.method, row.points) for row in table.rows if row.points]
    if table.figure is None or not rows:
        return None
    return lines_chart(table.figure, f"{table.analysis}, {table.heading}", rows, size)


def lines_chart(figure: Figure, title: str, rows: Sequence[Drawn], size: Size = SIZE) -> FindingChart:
    """Lay out the lines of rows, each of which has points."""
    axis = _logarithmic_axis if figure.logarithmic else _axis
    x, xs = axis([x for row in rows for x, _ in row.points], size.left, size.end - 16)
    heights = [y for row in rows for _, y in row.points] + [y for row in rows for _, *ends in row.band for y in ends]
    y, ys = axis(heights, size.floor, size.top)
    label_ys = places([y(row.points[-1][1]) for row in rows], size)
    lines = tuple(_line(row, x, y, size, label_y) for row, label_y in zip(rows, label_ys, strict=True))
    ends = "; ".join(f"{row.label} {row.points[-1][1]:.3g}" for row in rows)
    description = f"{figure.y_label} against {figure.x_label}. At the right end: {ends}."
    return FindingChart(size, title, description, figure.x_label, figure.y_label, xs, ys, lines)


def scatter_chart(figure: Figure, title: str, row: Drawn, size: Size) -> FindingChart:
    """Lay out the marks of one row, as one path of dots."""
    x, xs = _axis([x for x, _ in row.points], size.left + 8, size.end - 16)
    y, ys = _axis([y for _, y in row.points], size.floor - 8, size.top)
    dots = "".join(f"M{x(place):.0f} {y(height):.0f}h0" for place, height in row.points)
    line = FindingLine("", "", look(row.method), dots, (), "", 0.0)
    description = f"{row.label}: {figure.y_label} against {figure.x_label}, {len(row.points)} marks."
    return FindingChart(size, title, description, figure.x_label, figure.y_label, xs, ys, (line,))


def _logarithmic_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Scale values logarithmically between two positions; what is not above 0 is drawn with the least of the others."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    high = high if high > low else 10 * low

    def scale(value: float) -> float:
        return start + (end - start) * math.log(max(value, low) / low) / math.log(high / low)

    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    ticks = [power for power in powers if low * (1 - 1e-9) <= power <= high * (1 + 1e-9)]
    return scale, tuple((round(scale(tick), 1), f"{tick:g}") for tick in ticks)


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Scale values linearly between two positions, with a margin for equal ones."""
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5

    def scale(value: float) -> float:
        return start + (end - start) * (value - low) / (high - low)

    return scale, tuple((round(scale(tick), 1), f"{tick:g}") for tick in nice_ticks(low, high))


def _line(row: Drawn, x: Scale, y: Scale, size: Size, label_y: float) -> FindingLine:
    marks = tuple((round(x(place), 1), round(y(height), 1)) for place, height in row.points)
    label = row.label if len(row.label) <= LABEL_LENGTH else row.label[: LABEL_LENGTH - 1] + "…"
    value = f"{row.points[-1][1]:.3g}"
    upper = [(round(x(place), 1), round(y(high), 1)) for place, _, high in row.band]
    lower = [(round(x(place), 1), round(y(low), 1)) for place, low, _ in reversed(row.band)]
    return FindingLine(
        label, value, look(row.method), path(marks), marks, lead(marks[-1], size, label_y), label_y,
        path([*upper, *lower]),
    )  # fmt: skip
