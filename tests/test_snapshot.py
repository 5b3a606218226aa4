"""The leaderboard of a day as one file, and its results as one table."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ddbench.boards.results import results, write_results
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically
from ddbench.leaderboard.snapshot import snapshot_of, write_snapshot
from ddbench.records.files import dump_record, read_records
from ddbench.site import write_site
from ddbench.site.changes_page import changes
from ddbench.site.content import read_content
from factories import Call, contents, make_record

pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install -e '.[test]'")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two methods on two days, three seeds each."""
    for method, day, accuracies in (("good", 1, (0.7, 0.8, 0.9)), ("bad", 2, (0.3, 0.3, 0.3))):
        for seed, accuracy in enumerate(accuracies):
            record = make_record(method, seed, (accuracy,), finished=f"2026-01-0{day}T10:00:00+00:00")
            write_atomically(tmp_path / "boards" / "records" / "tiny" / method / f"{seed}.json", dump_record(record))
    return tmp_path / "boards"


def test_equal_folders_give_equal_archives(folder: Path, tmp_path: Path) -> None:
    made, first = write_snapshot(folder, tmp_path / "first.zip")
    other = shutil.copytree(folder, tmp_path / "other")
    _, second = write_snapshot(other, tmp_path / "second.zip")
    assert first.read_bytes() == second.read_bytes()
    assert (made.date, made.records) == ("2026-01-02", 6)
    assert made.file_name == "ddbench-leaderboard-2026-01-02.zip"
    assert f"6 records, {made.digest}, ddbench {made.version}" in made.bibtex


def test_an_unpacked_archive_gives_the_same_pages_and_is_the_same_snapshot(folder: Path, tmp_path: Path) -> None:
    made, path = write_snapshot(folder, tmp_path / "snapshot.zip")
    zipfile.ZipFile(path).extractall(tmp_path / "unpacked")
    again = tmp_path / "unpacked" / "leaderboards"
    assert (again / "SNAPSHOT.bib").read_text() == f"{made.bibtex}\n"
    assert snapshot_of(again, read_records(again)) == made
    sites = [write_site(place, tmp_path / name).parent for place, name in ((folder, "a"), (again, "b"))]
    assert contents(sites[0]) == contents(sites[1])


def test_any_change_of_a_record_is_another_snapshot(folder: Path) -> None:
    before = snapshot_of(folder, read_records(folder))
    path = folder / "records" / "tiny" / "bad" / "0.json"
    write_atomically(path, dump_record(make_record("bad", 0, (0.31,), finished="2026-01-02T10:00:00+00:00")))
    after = snapshot_of(folder, read_records(folder))
    assert (before.date, before.records) == (after.date, after.records)
    assert before.digest != after.digest


def test_results_are_a_frame_by_cell_or_by_run(folder: Path) -> None:
    cells, runs = results(folder), results(folder, runs=True)
    assert list(cells["method"]) == ["good", "bad"]
    assert cells["accuracy"].tolist() == pytest.approx([0.8, 0.3])
    assert cells["seeds"][0] == [0, 1, 2]
    by_method = runs.groupby("method")["accuracy"]
    assert by_method.mean().to_dict() == pytest.approx({"good": 0.8, "bad": 0.3})
    assert by_method.count().to_dict() == {"good": 3, "bad": 3}
    assert set(runs["status"]) == {"ok"}


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_results_are_written_and_read_back(folder: Path, tmp_path: Path, ending: str) -> None:
    path = write_results(folder, tmp_path / "new" / f"all.{ending}")
    back = pandas.read_parquet(path) if ending == "parquet" else pandas.read_csv(path)
    assert back["accuracy"].tolist() == pytest.approx([0.8, 0.3])
    assert json.loads(back["seeds"][0]) == [0, 1, 2]


def test_another_ending_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in neither \.parquet nor \.csv"):
        write_results(folder, tmp_path / "all.xlsx")


def test_the_commands_say_what_they_wrote(folder: Path, tmp_path: Path, call: Call) -> None:
    code, out, _ = call("snapshot", folder, "--out", tmp_path / "x.zip", "--json")
    assert (code, json.loads(out)["records"]) == (0, 6)
    code, out, _ = call("results", folder, "--runs", "--out", tmp_path / "x.csv", "--json")
    assert (code, json.loads(out)) == (0, {"wrote": [str(tmp_path / "x.csv")]})
    assert len(pandas.read_csv(tmp_path / "x.csv")) == 6


def test_changes_stand_by_day_on_a_page_and_in_a_feed(folder: Path, tmp_path: Path) -> None:
    found = changes(read_content(folder))
    assert [(change.date, change.records, change.first) for change in found] == [
        ("2026-01-02", 3, ("bad",)),
        ("2026-01-01", 3, ()),
    ]
    assert found[0].sentence == "3 records of 1 method (digits, 1 a class); first records of bad."
    site = write_site(folder, tmp_path / "site").parent
    feed = ElementTree.parse(site / "changes.xml").getroot()
    names = {"atom": "http://www.w3.org/2005/Atom"}
    assert [entry.findtext("atom:updated", namespaces=names) for entry in feed.findall("atom:entry", names)] == [
        "2026-01-02T00:00:00Z",
        "2026-01-01T00:00:00Z",
    ]
    assert found[0].sentence in (site / "changes.html").read_text()
