"""A run's records and artefacts, checked and copied to where the tables are made from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ddbench.boards.chosen import origins_beside
from ddbench.boards.command_line import SHIPPED
from ddbench.errors import UserError
from ddbench.evaluation.modality import Data
from ddbench.leaderboard import write_tables
from ddbench.records.files import dump_record, read_record
from ddbench.records.run_folder import RECORD
from ddbench.records.schema import Record
from ddbench.records.source_digest import file_source_digest, made_by, short_digest
from ddbench.records.study_files import study_paths
from ddbench.registry import METHODS, discover
from ddbench.submissions.checks import complaints as complaints_of
from ddbench.submissions.checks import recorded_data
from ddbench.submissions.claim import Claim, read_claims
from ddbench.submissions.filing import all_or_none, plan_filing
from ddbench.submissions.findings import plan_findings
from ddbench.submissions.membership import board_complaint, source_complaint
from ddbench.submissions.studies import submit_studies
from ddbench.submissions.submission import Submission as Submission
from ddbench.testing import names_no_paper


def submit(
    runs: str | Path,
    to: str | Path = Path("leaderboards"),
    *,
    sources: Sequence[Path] = (),
    datasets: Sequence[str] = (),
    configs: Path = SHIPPED,
) -> Submission:
    """Check every record of a run's folder, copy the new ones into `to` and write its tables anew: all or nothing.

    Of each cell the artefact of the median run goes along, up to `ARTIFACT_LIMIT` bytes. Records are never changed:
    submitting the same again does nothing, and another attempt is filed beside the earlier one.

    Args:
        runs: what `evaluate` wrote, one run's folder, or what `study` wrote, of which the rows are filed
        to: a folder with `records/<board>/<method>/<run>.json` and `artifacts/`
        sources: files of methods that are not in `methods/`; they are copied to `sources/`, and not run
        datasets: where data sets lie that are not to be had by their name
        configs: YAML files of the boards; a record that names one of these must be of one of its cells

    Raises:
        UserError: when there are no records, `to` is no sound folder of tables, or a data set is not to be had.
    """
    discover()
    runs, to = Path(runs), Path(to)
    if studied := study_paths(runs):
        held_records(to)
        return submit_studies(studied, to)
    paths = sorted(runs.rglob(RECORD)) if runs.is_dir() else []
    if not paths:
        raise UserError(f"no {RECORD} below {runs}; name the --out folder of `ddbench evaluate`")
    claims, wrong = read_claims(paths)
    held = held_records(to)
    given = _sources(sources, {claim.record.method_source for claim in claims})
    wrong += [
        *_unnamed_papers(claims),
        *_complaints(claims, given, {Path(path).stem: path for path in datasets}, configs),
    ]
    filing = plan_filing([] if wrong else claims, to, held)
    places = held | {path: claim.record for path, claim in filing.records.items()}
    findings = plan_findings([] if wrong else claims, places, to)
    if complaints := wrong or filing.complaints or findings.complaints:
        return Submission(complaints)
    new = [claim.record for claim in filing.records.values()]
    files = filing.files | findings.files | dict(_copied(given, new, to))
    with all_or_none(files):
        tables = write_tables(to, to, origins_beside(to)) if files else []
    notes = [*filing.notes, *_new_boards(new, configs), *_uncommitted(new)]
    return Submission(notes=notes, written=list(files), tables=tables)


def add_record(record: Record, to: Path = Path("leaderboards")) -> list[Path]:
    """File one record, as one of a verification, beside the earlier attempts of its run; what was written.

    Raises:
        UserError: when there is no folder of tables, or one of its records is not valid.
    """
    claim = Claim(Path(record.name), dump_record(record), record, None)
    filing = plan_filing([claim], to, held_records(to))
    with all_or_none(filing.files):
        return [*filing.files, *write_tables(to, to, origins_beside(to))]


def held_records(folder: Path) -> dict[Path, Record]:
    """The records of a folder of tables, by path.

    Raises:
        UserError: when it is no such folder, or one of them is not valid.
    """
    if not (folder / "records").is_dir():
        raise UserError(
            f"no folder {folder / 'records'}; go to a clone of the repository, or name its tables with --to"
        )
    return {path: read_record(path) for path in sorted((folder / "records").rglob("*.json"))}


def _sources(paths: Sequence[Path], recorded: Collection[str]) -> dict[str, Path]:
    """Method files by the digest that records know them by."""
    given: dict[str, Path] = {}
    for path in paths:
        if not path.is_file():
            raise UserError(f"no method file at {path}")
        known = [one for one in recorded if made_by(path, one)]
        if not known:
            now = file_source_digest(path)[:19]
            raise UserError(f"no record was made with {path} as it is now ({now}); give the file that ran")
        given |= dict.fromkeys(known, path)
    return given


def _copied(given: Mapping[str, Path], records: Iterable[Record], folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Method files that came along, by the place where records' readers find them."""
    for record in records:
        name = f"{record.result.cell.method}-{short_digest(record.method_source)}.py"
        place = folder / "sources" / name
        if record.method_source in given and not place.exists():
            yield place, given[record.method_source].read_bytes()


def _unnamed_papers(claims: Iterable[Claim]) -> Iterator[str]:
    """Complain of methods whose link to a paper is the one that `ddbench new` writes."""
    for method in sorted({claim.record.result.cell.method for claim in claims} & set(METHODS)):
        if names_no_paper(METHODS.get(method)):
            paper = METHODS.get(method).paper
            fix = "name it in the method's file and run again, with --again"
            yield f"method {method} says that its paper is {paper}; {fix}"


def _uncommitted(records: Iterable[Record]) -> Iterator[str]:
    changed = [record for record in records if str(record.measured.environment.get("git")).endswith("+")]
    if changed:
        yield (
            f"{len(changed)} runs were made from a working tree with uncommitted changes; commit them and run again, "
            "so that others can repeat what you ran"
        )


def _new_boards(records: Iterable[Record], configs: Path) -> Iterator[str]:
    for board in sorted({record.board for record in records}):
        if not (configs / f"{board}.yaml").is_file():
            yield f"board {board!r} is new: add its YAML to configs/, so that others can run it"


def _complaints(
    claims: Sequence[Claim], given: Mapping[str, Path], places: Mapping[str, str], configs: Path
) -> Iterator[str]:
    loaded: dict[tuple[str, str], Data] = {}
    for claim in claims:
        cell = claim.record.result.cell
        key = cell.dataset, cell.dataset_digest
        if key not in loaded:
            loaded[key] = recorded_data(cell, places.get(cell.dataset))
        found = complaints_of(claim, loaded[key])
        yield from found
        if not found:
            reasons = _absent(claim), board_complaint(claim.record, configs), source_complaint(claim.record, given)
            yield from (f"{claim.path}: {reason}" for reason in reasons if reason)


def _absent(claim: Claim) -> str | None:
    missing = claim.record.result.artifact is not None and claim.artifact is None
    return "its artefact is not beside it; put it back, or run the cell again" if missing else None
