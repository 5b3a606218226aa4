"""The page of a board's analyses, and the findings of an artefact on the page of its record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ddbench.leaderboard.agreement import NOTE as AGREEMENT
from ddbench.leaderboard.finding_pages import question
from ddbench.leaderboard.findings import NOTE, analysis_tables, text
from ddbench.records.findings import AnalysisRecord
from ddbench.site.content import BoardContent, shipping
from ddbench.site.finding_charts import finding_chart
from ddbench.site.format import Pairs, slug


def analysis_page(board: str) -> str:
    """Return the path of the page inside the site."""
    return f"analyses/{slug(board)}.html"


def analysis_values(board: BoardContent) -> dict[str, Any]:
    """Return the values that the template `analyses.html` shows."""
    tables = analysis_tables((entry.record for entry in board.entries), board.findings, shipping())
    names = dict.fromkeys(table.analysis for table in tables)
    return {
        "board": board.name,
        "note": NOTE,
        "agreement": AGREEMENT,
        "analyses": [
            (name, question(name), [(table, finding_chart(table)) for table in tables if table.analysis == name])
            for name in names
        ],
    }


def findings_of(artifact: str | None, findings: Iterable[AnalysisRecord]) -> list[tuple[str, Pairs]]:
    """Return what analyses found of an artefact: heading and measures of each."""
    own = [finding for finding in findings if finding.artifact == artifact]
    return [(_heading(finding), _pairs(finding)) for finding in own]


def _heading(finding: AnalysisRecord) -> str:
    return f"{finding.analysis}, {finding.networks} {finding.network} under {finding.protocol.get('name')}"


def _pairs(finding: AnalysisRecord) -> Pairs:
    if finding.findings.not_applicable is not None:
        return [("not applicable", finding.findings.not_applicable)]
    return [(name, text(measure)) for name, measure in finding.findings.metrics.items()]
