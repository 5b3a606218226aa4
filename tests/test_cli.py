"""The command where all goes well, and where a method fails."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer.main

import ddbench
from ddbench import cli
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import load_dataset
from ddbench.records.files import read_records
from ddbench.records.schema import Record
from ddbench.records.source_digest import file_source_digest
from ddbench.registry import METHODS, NETWORKS, PROTOCOLS, discover_all_but_methods
from factories import Call, write_board, write_method

NETWORK = "convnet,depth=1,width=8"
COMMANDS = [
    "evaluate",
    "plan",
    "tune",
    "race",
    "distill",
    "score",
    "analyze",
    "study",
    "export",
    "leaderboard",
    "results",
    "snapshot",
    "get",
    "push",
    "submit",
    "verify",
    "list",
    "check",
    "new",
    "show",
    "convert",
    "card",
    "prepare",
    "bench",
]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Records and artefacts below a folder: when each was written and what it holds."""
    paths = [*folder.rglob("record.json"), *folder.rglob("*.safetensors")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


# -- tables -----------------------------------------------------------------------------------------------------------


def test_check_names_the_file_that_is_wrong_and_ends_with_1(call: Call, tmp_path: Path) -> None:
    shipped = Path(__file__).resolve().parent.parent / "leaderboards" / "records" / "quickstart" / "k_means"
    shutil.copytree(shipped, tmp_path / "tables" / "records" / "quickstart" / "k_means")
    (tmp_path / "README.md").write_text("<!-- leaderboard: quickstart -->\n<!-- end of leaderboard -->\n")
    assert call("leaderboard", "tables")[0] == 0
    code, _, err = call("leaderboard", "tables", "--check")
    assert (code, err) == (0, "10 records and 1 tables are in order\n")

    table = tmp_path / "tables" / "quickstart.csv"
    table.write_text(table.read_text().replace("0.881151", "0.981151"))
    code, _, err = call("leaderboard", "tables", "--check")
    assert (code, err) == (1, "tables/quickstart.csv is not what its records give; run `ddbench leaderboard tables`\n")

    record = sorted((tmp_path / "tables").rglob("*.json"))[0]
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1', 1))
    code, _, err = call("leaderboard", "tables", "--check")
    assert (code, err.partition(" was ")[0]) == (1, str(record.relative_to(tmp_path)))


# -- help and lists ---------------------------------------------------------------------------------------------------


def test_every_command_is_documented() -> None:
    group = typer.main.get_command(cli.app)
    assert sorted(group.commands) == sorted(COMMANDS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(call: Call, command: str) -> None:
    code, out, err = call(command, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: ddbench {command}" in out
    examples = out.partition("Usage:")[2].partition("\n")[2]
    assert f"ddbench {command}" in examples


def test_without_arguments_the_commands_are_shown(call: Call) -> None:
    _, out, err = call()
    assert all(f" {command} " in out + err for command in COMMANDS)


def test_list_shows_every_kind(call: Call) -> None:
    code, out, err = call("list")
    assert (code, err) == (0, "")
    for kind in ("methods", "datasets", "networks", "protocols", "boards"):
        assert f"{kind}:\n" in out
    for name in (*METHODS, *NETWORKS, *PROTOCOLS, "digits", "cifar100", "quickstart.yaml"):
        assert name in out
    assert "[dm]" in out


@pytest.mark.parametrize("kind", ["methods", "datasets", "networks", "protocols", "boards"])
def test_list_json_is_all_there_is(call: Call, kind: str) -> None:
    code, out, err = call("list", kind, "--json")
    assert (code, err) == (0, "")
    whole = json.loads(call("list", "--json")[1])
    assert json.loads(out) == whole[kind]
    assert whole[kind]


# -- data and new methods ---------------------------------------------------------------------------------------------


def test_prepare_says_what_there_is(call: Call) -> None:
    code, out, err = call("prepare", "digits")
    digest = load_dataset("digits").digest
    said = f"digits: 1438 training and 359 test images, 10 classes, 1 x 8 x 8, {digest}\n"
    assert (code, out, err) == (0, "", f"{said}training images of a class: from 139 (8) to 146 (5)\n")


def test_check_says_so(call: Call) -> None:
    assert call("check", "random") == (0, "", "random keeps the contract\n")


def test_check_says_that_the_paper_is_the_template_s(call: Call, tmp_path: Path) -> None:
    """A method's link is part of its file: named after the runs, it makes the file another one, and submit refuses."""
    path = Path(write_method(tmp_path, "unnamed"))
    path.write_text(path.read_text().replace('"none"', '"https://arxiv.org/abs/..."'))
    note = "its paper is https://arxiv.org/abs/... still; name it before you measure, since submit asks for it"
    assert call("check", "./unnamed.py") == (0, "", f"./unnamed.py keeps the contract\n{note}\n")


def test_check_says_what_is_broken(call: Call, tmp_path: Path) -> None:
    write_method(tmp_path, "broken", start="raise ValueError('bad [/x]')")
    sentence = "./broken.py: it raises ValueError on the tiny task: bad [/x]\n"
    assert call("check", "./broken.py") == (1, "", sentence)


def test_an_interruption_says_how_to_go_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(dataset: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ddbench.data.load_dataset", interrupted)
    assert call("prepare", "digits") == (130, "", "interrupted; the same command resumes\n")


# -- boards -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_evaluate_repeats_nothing_and_one_failure_stops_no_other(call: Call, tmp_path: Path) -> None:
    write_method(tmp_path, "fails", start="raise RuntimeError('no [/luck]')")
    arguments = ["evaluate", "-m", "./fails.py", "-m", "random_real", "-d", "digits", "--seeds", 2]
    arguments += ["--network", NETWORK, "--workers", 2, "--budget", "5s", "--device", "cpu", "--out", "out"]
    code, out, err = call(*arguments)
    assert code == 1
    assert "digits, 1 image per class" in out
    assert "failed" in out
    assert "RuntimeError: no [/luck]" in out
    assert "tables, curves and pictures: out" in err

    records: dict[str, list[Record]] = {}
    for record in read_records(tmp_path / "out"):
        records.setdefault(record.result.cell.method, []).append(record)
    assert [record.result.status for record in records["fails"]] == ["failed"] * 2
    assert all(record.result.reason == "RuntimeError: no [/luck]" for record in records["fails"])
    assert all(record.accuracy is None and record.result.artifact is None for record in records["fails"])
    assert [record.result.status for record in records["random_real"]] == ["ok"] * 2
    assert sorted(record.result.seed for record in records["random_real"]) == [0, 1]
    assert all(len(record.result.scores) == 5 for record in records["random_real"])
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"fails", "random_real", "leaderboard.md", "leaderboard.csv", "pictures"} <= written
    assert [path.suffix for path in (tmp_path / "out" / "pictures").iterdir()] == [".png"]

    before = files(tmp_path / "out")
    assert len(before) == 6
    code, again, err = call(*arguments)
    assert (code, again) == (1, out)
    assert "4 runs are done already, 0 to do" in err
    assert files(tmp_path / "out") == before

    code, table, err = call("leaderboard", "out", "--out", "tables")
    assert (code, table) == (0, out)
    assert "wrote tables/mine.md" in err
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"mine.md", "mine.csv"}


@pytest.mark.slow  # one board six times; `.ci/run` carries it out beside the default run
def test_again_adds_an_attempt_and_a_changed_file_is_said(
    call: Call, forget: Callable[[str], None], tmp_path: Path
) -> None:
    path = Path(write_method(tmp_path, "mine"))
    arguments = write_board(tmp_path, "./mine.py")
    code, out, err = call(*arguments)
    assert code == 0, err
    assert "mine" in out
    first = files(tmp_path / "out")

    path.write_text(path.read_text() + "CHANGED = 1\n")
    forget(str(path))
    code, again, err = call(*arguments)
    assert (code, again) == (0, out)
    assert "mine changed since its records were made; they are kept: --again runs it anew" in err
    assert files(tmp_path / "out") == first

    forget(str(path))
    code, _, err = call(*arguments, "--again")
    assert code == 0, err
    both = files(tmp_path / "out")
    assert first.items() < both.items()
    sources = [record.method_source for record in read_records(tmp_path / "out")]
    assert len(set(sources)) == 2
    assert file_source_digest(path) in sources
    assert "mine changed" not in call(*arguments)[2]


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_budget_that_ends_before_the_images_are_learned_is_said(call: Call, tmp_path: Path) -> None:
    """With the experts of trajectory matching: what is scored are the images that the run started from."""
    said = "truncated: the budget ended before the first step of distil"
    code, _, err = call(*write_board(tmp_path, "mtt", steps=2))
    assert (code, said in err) == (0, True), err
    (record,) = read_records(tmp_path / "out")
    assert (record.result.steps_done, record.result.reason) == ({"experts": 2, "distil": 0}, said.partition(": ")[2])
    assert f"| barely begun ({said.partition(': ')[2]}) |" in (tmp_path / "out" / "leaderboard.md").read_text()
    code, _, err = call(*write_board(tmp_path, "dm", steps=2))
    assert (code, said in err) == (0, False)


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_failure_that_was_mended_counts_no_more(call: Call, forget: Callable[[str], None], tmp_path: Path) -> None:
    arguments = write_board(tmp_path, "./mine.py")
    path = write_method(tmp_path, "mine", start="raise RuntimeError('a mistake')")
    assert call(*arguments)[0] == 1
    forget(path)
    write_method(tmp_path, "mine")
    assert call(*arguments)[0] == 0
    assert call(*arguments)[0] == 0
    assert sorted(record.result.status for record in read_records(tmp_path / "out")) == ["failed", "ok"]


# -- one artefact -----------------------------------------------------------------------------------------------------


def test_distill_score_and_show_one_artefact(call: Call, tmp_path: Path) -> None:
    code, out, err = call(
        "distill", "dm", "-d", "digits", "--ipc", 2, "--seed", 3, "--steps", 4, "--network", NETWORK,
        "--set", "batch_real=8", "--set", "lr_images=1e-1", "--device", "cpu", "--out", "mine.safetensors",
    )  # fmt: skip
    assert (code, out) == (0, "")
    assert "preparing data\ndistilling\nscoring\n" in err
    assert re.search(r"s, 4 of 20000 distil steps, accuracy [\d.]+ %; `ddbench score mine.safetensors` scores it", err)
    assert "warning: barely begun: the budget ended after 4 of 20,000 planned steps" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.record.json", "mine.safetensors"]
    artifact = DistilledDataset.load(tmp_path / "mine.safetensors")
    assert artifact.parts["images"].shape == (20, 1, 8, 8)
    provenance = artifact.provenance
    assert (provenance["method"], provenance["seed"], provenance["ipc"]) == ("distribution_matching", 3, 2)
    assert provenance["steps_done"] == {"distil": 4}
    assert provenance["hyperparameters"]["lr_images"] == 0.1

    options = ["--network", NETWORK, "--network", "mlp,width=16,depth=1", "--count", 2, "--device", "cpu"]
    code, out, err = call("score", "mine.safetensors", *options)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["convnet(depth=1, width=8)", "mlp(depth=1, width=16)"]
    assert all(line.endswith("% (last step, 2 networks)") for line in lines)
    alone = call("score", "mine.safetensors", *options[:2], "--count", 1, "--device", "cpu")[1]
    assert alone.endswith("% (last step, 1 network)\n")

    code, out, err = call("score", "mine.safetensors", *options, "--json")
    assert (code, err) == (0, "")
    scores = json.loads(out)
    assert [(score["network"]["name"], score["seed"]) for score in scores] == [
        ("convnet", 0), ("convnet", 1), ("mlp", 0), ("mlp", 1),
    ]  # fmt: skip
    assert all(0 <= score["accuracy"] <= 1 for score in scores)
    mean = 50 * (scores[0]["accuracy"] + scores[1]["accuracy"])
    assert f": {mean:.1f} ± " in lines[0]

    code, out, err = call("show", "mine.safetensors", "--out", "grid.png")
    assert (code, out, err) == (0, "", "wrote grid.png\n")
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_users_own_data_set_is_drawn_from_where_it_lies(call: Call, tmp_path: Path) -> None:
    images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "my [set].npz", **arrays)
    code, _, err = call(*write_board(tmp_path, "random_real", datasets="data/my [set].npz"))
    assert (code, "my [set]" in err) == (0, True)
    assert [path.name[:25] for path in (tmp_path / "out" / "pictures").iterdir()] == ["random_real-my [set]-ipc1"]


def test_distill_says_why_there_is_no_artefact(call: Call, tmp_path: Path) -> None:
    write_method(tmp_path, "fails", start="raise RuntimeError('no [/luck]')")
    code, out, err = call("distill", "./fails.py", "-d", "digits", "--device", "cpu", "--out", "x.safetensors")
    assert (code, out) == (1, "")
    assert err.endswith("failed: RuntimeError: no [/luck]; traceback in x.safetensors.error.txt\n")
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"fails.py", "x.safetensors.error.txt"}


@pytest.mark.slow  # processes of their own; `.ci/run` carries it out
def test_help_needs_no_torch_and_every_public_name_is_found() -> None:
    discover_all_but_methods()
    code = (
        "import sys, ddbench.cli; print('torch' in sys.modules); "
        "from ddbench import *; print(len(PROTOCOLS), len(NETWORKS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str(len(PROTOCOLS)), str(len(NETWORKS))]
    with pytest.raises(AttributeError, match="no attribute 'Taks'"):
        ddbench.Taks  # noqa: B018
    assert sorted(ddbench.__all__) == sorted(name for names in ddbench._HOMES.values() for name in names)
    assert set(ddbench.__all__) <= set(dir(ddbench))
