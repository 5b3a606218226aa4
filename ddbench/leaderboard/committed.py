"""The tables in the repository: `leaderboards/records/<board>/` in, tables and curves out."""

from __future__ import annotations

from pathlib import Path

from ddbench.errors import UserError
from ddbench.files import write_atomically
from ddbench.leaderboard.curves import has_curve
from ddbench.leaderboard.plots import plot_curves
from ddbench.leaderboard.published import SHIPPED, Published, load_published
from ddbench.leaderboard.readme import readme_of, with_board
from ddbench.leaderboard.tables import csv_table, markdown
from ddbench.records import Record, problems, read_records


def boards(folder: Path) -> dict[str, list[Record]]:
    """Records below a folder by board, in the order of their names.

    Raises:
        UserError: when there is none, or one is not valid.
    """
    found: dict[str, list[Record]] = {}
    for record in read_records(folder) if folder.is_dir() else []:
        found.setdefault(record.board, []).append(record)
    if not found:
        raise UserError(f"no records below {folder}; run `ddbench evaluate` first, or name its --out folder")
    return dict(sorted(found.items()))


def write_tables(folder: Path, out: Path) -> list[Path]:
    """Write each board's table, data and curves into `out`; the files written."""
    written, published = [], _published(folder)
    for board, records in boards(folder).items():
        for suffix, text in _texts(board, records, published).items():
            path = out / f"{board}{suffix}"
            write_atomically(path, text.encode())
            written.append(path)
        if has_curve(records):
            plot_curves(records, out / f"{board}.png")
            written.append(out / f"{board}.png")
    readme = readme_of(folder)
    if out == folder and (current := _readme(folder)) is not None and current != readme.read_text():
        write_atomically(readme, current.encode())
        written.append(readme)
    return written


def check_tables(folder: Path) -> list[str]:
    """What is wrong with the records below a folder, or out of date in its tables; a sentence each."""
    complaints = [problem for path in sorted(folder.rglob("*.json")) for problem in problems(path)]
    if complaints:
        return complaints
    published = _published(folder)
    for board, records in boards(folder).items():
        for suffix, text in _texts(board, records, published).items():
            path = folder / f"{board}{suffix}"
            if not path.is_file() or path.read_text() != text:
                complaints.append(f"{path} is not what its records give; run `ddbench leaderboard {folder}`")
    readme = readme_of(folder)
    if (current := _readme(folder)) is not None and current != readme.read_text():
        complaints.append(f"{readme} does not show what the records give; run `ddbench leaderboard {folder}`")
    return complaints


def _readme(folder: Path) -> str | None:
    """README's text as it should be; None where none shows a board of this folder."""
    path = readme_of(folder)
    return with_board(path.read_text(), boards(folder), folder.name) if path.is_file() else None


def _published(folder: Path) -> Published:
    """The folder's own figures, or those that ship."""
    own = folder / "published.yaml"
    return load_published(own if own.is_file() else SHIPPED)


def _texts(board: str, records: list[Record], published: Published) -> dict[str, str]:
    return {".md": markdown(records, board, published), ".csv": csv_table(records, published)}
