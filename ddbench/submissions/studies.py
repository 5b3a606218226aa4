"""Rows of studies that are submitted: checked, and filed beside the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ddbench.boards.chosen import origins_beside
from ddbench.leaderboard import write_tables
from ddbench.records.source_digest import made_by, source_file
from ddbench.records.studies import StudyRecord
from ddbench.records.study_files import STUDIED, check_study
from ddbench.registry import METHODS
from ddbench.submissions.checks import protocol_complaints
from ddbench.submissions.filing import all_or_none
from ddbench.submissions.submission import Submission


def submit_studies(paths: Sequence[Path], to: Path) -> Submission:
    """Check the files of a study's rows, copy the new ones into `to` and write its tables anew: all or nothing.

    Args:
        paths: files that `ddbench study` left
        to: a folder of tables
    """
    files, complaints = dict[Path, bytes](), list[str]()
    for path in paths:
        record, wrong = check_study(path)
        if record is not None and not wrong:
            wrong = [f"{path}: {reason}" for reason in _doubts(record)]
            place = to / STUDIED / record.study / path.name
            if not place.exists():
                files[place] = path.read_bytes()
        complaints += wrong
    if complaints:
        return Submission(complaints)
    with all_or_none(files):
        tables = write_tables(to, to, origins_beside(to)) if files else []
    return Submission(written=list(files), tables=tables)


def _doubts(record: StudyRecord) -> Iterator[str]:
    cell = record.cell
    yield from protocol_complaints(cell.method, cell.protocol, record.protocol)
    if cell.method not in METHODS or not made_by(source_file(METHODS.get(cell.method)), record.method_source):
        yield (
            f"method {cell.method!r} is not here as it ran ({record.method_source[:19]}), so that nobody can look it "
            "up; add its file to methods/, or run the study again"
        )
