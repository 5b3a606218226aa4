"""Write and check the repository's tables and curves, made of the records in `leaderboards/records/<board>/`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ddbench.io.atomic import write_atomically
from ddbench.leaderboard.curves import has_curve
from ddbench.leaderboard.finding_pages import findings_markdown
from ddbench.leaderboard.findings import ANALYSED, analysis_tables, finding_problems, read_findings
from ddbench.leaderboard.origins import Origins
from ddbench.leaderboard.plots import drawn_from, numbers, plot_curves
from ddbench.leaderboard.published import published_beside
from ddbench.leaderboard.readme import readme_of, with_board
from ddbench.leaderboard.studies import read_studies, studies_markdown, study_problems, study_tables
from ddbench.leaderboard.tables import csv_table, markdown
from ddbench.records.files import check_record, read_records, record_paths
from ddbench.records.schema import Record
from ddbench.records.study_files import STUDIED

SUFFIXES = (".md", ".csv", ".png")
OF_NO_BOARD = "README.md"


def boards(folder: Path) -> dict[str, list[Record]]:
    """Read the records below a folder, by board, sorted by the boards' names.

    Raises:
        UserError: when there is none, or one is not valid.
    """
    return _by_board(read_records(folder))


def _by_board(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.board, []).append(record)
    return dict(sorted(found.items()))


def write_tables(folder: Path, out: Path, origins: Origins | None = None) -> list[Path]:
    """Write each board's table, data and curves into `out`, where the files there are not up to date.

    A picture drawn from the same numbers is kept, because its bytes differ between versions of matplotlib. Delete it to
    have it drawn anew.

    Args:
        origins: family and paper of the methods that tables name, by name

    Returns:
        The files written.
    """
    written, found = list[Path](), boards(folder)
    for picture, records in _drawn(out, found).items():
        if drawn_from(picture) != numbers(records, origins):
            plot_curves(records, picture, origins)
            written.append(picture)
    texts, readme = _texts(folder, out, found, origins), readme_of(folder)
    if out == folder and (current := _readme(readme, folder, found, origins)) is not None:
        texts[readme] = current
    for path, text in texts.items():
        if not _holds(path, text):
            write_atomically(path, text.encode())
            written.append(path)
    return written


def check_tables(folder: Path, origins: Origins | None = None) -> list[str]:
    """Return what is wrong with the records below a folder, or else out of date in its tables, one sentence each.

    A picture's bytes differ between versions of matplotlib, so only the numbers it was drawn from are compared.

    Raises:
        UserError: when there are no records.
    """
    checked = {path: check_record(path) for path in record_paths(folder)}
    broken = [problem for _, problems in checked.values() for problem in problems]
    records = {path: record for path, (record, _) in checked.items() if record}
    broken += [] if broken else [*finding_problems(folder, records), *study_problems(folder)]
    return broken or list(_outdated(folder, _by_board(records.values()), origins))


def _outdated(folder: Path, found: dict[str, list[Record]], origins: Origins | None) -> Iterator[str]:
    remedy = f"run `ddbench leaderboard {folder}`"
    texts, drawn, readme = _texts(folder, folder, found, origins), _drawn(folder, found), readme_of(folder)
    for path in [*texts, *drawn]:
        if not path.is_file():
            yield f"{path} is missing; {remedy}"
    for path, text in texts.items():
        if path.is_file() and not _holds(path, text):
            yield f"{path} is not what its records give; {remedy}"
    for path, records in drawn.items():
        if path.is_file() and drawn_from(path) != numbers(records, origins):
            yield f"{path} is not drawn from what its records give; {remedy}"
    kept = *folder.iterdir(), *(folder / ANALYSED).glob("*.md"), *(folder / STUDIED).glob("*.md")
    for path in sorted(kept):
        if path.suffix in SUFFIXES and path.name != OF_NO_BOARD and path not in texts and path not in drawn:
            yield f"{path} is of no board with such records; remove it"
    if _readme(readme, folder, found, origins) not in (None, _read(readme)):
        yield f"{readme} does not show what the records give; {remedy}"


def _texts(folder: Path, out: Path, found: dict[str, list[Record]], origins: Origins | None) -> dict[Path, str]:
    """Return the text of each board's table and data, by its path below `out`."""
    published = published_beside(folder)
    texts = {}
    for board, records in found.items():
        texts[out / f"{board}.md"] = markdown(records, board, published, origins)
        texts[out / f"{board}.csv"] = csv_table(records, published, origins)
    for board, findings in read_findings(folder).items():
        tables = analysis_tables(found.get(board, []), findings, origins)
        texts[out / ANALYSED / f"{board}.md"] = findings_markdown(board, tables)
    tables_of = study_tables(read_studies(folder))
    for study in dict.fromkeys(table.study for table in tables_of):
        own = [table for table in tables_of if table.study == study]
        texts[out / STUDIED / f"{study}.md"] = studies_markdown(study, own)
    return texts


def _drawn(out: Path, found: dict[str, list[Record]]) -> dict[Path, list[Record]]:
    """Return the records that each board's picture shows, by the picture's path."""
    return {out / f"{board}.png": records for board, records in found.items() if has_curve(records)}


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _readme(readme: Path, folder: Path, found: dict[str, list[Record]], origins: Origins | None) -> str | None:
    """Return the text that README should have; None where there is no README."""
    text = _read(readme)
    return None if text is None else with_board(text, found, folder.name, origins)


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None
