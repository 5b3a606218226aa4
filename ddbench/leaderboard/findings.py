"""Tables of analyses beside accuracy, from the files that these left of artefacts whose records are at hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json
from ddbench.leaderboard.agreement import agreement
from ddbench.leaderboard.columns import Group, groups
from ddbench.leaderboard.origins import Origins
from ddbench.leaderboard.rows import Row, rows
from ddbench.leaderboard.summaries import NOTHING
from ddbench.records.finding_files import check_finding, finding_paths, foreign
from ddbench.records.findings import FLOOR, AnalysisRecord, Figure, Findings, Measure
from ddbench.records.metrics import Metric
from ddbench.records.schema import Record
from ddbench.registry import ANALYSES, discover_all_but_methods
from ddbench.stats import interval

ANALYSED = "analyses"
"""folder of findings in a folder of tables: `analyses/<board>/<method>/<run>-<analysis>-<key>.json`"""
NOTE = (
    "Measured on the artefacts that are kept or submitted with their findings. n counts artefacts; where it is 1, ± is "
    "the 95 % interval over networks trained on that one, and says nothing of other seeds of the method; elsewhere it "
    "is over artefacts. Accuracy is that of the same artefacts."
)
REAL = "other real images (floor)"
"""label of the line that has what real data give in place of an artefact"""
DECIMALS, MOST_DECIMALS = 3, 6
"""decimals of a measure, and the most of one whose values are small"""


@dataclass(frozen=True)
class AnalysedRow:
    """A row of a table, with what an analysis found of its artefacts."""

    row: Row
    label: str
    accuracy: float
    """mean accuracy, in [0, 1], of the artefacts analysed"""
    measures: Mapping[str, Measure]
    """by name, over networks of one artefact, or over artefacts"""
    count: int
    """artefacts"""
    points: tuple[tuple[float, float], ...] = ()
    """line of the figure: the mean over the artefacts, at places that all of them have"""


@dataclass(frozen=True)
class AnalysisTable:
    """One analysis of the rows of one group."""

    analysis: str
    heading: str
    shown: tuple[Metric, ...]
    """the measures of its columns"""
    rows: tuple[AnalysedRow, ...]
    """the most accurate first"""
    reasons: tuple[str, ...]
    """why it does not apply to some, a sentence each"""
    figure: Figure | None = None
    """what the lines of the rows show"""

    def lines(self) -> list[dict[str, str]]:
        """Return the texts of each row by column, and last what real data give in place of artefacts, if known."""
        decimals = {metric.name: self._decimals(metric) for metric in self.shown}

        def said(row: AnalysedRow, name: str) -> str:
            return text(row.measures[name], decimals[name]) if name in row.measures else NOTHING

        made = [
            {"method": row.label, "accuracy %": f"{100 * row.accuracy:.1f}", "n": str(row.count)}
            | {metric.name: said(row, metric.name) for metric in self.shown}
            for row in self.rows
        ]
        floors = {metric.name: self._floor(metric, decimals[metric.name]) for metric in self.shown}
        if any(said != NOTHING for said in floors.values()):
            made.append({"method": REAL, "accuracy %": NOTHING, "n": NOTHING} | floors)
        return made

    def agreement(self) -> list[dict[str, str]]:
        """Return how far each measure orders the rows as accuracy does."""
        return list(agreement(self.rows, self.shown))

    def _decimals(self, metric: Metric) -> int:
        """Return three, or as many as give the largest value of a column two digits."""
        means = [abs(row.measures[metric.name].mean) for row in self.rows if metric.name in row.measures]
        largest = max(means, default=0.0)
        return min(max(1 - math.floor(math.log10(largest)), DECIMALS), MOST_DECIMALS) if largest else DECIMALS

    def _floor(self, metric: Metric, decimals: int) -> str:
        """What real data give, the same for all rows; the first row that has it says so."""
        found = (row.measures.get(f"{metric.name}{FLOOR}") for row in self.rows)
        return next((text(measure, decimals) for measure in found if measure is not None), NOTHING)


def read_findings(folder: Path) -> dict[str, list[AnalysisRecord]]:
    """Read what analyses found of a folder of tables, by board.

    Raises:
        UserError: when a file is not valid.
    """
    found: dict[str, list[AnalysisRecord]] = {}
    for board, path in _placed(folder):
        finding, problems = check_finding(path)
        if finding is None or problems:
            raise UserError(problems[0])
        found.setdefault(board, []).append(finding)
    return found


def finding_problems(folder: Path, records: Mapping[Path, Record]) -> Iterator[str]:
    """Yield what is wrong with the findings of a folder of tables, a sentence each.

    Args:
        records: those of the folder, by path
    """
    shelves: dict[Path, dict[str, Record]] = {}
    for path, record in records.items():
        if record.result.artifact and path.is_relative_to(folder / "records"):
            shelf = path.parent.relative_to(folder / "records")
            shelves.setdefault(shelf, {})[record.result.artifact] = record
    for _, path in _placed(folder):
        finding, problems = check_finding(path)
        yield from problems
        if finding is not None and not problems:
            yield from foreign(path, finding, shelves.get(path.parent.relative_to(folder / ANALYSED), {}))


def analysis_tables(
    records: Iterable[Record], findings: Sequence[AnalysisRecord], origins: Origins | None = None
) -> list[AnalysisTable]:
    """Tabulate findings by analysis, and by the groups that accuracy is tabulated by."""
    made = groups(rows(records, origins=origins))
    ways = {_way(finding): finding for finding in sorted(findings, key=_way)}
    tables = [_table(group, way, first, findings) for way, first in ways.items() for group in made]
    return [table for table in tables if table.rows or table.reasons]


def text(measure: Measure, decimals: int = DECIMALS) -> str:
    """Write a measure with its interval: `0.472 ± 0.169`, or its ends where the mean is not their middle."""
    if measure.low is None or measure.high is None:
        return f"{measure.mean:.{decimals}f}"
    half = (measure.high - measure.low) / 2
    if abs(measure.mean - (measure.low + measure.high) / 2) < 0.5 * 10**-decimals:
        return f"{measure.mean:.{decimals}f} ± {half:.{decimals}f}"
    return f"{measure.mean:.{decimals}f} ({measure.low:.{decimals}f} to {measure.high:.{decimals}f})"


def _placed(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each file of findings with its board."""
    paths = finding_paths(folder / ANALYSED)
    if paths:
        discover_all_but_methods()
    for path in paths:
        yield path.relative_to(folder / ANALYSED).parts[0], path


def _way(finding: AnalysisRecord) -> tuple[str, str]:
    """What findings of one table share."""
    said = [finding.settings, str(finding.network), finding.protocol.get("name"), finding.networks]
    return finding.analysis, canonical_json(said).decode()


def _table(
    group: Group, way: tuple[str, str], first: AnalysisRecord, findings: Sequence[AnalysisRecord]
) -> AnalysisTable:
    known = {finding.artifact: finding for finding in findings if _way(finding) == way}
    cls, made, reasons = ANALYSES.get(first.analysis), list[AnalysedRow](), dict[str, None]()
    figure: Figure | None = getattr(cls, "figure", None)
    for row in group.rows:
        runs = [(run, known[run.result.artifact]) for run in row.runs if run.result.artifact in known]
        reasons |= {f"{group.label(row)}: {why}": None for _, f in runs if (why := f.findings.not_applicable)}
        counted = [(run.accuracy, f) for run, f in runs if f.findings.metrics and run.accuracy is not None]
        if counted:
            accuracy = sum(share for share, _ in counted) / len(counted)
            asked = [name for shown in cls.headline for name in (shown, f"{shown}{FLOOR}")]
            names = [name for name in asked if all(name in f.findings.metrics for _, f in counted)]
            measures = {name: _over([f.findings.metrics[name] for _, f in counted]) for name in names}
            points = _points(figure, [f.findings for _, f in counted])
            made.append(AnalysedRow(row, group.label(row), accuracy, measures, len(counted), points))
    shown = tuple(
        metric for name in cls.headline for metric in cls.measures
        if metric.name == name and any(name in row.measures for row in made)
    )  # fmt: skip
    made.sort(key=lambda row: (-row.accuracy, row.label))
    return AnalysisTable(first.analysis, _heading(group, first), shown, tuple(made), tuple(reasons), figure)


def _over(measures: Sequence[Measure]) -> Measure:
    """Return the measure of one artefact, or the mean over several with its interval."""
    if len(measures) == 1:
        return measures[0]
    means = [measure.mean for measure in measures]
    return Measure.over(means, "artefacts") if interval(means).half_width else Measure(values=means, of="artefacts")


def _points(figure: Figure | None, findings: Sequence[Findings]) -> tuple[tuple[float, float], ...]:
    if figure is None:
        return ()
    lines = [figure.points(each) for each in findings]
    shared = [x for x in lines[0] if all(x in line for line in lines)]
    return tuple((x, sum(line[x] for line in lines) / len(lines)) for x in shared)


def _heading(group: Group, finding: AnalysisRecord) -> str:
    """Name a group, and how its artefacts were analysed where that is not how they were scored, or by default."""
    cell, usual = group.rows[0].cell, vars(ANALYSES.get(finding.analysis)())
    named = (finding.network, finding.protocol.get("name"), finding.networks)
    way = [f"{finding.networks} networks {finding.network} under {finding.protocol.get('name')}"]
    own = [] if named == (cell.network, cell.protocol, cell.networks) else way
    changed = [f"{name}={value}" for name, value in finding.settings.items() if usual.get(name) != value]
    return ", ".join([group.heading, *own, *changed])
