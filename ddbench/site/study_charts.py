"""The figure of a table of a study: a line a row, with a band over seeds, or a small picture a row."""

from __future__ import annotations

from ddbench.leaderboard.studies import StudyTable
from ddbench.records.findings import Figure
from ddbench.records.studies import StudyRecord
from ddbench.registry import STUDIES
from ddbench.site.charts import Size
from ddbench.site.finding_charts import Drawn, FindingChart, lines_chart, scatter_chart

SMALL = Size(320, 260, left=44, right=8)


def study_charts(table: StudyTable) -> list[FindingChart]:
    """Lay out the figure of a table; nothing where its study has none, or no row has what it shows."""
    figure: Figure | None = getattr(STUDIES.get(table.study), "figure", None)
    if figure is None:
        return []
    if figure.scattered:
        rows = [Drawn(table.label(row), row.cell.method, figure.marks(row.findings)) for row in table.rows]
        told = [row for row in rows if len({x for x, _ in row.points}) > 1]
        return [scatter_chart(figure, row.label, row, SMALL) for row in told]
    lines = [line for row in table.rows if (line := _line(table, figure, row)).points]
    return [lines_chart(figure, f"{table.study}, {table.heading}", lines)] if lines else []


def _line(table: StudyTable, figure: Figure, row: StudyRecord) -> Drawn:
    bands = [(x, low, high) for x, (low, high) in figure.bands(row.findings).items()]
    spreads = any(low < high for _, low, high in bands)
    points = list(figure.points(row.findings).items())
    return Drawn(table.label(row), row.cell.method, points, bands if spreads else [])
