"""Files of analyses: written with a checksum, read with checks, and compared with the records that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from ddbench.errors import UserError, suggestion
from ddbench.io.atomic import write_atomically
from ddbench.records.files import check_sealed, seal
from ddbench.records.findings import FILE_NAME, AnalysisRecord, Findings, is_finding
from ddbench.records.metrics import Metric
from ddbench.records.schema import Record
from ddbench.registry import ANALYSES

AGAIN = "run `ddbench analyze` again"


def write_finding(path: Path, found: AnalysisRecord) -> None:
    write_atomically(path, seal(found.model_dump(mode="json")))


def check_finding(path: Path) -> tuple[AnalysisRecord | None, list[str]]:
    """Return a file's analysis, if it has the form of one, and what is wrong with the file, a sentence each."""
    return check_sealed(path, AnalysisRecord, partial(_contradictions, path), AGAIN)


def read_finding(path: Path) -> AnalysisRecord:
    """Read and check the file of one analysis.

    Raises:
        UserError: with the first thing that is wrong with it.
    """
    found, problems = check_finding(path)
    if found is None or problems:
        raise UserError(problems[0])
    return found


def finding_paths(folder: Path) -> list[Path]:
    """Return the files of analyses below a folder, sorted; there may be none."""
    return sorted(path for path in folder.rglob("*.json") if is_finding(path))


def foreign(path: Path, found: AnalysisRecord, records: Mapping[str, Record]) -> list[str]:
    """Return why an analysis is of none of these records, or not of their data, a sentence each.

    Args:
        records: by the digest of their artefact
    """
    record = records.get(found.artifact)
    if record is None:
        return [f"{path}: no record of its board and method has the artefact {found.artifact[:19]}; remove it"]
    if record.result.cell.dataset_digest != found.dataset_digest:
        return [f"{path}: it is of the data {found.dataset_digest[:19]}, and its record of others; {AGAIN}"]
    return []


def _contradictions(path: Path, found: AnalysisRecord) -> Iterator[str]:
    named = FILE_NAME.fullmatch(path.name)
    if found.key != found.expected_key():
        yield f"key {found.key} is not that of its content, {found.expected_key()}; {AGAIN}"
    if named is None or (named["analysis"], named["key"]) != (found.analysis, found.key):
        yield f"it is named otherwise than its content, {found.name}; {AGAIN}"
    if found.analysis not in ANALYSES:
        yield f"unknown analysis {found.analysis!r}; {suggestion(found.analysis, ANALYSES)}"
        return
    yield from undeclared(found.findings, ANALYSES.get(found.analysis).measures)


def undeclared(findings: Findings, measures: Iterable[Metric]) -> Iterator[str]:
    """Yield what of findings is not among the declared measures, or out of their range, a sentence each."""
    declared = {metric.name: metric for metric in measures}
    for name, measure in findings.metrics.items():
        if name not in declared:
            yield f"measure {name!r} is not declared; {suggestion(name, declared)}"
            continue
        metric = declared[name]
        outside = [value for value in measure.values if not metric.allows(value)]
        if outside:
            yield f"measure {name!r} is {outside[0]:g}; it lies between {metric.low:g} and {metric.high:g}"
