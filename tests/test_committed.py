"""The tables in this repository: what its records give, and every edit found, in a copy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ddbench.leaderboard import check_tables, write_tables
from ddbench.leaderboard.origins import origins
from ddbench.leaderboard.plots import drawn_from

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder of tables, beside a copy of the README that shows one of its boards."""
    copy = tmp_path / "leaderboards"
    shutil.copytree(ROOT / "leaderboards", copy, ignore=shutil.ignore_patterns("artifacts"))
    shutil.copy(ROOT / "README.md", tmp_path)
    return copy


def edit_a_digit(path: Path, after: str) -> None:
    """Another last digit of the first number that follows `after`."""
    text = path.read_text()
    start = text.index(after) + len(after)
    found = re.compile(r"\d+\.\d+").search(text, start)
    assert found is not None
    end = found.end() - 1
    path.write_text(text[:end] + str((int(text[end]) + 1) % 10) + text[end + 1 :])


@pytest.mark.slow  # every board; `.ci/run` carries out `ddbench leaderboard --check`, which reads them too
def test_committed_tables_are_what_the_records_give(folder: Path, tmp_path: Path) -> None:
    assert check_tables(folder, origins()) == []
    again = write_tables(folder, tmp_path / "again", origins())
    kept = [path for path in folder.iterdir() if path.is_file() and path.name != "published.yaml"]
    kept += (folder / "analyses").glob("*.md")
    made = {path.relative_to(tmp_path / "again"): path for path in again}
    assert sorted(made) == sorted(path.relative_to(folder) for path in kept)
    for name, path in made.items():
        if path.suffix == ".png":
            assert drawn_from(path) == drawn_from(folder / name) is not None
        else:
            assert path.read_bytes() == (folder / name).read_bytes()


@pytest.mark.slow  # every board three times; `.ci/run` carries it out beside the default run
def test_only_what_is_out_of_date_is_written(folder: Path) -> None:
    kept = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    shutil.copy(folder / "mnist.png", folder / "cpu.png")
    edit_a_digit(folder / "cpu.md", "| [distribution_matching]")
    edit_a_digit(folder.parent / "README.md", "| [distribution_matching]")
    written = write_tables(folder, folder, origins())
    assert written == [folder / "cpu.png", folder / "cpu.md", folder.parent / "README.md"]
    changed = {path for path, content in kept.items() if path.read_bytes() != content}
    assert changed <= {folder / "cpu.png"}
    assert check_tables(folder, origins()) == []


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_a_picture_that_cannot_be_drawn_leaves_the_tables_as_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    (folder / "cpu.png").unlink()
    edit_a_digit(folder / "cpu.md", "| [distribution_matching]")
    edited = (folder / "cpu.md").read_text()
    monkeypatch.setattr("ddbench.leaderboard.committed.plot_curves", fail)
    with pytest.raises(MemoryError):
        write_tables(folder, folder, origins())
    assert (folder / "cpu.md").read_text() == edited


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_an_edited_digit_is_found_and_its_file_named(folder: Path) -> None:
    readme, remedy = folder.parent / "README.md", f"run `ddbench leaderboard {folder}`"
    edit_a_digit(folder / "cpu.md", "| [distribution_matching]")
    edit_a_digit(folder / "mnist.csv", "mnist,")
    edit_a_digit(readme, "| [distribution_matching]")
    (folder / "quickstart.png").unlink()
    shutil.copy(folder / "mnist.png", folder / "cpu.png")
    for stale in ("old.md", "cpu-tuning.png"):
        (folder / stale).write_text("of a board that was")
    assert sorted(check_tables(folder, origins())) == sorted(
        [
            f"{folder / 'cpu.md'} is not what its records give; {remedy}",
            f"{folder / 'mnist.csv'} is not what its records give; {remedy}",
            f"{folder / 'quickstart.png'} is missing; {remedy}",
            f"{folder / 'cpu.png'} is not drawn from what its records give; {remedy}",
            f"{folder / 'old.md'} is of no board with such records; remove it",
            f"{folder / 'cpu-tuning.png'} is of no board with such records; remove it",
            f"{readme} does not show what the records give; {remedy}",
        ]
    )


def test_an_edited_record_is_found_and_named(folder: Path) -> None:
    path = next((folder / "records" / "cpu" / "k_means").glob("*.json"))
    edit_a_digit(path, '"accuracy": ')
    (complaint,) = check_tables(folder, origins())
    assert complaint.startswith(f"{path} was edited after it was written")


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_a_removed_record_changes_the_tables_of_its_board(folder: Path) -> None:
    for path in (folder / "records" / "cpu" / "k_means").glob("*.json"):
        path.unlink()
    named = {complaint.partition(" ")[0] for complaint in check_tables(folder, origins())}
    assert named == {str(folder / f"cpu{suffix}") for suffix in (".md", ".csv", ".png")} | {
        str(folder.parent / "README.md")
    }
