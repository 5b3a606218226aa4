"""The Markdown page of a board's analyses."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from ddbench.leaderboard.agreement import NOTE as AGREEMENT
from ddbench.leaderboard.columns import escape
from ddbench.leaderboard.findings import NOTE, AnalysisTable
from ddbench.registry import ANALYSES


def findings_markdown(board: str, tables: Sequence[AnalysisTable]) -> str:
    """Render each analysis with what its measures mean, its tables, and how they agree with accuracy."""
    parts = [f"# {escape(board)}: beyond accuracy", NOTE, AGREEMENT]
    for analysis in dict.fromkeys(table.analysis for table in tables):
        own = [table for table in tables if table.analysis == analysis]
        meanings = {metric.name: metric.meaning for table in own for metric in table.shown}
        parts += [f"## {escape(analysis)}", question(analysis)]
        parts.append("\n".join(f"- **{name}**: {meaning}." for name, meaning in meanings.items()))
        for table in own:
            parts.append(f"### {escape(table.heading)}")
            parts += [_pipes(lines) for lines in (table.lines(), table.agreement()) if lines]
            parts += [f"Not applicable to {escape(reason)}." for reason in table.reasons]
    return "\n\n".join(filter(None, parts)) + "\n"


def question(analysis: str) -> str:
    """Return what an analysis says of itself, its first paragraph."""
    said = (ANALYSES.get(analysis).__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(said.split())


def _pipes(lines: Sequence[dict[str, str]]) -> str:
    aligned = ["left" if name in ("method", "measure", "among") else "right" for name in lines[0]]
    written = [[escape(value) for value in line.values()] for line in lines]
    return tabulate(written, list(lines[0]), tablefmt="pipe", colalign=aligned, disable_numparse=True)
