"""Tables of studies, from the files that they left of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json
from ddbench.leaderboard.columns import escape
from ddbench.leaderboard.findings import text
from ddbench.leaderboard.summaries import NOTHING
from ddbench.records.cell import CEILING, Cell
from ddbench.records.metrics import Metric
from ddbench.records.studies import StudyRecord
from ddbench.records.study_files import STUDIED, check_study
from ddbench.registry import STUDIES, discover_all_but_methods

NOTE = (
    "Methods had equal device seconds. A number is the mean over seeds, with its 95 % interval; of a single seed, the "
    "interval is over networks. The last column has the seconds that were charged to the distillations of a seed."
)


@dataclass(frozen=True)
class StudyTable:
    """The rows of a study that were measured alike."""

    study: str
    heading: str
    rows: tuple[StudyRecord, ...]
    """the best first, by the first measure of the headline"""

    @property
    def shown(self) -> list[Metric]:
        """Return the measures of its columns."""
        found = STUDIES.get(self.study)
        declared = {metric.name: metric for metric in found.measures}
        return [declared[name] for name in found.headline if any(name in row.findings.metrics for row in self.rows)]

    def lines(self) -> list[dict[str, str]]:
        """Return the texts of each row by column."""
        return [self._line(row) for row in self.rows if row.findings.metrics]

    @property
    def reasons(self) -> list[str]:
        """Return why it does not apply to some rows, a sentence each."""
        reasons = [(self.label(row), row.findings.not_applicable) for row in self.rows]
        return [f"{label}: {reason}" for label, reason in reasons if reason]

    def _line(self, row: StudyRecord) -> dict[str, str]:
        measures = row.findings.metrics
        found = {m.name: text(measures[m.name]) if m.name in measures else NOTHING for m in self.shown}
        spent = f"{row.distil_seconds:.0f}" if row.runs else NOTHING
        return {"method": self.label(row), **found, "seeds": str(row.seeds), "seconds": spent}

    def label(self, row: StudyRecord) -> str:
        """Return a row's name, with the hyper-parameters in which rows of that name differ."""
        own = row.cell.distinguishing
        others = [other.cell.distinguishing for other in self.rows if other.label == row.label]
        telling = sorted(name for name in own if any(other.get(name) != own[name] for other in others))
        return ", ".join([row.label, *(f"{name}={own[name]}" for name in telling)])


def read_studies(folder: Path) -> list[StudyRecord]:
    """Read the rows of studies in a folder of tables, in the order of their paths.

    Raises:
        UserError: when a file is not valid.
    """
    found = list[StudyRecord]()
    for path in _placed(folder):
        record, problems = check_study(path)
        if record is None or problems:
            raise UserError(problems[0])
        found.append(record)
    return found


def study_problems(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the files of studies in a folder of tables, a sentence each."""
    for path in _placed(folder):
        record, problems = check_study(path)
        yield from problems
        if record is not None and path.parent.name != record.study:
            yield f"{path}: it is of {record.study}; move it to {folder / STUDIED / record.study}"


def study_tables(records: Iterable[StudyRecord]) -> list[StudyTable]:
    """Tabulate rows by study and conditions; rows of all training data stand in each table of their data."""
    made, on_real = dict[str, list[StudyRecord]](), list[StudyRecord]()
    for record in records:
        if record.cell.method != CEILING:
            made.setdefault(_conditions(record, ("protocol", "networks")), []).append(record)
        else:
            on_real.append(record)
    for record in on_real:
        alike = [rows for rows in made.values() if _conditions(rows[0]) == _conditions(record)]
        for rows in alike or [made.setdefault(_conditions(record, ("protocol", "networks")), [])]:
            rows.append(record)
    return [_table(made[key]) for key in sorted(made)]


def studies_markdown(study: str, tables: Sequence[StudyTable]) -> str:
    """Render a study: its question, what its numbers do not show, its measures and its tables."""
    cls = STUDIES.get(study)
    parts = [f"# {escape(study)}", study_question(study), cls.caption, NOTE]
    meanings = {metric.name: metric.meaning for table in tables for metric in table.shown}
    parts.append("\n".join(f"- **{name}**: {meaning}." for name, meaning in meanings.items()))
    for table in tables:
        parts.append(f"## {escape(table.heading)}")
        parts += [_pipes(lines)] if (lines := table.lines()) else []
        parts += [f"Not applicable to {escape(reason)}." for reason in table.reasons]
    return "\n\n".join(parts) + "\n"


def study_question(study: str) -> str:
    """Return what a study says of itself, its first paragraph."""
    return " ".join((STUDIES.get(study).__doc__ or "").strip().partition("\n\n")[0].split())


def _pipes(lines: Sequence[dict[str, str]]) -> str:
    written = [[escape(value) for value in line.values()] for line in lines]
    aligned = ["left", *["right"] * (len(lines[0]) - 1)]
    return tabulate(written, list(lines[0]), tablefmt="pipe", colalign=aligned, disable_numparse=True)


def _placed(folder: Path) -> list[Path]:
    paths = sorted((folder / STUDIED).rglob("*.json"))
    if paths:
        discover_all_but_methods()
    return paths


def _conditions(record: StudyRecord, further: Iterable[str] = ()) -> str:
    """What rows of one table share; `further` fields of the cell differ where networks learn from real images."""
    names = ("dataset", "dataset_digest", "preprocessing", "network", "ipc", "budget", "device", "threads", *further)
    cell = record.cell.model_dump(mode="json")
    return canonical_json([record.study, record.settings, record.seeds, *(cell[name] for name in names)]).decode()


def _table(rows: Sequence[StudyRecord]) -> StudyTable:
    first = rows[0]
    name = STUDIES.get(first.study).headline[0]
    metric = next(metric for metric in STUDIES.get(first.study).measures if metric.name == name)
    sign = -1 if metric.better == "higher" else 1

    def place(row: StudyRecord) -> tuple[bool, float, str]:
        measure = row.findings.metrics.get(name)
        return measure is None, 0.0 if measure is None else sign * measure.mean, row.label

    return StudyTable(first.study, _heading(first), tuple(sorted(rows, key=place)))


def _heading(record: StudyRecord) -> str:
    """Name the conditions of a table."""
    cell, usual = record.cell, vars(STUDIES.get(record.study)())
    changed = [f"{name}={value}" for name, value in record.settings.items() if usual.get(name) != value]
    return ", ".join([*_of_cell(cell), f"{record.seeds} seeds", *changed])


def _of_cell(cell: Cell) -> list[Any]:
    images = f"{cell.ipc} image{'s' * (cell.ipc != 1)} per class"
    networks = f"{cell.networks} {cell.network} under {cell.protocol}"
    return [cell.dataset, images, f"{cell.budget.seconds:g} s on {cell.device}", networks]
