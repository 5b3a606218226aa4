"""`evaluate --save-board`: the board that options mean, as a file that others can run and `submit` finds."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from ddbench.boards.board import load_board
from ddbench.boards.command_line import board_from
from ddbench.boards.jobs import resolve
from ddbench.boards.saved import SavedBoard
from ddbench.errors import CannotWrite, UserError
from ddbench.registry import discover
from ddbench.submissions.membership import board_complaint
from factories import Call, make_record, write_method

OPTIONS: dict[str, Any] = {
    "methods": ["dm", "random_real"],
    "datasets": ["digits"],
    "ipc": [1, 2],
    "network": "convnet,depth=1,width=8",
    "budget": "2m",
    "seeds": 2,
    "set": {},
}
TEXT = """\
# Written by `ddbench evaluate --save-board`: the cells that its options meant; paths start where it ran.
board: ours
datasets: [digits]
ipc: [1, 2]
network: {name: convnet, depth: 1, width: 8}
protocol: quick-300@1
budget: 2m
seeds: 2
entries:
  - {methods: [dm, random_real]}
"""


def keys(board: Any) -> list[tuple[str, str]]:
    discover()
    return [(job.key, job.folder) for job in resolve(board, "cpu")]


def test_it_is_written_as_the_boards_that_ship(tmp_path: Path) -> None:
    saved = SavedBoard(tmp_path / "ours.yaml", OPTIONS)
    assert not (tmp_path / "ours.yaml").exists()
    saved.write()
    assert (tmp_path / "ours.yaml").read_text() == TEXT


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"methods": ["dm"], "set": {"lr_images": 1e-5, "init": "noise", "augment": False}},
        {"network": "mlp", "steps": 5, "budget": None, "protocol": "dsa-1000@1"},
        {"network": None, "ipc": [3]},
    ],
    ids=["plain", "settings", "steps", "defaults"],
)
def test_it_has_the_same_cells_and_keys(tmp_path: Path, changes: dict[str, Any]) -> None:
    options = {name: value for name, value in {**OPTIONS, **changes}.items() if value is not None}
    SavedBoard(tmp_path / "ours.yaml", options).write()
    assert keys(load_board(tmp_path / "ours.yaml")) == keys(board_from(None, options))


def test_files_of_ones_own_are_named_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "from torch import nn\nclass Small(nn.Sequential):\n    def __init__(self, classes, width: int = 2):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    write_method(tmp_path, "own")
    options = {"methods": ["./own.py"], "network": "./net.py:Small,width=3"}
    discover()
    SavedBoard(Path("ours.yaml"), options).write()
    text = Path("ours.yaml").read_text()
    assert "network: {name: './net.py:Small', width: 3}\n" in text
    assert "  - {methods: [./own.py]}\n" in text
    assert load_board(Path("ours.yaml")).network == board_from(None, options).network


def test_another_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    SavedBoard(file, OPTIONS).write()
    again = SavedBoard(file, OPTIONS)
    file.write_text(file.read_text().replace("# Written", "# Chosen by hand\n# Written"))
    SavedBoard(file, OPTIONS).write()  # the same board, in other words
    again.write()
    assert file.read_text().startswith("# Chosen by hand")
    sentence = r"ours\.yaml exists, and it is not the board of these options; choose another --save-board"
    for other in ("", "board: [", TEXT.replace("2m", "3m")):
        file.write_text(other)
        with pytest.raises(UserError, match=sentence):
            SavedBoard(file, OPTIONS)
        assert file.read_text() == other


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ours.txt", OPTIONS, r"'ours\.txt' does not end in \.yaml; boards do"),
        ("our board.yaml", OPTIONS, r"command line: board: .*got 'our board'"),
        ("ours.yaml", {"ipc": [1]}, "name at least one --method"),
        ("ours.yaml", {**OPTIONS, "budget": "2 parsecs"}, "command line: budget: '2 parsecs' is not a budget"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        SavedBoard(Path(name), options)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")
    with pytest.raises(CannotWrite, match=r"ours\.yaml"):
        SavedBoard(tmp_path / "folder" / "ours.yaml", OPTIONS).write()


def test_the_command_writes_it_before_anything_runs(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api = importlib.import_module("ddbench.runs.api")
    made = make_record("dm")
    ran = list[str]()
    monkeypatch.setattr(api, "run_jobs", lambda todo, folder, **options: ran.append(str(folder)) or [made])
    monkeypatch.setattr(api, "read_runs", lambda folder: [made])
    monkeypatch.setattr("ddbench.leaderboard.render", lambda *arguments: [])
    arguments = ["-m", "dm", "-d", "digits", "--network", "convnet,depth=1,width=8", "--steps", 2, "--json"]
    assert call("evaluate", *arguments, "--save-board", "configs/ours.yaml")[0] == 0
    assert ran == ["runs/ours"]
    assert load_board(tmp_path / "configs" / "ours.yaml").board == "ours"
    code, _, err = call("evaluate", *arguments, "--seeds", 2, "--save-board", "configs/ours.yaml")
    assert (code, "is not the board of these options" in err, len(ran)) == (2, True, 1)
    code, _, err = call("evaluate", "configs/ours.yaml", "--save-board", "x.yaml")
    assert (code, err) == (
        2, "ddbench: --save-board x.yaml writes the board of options, and configs/ours.yaml is one; leave out either\n"
    )  # fmt: skip


def test_submit_names_the_option_and_takes_the_board(tmp_path: Path) -> None:
    discover()
    (job,) = resolve(SavedBoard(tmp_path / "mine.yaml", {"methods": ["random_real"]}).board, "cpu")
    fields = {name: getattr(job.cell, name) for name in type(job.cell).model_fields}
    record = make_record(board="mine", accuracies=(0.5,) * job.cell.networks, **fields)
    found = board_complaint(record, tmp_path)
    assert found is not None
    assert "and --save-board configs/mine.yaml writes its cells into a YAML, and repeats no run" in found
    SavedBoard(tmp_path / "mine.yaml", {"methods": ["random_real"]}).write()
    assert board_complaint(record, tmp_path) is None
