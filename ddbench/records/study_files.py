"""Files of studies: written with a checksum, read with checks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ddbench.errors import UserError, suggestion
from ddbench.io.atomic import write_atomically
from ddbench.records.contradictions import MOST_SECONDS, MOST_SHARE
from ddbench.records.files import check_sealed, seal
from ddbench.records.finding_files import undeclared
from ddbench.records.findings import FILE_NAME
from ddbench.records.schema import COUNTED
from ddbench.records.studies import StudyRecord
from ddbench.registry import STUDIES

AGAIN = "run `ddbench study` again"
STUDIED = "studies"
"""folder of studies in a folder of tables: `studies/<study>/<row>.json`, and a page of each study"""


def write_study(path: Path, found: StudyRecord) -> None:
    write_atomically(path, seal(found.model_dump(mode="json")))


def check_study(path: Path) -> tuple[StudyRecord | None, list[str]]:
    """Return a file's row of a study, if it has the form of one, and what is wrong with the file, a sentence each."""
    return check_sealed(path, StudyRecord, partial(_contradictions, path), AGAIN)


def read_study(path: Path) -> StudyRecord:
    """Read and check the file of one row.

    Raises:
        UserError: with the first thing that is wrong with it.
    """
    found, problems = check_study(path)
    if found is None or problems:
        raise UserError(problems[0])
    return found


def study_paths(folder: Path) -> list[Path]:
    """Return the files of studies that lie in a folder itself, sorted; there may be none."""
    named = [(path, FILE_NAME.fullmatch(path.name)) for path in sorted(folder.glob("*.json"))]
    return [path for path, found in named if found is not None and found["analysis"] in STUDIES]


def _contradictions(path: Path, found: StudyRecord) -> Iterator[str]:
    if found.key != found.expected_key():
        yield f"key {found.key} is not that of its content, {found.expected_key()}; {AGAIN}"
    if path.name != found.name:
        yield f"it is named otherwise than its content, {found.name}; {AGAIN}"
    yield from _of_runs(found)
    if found.study not in STUDIES:
        yield f"unknown study {found.study!r}; {suggestion(found.study, STUDIES)}"
        return
    yield from undeclared(found.findings, STUDIES.get(found.study).measures)


def _of_runs(found: StudyRecord) -> Iterator[str]:
    budget = found.cell.budget.seconds
    for run in found.runs:
        if run.seed >= found.seeds:
            yield f"a run of seed {run.seed}, and it has seeds 0 to {found.seeds - 1}; {AGAIN}"
        if run.status not in COUNTED:
            yield f"run {run.key} has status {run.status}, and does not count; {AGAIN}"
        if budget is not None and run.seconds > (1 + MOST_SHARE) * run.share * budget + MOST_SECONDS:
            allowed = run.share * budget
            yield f"{run.seconds:.4g} s charged to run {run.key}, which has a budget of {allowed:g} s; {AGAIN}"
