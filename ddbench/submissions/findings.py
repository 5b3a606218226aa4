"""What analyses found of runs that are submitted: checked, and filed beside the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ddbench.records.finding_files import check_finding, foreign
from ddbench.records.findings import AnalysisRecord, is_finding
from ddbench.records.schema import Record
from ddbench.submissions.checks import protocol_complaints
from ddbench.submissions.claim import Claim


@dataclass
class FiledFindings:
    """Findings that are new, and what is wrong with some."""

    files: dict[Path, bytes] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


def plan_findings(claims: Iterable[Claim], places: Mapping[Path, Record], folder: Path) -> FiledFindings:
    """Plan the place of each finding that lies beside a claim and is not filed yet.

    Args:
        places: the records that are filed, and those that are about to be, by path
        folder: of the tables
    """
    planned = FiledFindings()
    for claim in claims:
        filed = next((path for path, record in places.items() if record == claim.record), None)
        for path in sorted(claim.path.parent.glob("*.json")):
            if filed is None or not is_finding(path):
                continue
            found, wrong = check_finding(path)
            if found is not None and not wrong:
                wrong = [*_of_record(path, found, claim.record)]
            planned.complaints += wrong
            place = folder / "analyses" / filed.parent.relative_to(folder / "records") / f"{filed.stem}-{path.name}"
            if not wrong and not place.exists():
                planned.files[place] = path.read_bytes()
    return planned


def _of_record(path: Path, found: AnalysisRecord, record: Record) -> Iterable[str]:
    yield from foreign(path, found, {record.result.artifact: record} if record.result.artifact else {})
    named = str(found.protocol.get("name"))
    for sentence in protocol_complaints(record.result.cell.method, named, found.protocol):
        yield f"{path}: {sentence}"
