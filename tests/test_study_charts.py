"""Figures of studies: bands over seeds, logarithmic axes, and a small picture a row, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ddbench.leaderboard.published import Published
from ddbench.leaderboard.snapshot import Snapshot
from ddbench.leaderboard.studies import StudyTable, study_tables
from ddbench.records.findings import Findings, Measure, Series
from ddbench.records.studies import StudyRecord
from ddbench.registry import STUDIES, discover
from ddbench.site.content import Content
from ddbench.site.rendering import Renderer
from ddbench.site.study_charts import study_charts
from ddbench.site.study_page import study_values
from ddbench.task.hyperparameters import settings_of
from factories import make_study_row

LIGHT = 60_000
"""bytes of a page of three studies with ten rows each"""


@pytest.fixture(autouse=True)
def _known() -> None:
    discover()


def row(study: str, method: str, measure: str, series: dict[str, dict[str, Any]]) -> StudyRecord:
    """A row of a study, with a figure."""
    found = Findings(
        metrics={measure: Measure.over([0.5, 0.6], "seeds")},
        series={name: Series(columns=columns) for name, columns in series.items()},
    )
    name = f"{study}@1"
    return make_study_row(method, study=name, settings=settings_of(STUDIES.get(name)()), findings=found)


def continual(method: str, heights: list[float]) -> StudyRecord:
    columns = {"seed": [0.0, 0.0, 1.0, 1.0], "stage": [1.0, 2.0, 1.0, 2.0], "accuracy": heights}
    return row("continual", method, "final", {"stages": columns})


def membership(method: str, found: list[float]) -> StudyRecord:
    return row("membership", method, "accuracy", {"roc": {"false_positives": [0.001, 0.1, 1.0], "lira": found}})


def search(method: str, proxy: list[float], worth: list[float]) -> StudyRecord:
    return row("search", method, "tau", {"architectures": {"proxy": proxy, "truth": worth}})


def table_of(*rows: StudyRecord) -> StudyTable:
    (table,) = study_tables(rows)
    return table


def test_continual_learning_has_a_line_a_row_in_a_band_over_seeds() -> None:
    (chart,) = study_charts(table_of(continual("dm", [0.8, 0.4, 0.6, 0.2]), continual("flat", [0.5, 0.5, 0.5, 0.5])))
    lines = {line.label: line for line in chart.lines}
    size = chart.size
    left, right = size.left, size.end - 16
    assert lines["flat"].band == ""
    top, middle = lines["dm"].marks[0][1], lines["dm"].marks[1][1]
    assert top == pytest.approx(size.floor - (size.floor - size.top) * (0.7 - 0.2) / 0.6, abs=0.1)
    assert middle == pytest.approx(size.floor - (size.floor - size.top) * (0.3 - 0.2) / 0.6, abs=0.1)
    ends = lines["dm"].band.removeprefix("M").split("L")  # along the best seed, and back along the worst
    assert [float(end.split()[0]) for end in ends] == [left, right, right, left]
    assert [float(end.split()[1]) for end in (ends[0], ends[2])] == [size.top, size.floor]
    assert chart.description.endswith("dm 0.3; flat 0.5.") or chart.description.endswith("flat 0.5; dm 0.3.")


def test_membership_is_drawn_on_logarithmic_axes_down_to_the_least() -> None:
    (chart,) = study_charts(table_of(membership("dm", [0.0, 0.1, 1.0])))
    (line,), size = chart.lines, chart.size
    assert [text for _, text in chart.xs] == ["0.001", "0.01", "0.1", "1"]
    (left, bottom), (third, _), (right, top) = line.marks
    assert (left, right, top) == (size.left, size.end - 16, size.top)
    assert third == pytest.approx(left + (right - left) * 2 / 3, abs=0.1)
    assert bottom == size.floor  # 0, with the least height above it
    assert [text for _, text in chart.ys] == ["0.1", "1"]


def test_a_search_has_a_picture_of_each_row_whose_proxy_tells_architectures_apart() -> None:
    charts = study_charts(
        table_of(search("dm", [0.1, 0.2, 0.2], [0.5, 0.6, 0.7]), search("none", [0.0, 0.0, 0.0], [0.5, 0.6, 0.7]))
    )
    (chart,) = charts
    assert chart.title == "dm"
    (line,) = chart.lines
    assert (line.path.count("M"), line.marks, line.label) == (3, (), "")


def test_a_study_without_a_figure_or_with_rows_that_lack_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = make_study_row("dm")
    assert study_charts(table_of(bare)) == []
    monkeypatch.delattr(STUDIES.get("continual@1"), "figure")
    assert study_charts(table_of(continual("dm", [0.8, 0.4, 0.6, 0.2]))) == []


def test_a_page_of_all_studies_is_light_and_draws_all_of_them() -> None:
    rows = list[StudyRecord]()
    spread = [place / 108 for place in range(108)]
    rates = [10 ** (-3 + place / 10) for place in range(31)]
    for number in range(10):
        rows += [continual(f"m{number}", [0.8, 0.4, 0.6, 0.2]), search(f"m{number}", spread, spread)]
        rows.append(row("membership", f"m{number}", "accuracy", {"roc": {"false_positives": rates, "lira": rates}}))
    content = Content((), Published(sources={}, entries=[]), (), Snapshot("2026-01-01", 0, "", ""), tuple(rows))
    page = Renderer().render("studies.html", "studies.html", study_values(content))
    assert page.count(b"<svg") == 2 + 10 + 1  # the last has the shapes of marks
    assert page.count(b"class=dots") == 10
    assert len(page) < LIGHT
