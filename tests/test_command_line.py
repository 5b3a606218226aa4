"""What people try first at a command line: versions, short help, names as papers write them, endings, files kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.command_line import board_of
from ddbench.boards.jobs import resolve
from ddbench.registry import DATASETS, METHODS, discover
from ddbench.submissions.claim import Claim
from factories import METHOD, Call

DISTIL = ("distill", "random_real", "-d", "digits", "--ipc", "2", "--network", "convnet,depth=1,width=8")


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("distilled") / "digits.safetensors"
    ddbench.distill("random_real", "digits", out, ipc=2, network="convnet,depth=1,width=8", compile=False)
    return out


def test_version_and_short_help(call: Call) -> None:
    assert call("--version")[:2] == (0, f"ddbench {ddbench.__version__}\n")
    code, out, _ = call("evaluate", "-h")
    assert code == 0
    assert "--budget" in out


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("DC", "gradient_matching"), ("DSA", "gradient_matching"), ("DM", "distribution_matching"),
        ("MTT", "trajectory_matching"), ("TESLA", "scalable_trajectory_matching"), ("FTD", "flat_trajectory_matching"),
        ("DATM", "difficulty_aligned_matching"), ("HaBa", "factorization"), ("IDC", "efficient_parameterization"),
        ("IDM", "improved_distribution_matching"), ("NCFM", "characteristic_matching"), ("CAFE", "feature_alignment"),
        ("DataDAM", "attention_matching"), ("RaT-BPTT", "truncated_backprop"), ("K-Means", "k_means"),
        ("DANCE", "dual_view_alignment"), ("RDED", "realistic_patches"),
    ],
)  # fmt: skip
def test_methods_go_by_the_names_of_their_papers(written: str, name: str) -> None:
    discover()
    assert METHODS.canonical(written) == name


@pytest.mark.parametrize(("written", "name"), [("CIFAR10", "cifar10"), ("CIFAR-100", "cifar100"), ("MNIST", "mnist")])
def test_data_sets_go_by_any_case(written: str, name: str) -> None:
    assert DATASETS.find(written) == name
    assert ddbench.load_dataset("Digits").digest == ddbench.load_dataset("digits").digest


def test_a_path_where_nothing_lies_is_said_to_be_that() -> None:
    with pytest.raises(ddbench.UserError, match=r"nothing lies at \./nowhere; give the path of a folder of images"):
        ddbench.load_dataset("./nowhere")


@pytest.mark.parametrize("name", ["cpu", "quickstart", "wang2018"])
def test_boards_that_ship_go_by_their_names(name: str) -> None:
    assert board_of(name).board == name


def test_a_file_comes_before_a_board_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cpu").write_text(
        "board: mine\ndatasets: digits\nipc: 1\nprotocol: quick-300@1\nentries: [{methods: dm}]\n"
    )
    assert board_of("cpu").board == "mine"
    with pytest.raises(ddbench.UserError, match="no board at gpu"):
        board_of("gpu")


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("jpg", b"\xff\xd8")]
)
def test_a_picture_is_what_its_name_says(ending: str, begins: bytes, distilled: Path, tmp_path: Path) -> None:
    ddbench.show(distilled, tmp_path / f"grid.{ending}")
    assert (tmp_path / f"grid.{ending}").read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["grid", "grid.txt", ""])
def test_a_picture_of_no_format_is_refused(name: str, distilled: Path, tmp_path: Path) -> None:
    with pytest.raises(ddbench.UserError, match=r"does not end in \.png, \.pdf, \.svg, \.jpg, \.jpeg; pictures do"):
        ddbench.show(distilled, tmp_path / name)


def test_the_images_are_exported_as_files(distilled: Path, tmp_path: Path) -> None:
    assert ddbench.export(distilled, tmp_path / "out") == 20
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert folders == [f"{digit}-{digit}" for digit in range(10)]
    artifact = DistilledDataset.load(distilled)
    (mean,), (std,) = (artifact.provenance["preprocessing"][part] for part in ("mean", "std"))
    pixels = (255 * (artifact.decode()[0] * std + mean)).round().to(torch.uint8)
    for number, path in enumerate(sorted((tmp_path / "out").glob("*/*.png"), key=lambda path: path.stem)):
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), pixels[number, 0].numpy())
        assert path.parent.name[0] == str(artifact.decode()[1][number].item())
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.size[0] > 100
    again = ddbench.load_dataset(f"{tmp_path / 'out'}")
    assert again.shape == (1, 8, 8)
    with pytest.raises(ddbench.UserError, match="holds something already; name a new folder"):
        ddbench.export(distilled, tmp_path / "out")


def test_what_is_distilled_already_is_not_distilled_again(call: Call, distilled: Path, tmp_path: Path) -> None:
    record = ddbench.read_record(distilled.with_name("digits.record.json"))
    made = distilled.stat().st_mtime_ns
    again = ddbench.distill("random_real", "digits", distilled, ipc=2, network="convnet,depth=1,width=8", compile=False)
    assert (again, distilled.stat().st_mtime_ns) == (record, made)
    for seed, out in (("1", distilled), ("0", tmp_path / "other.safetensors")):
        out.touch()
        code, _, err = call(*DISTIL, "--seed", seed, "--out", out)
        assert code == 2
        assert f"{out} exists, and it is not what this command makes; choose another --out, or replace it with" in err
    assert distilled.stat().st_size > 0


def test_the_record_of_another_run_is_not_written_over(call: Call, distilled: Path, tmp_path: Path) -> None:
    beside = tmp_path / "mine.record.json"
    shutil.copy(distilled.with_name("digits.record.json"), beside)
    code, _, err = call(*DISTIL, "--seed", "1", "--out", tmp_path / "mine.safetensors")
    assert (code, f"{beside} exists, and it is not what this command makes" in err) == (2, True)


def test_the_record_beside_an_artefact_is_found_from_there(call: Call, distilled: Path) -> None:
    record = distilled.with_name("digits.record.json")
    assert Claim.read(record).artifact == distilled
    said = f"{distilled} is no record; give that of the run that made it, as {record}"
    assert call("verify", distilled) == (2, "", f"ddbench: {said}\n")


def test_a_card_has_the_scores_of_the_record_beside_the_file(distilled: Path, tmp_path: Path) -> None:
    assert "Not measured yet" not in ddbench.card(distilled, tmp_path / "card").read_text()


@pytest.mark.usefixtures("methods")
@pytest.mark.parametrize("cell", ["<stdin>", "<ipython-input-1-5e2a>"])
def test_a_method_of_a_notebooks_cell_is_refused_in_a_sentence(cell: str) -> None:
    content = METHOD.format(name="mine", start="pass", body="pass", end="return result()")
    exec(compile(content, cell, "exec", dont_inherit=True), {"__name__": "a_cell"})
    with pytest.raises(ddbench.UserError, match="Method has no file, as code of a notebook's cell; write it into"):
        resolve(board_of({"methods": ["mine"], "ipc": 1}), "cpu")


# -- surroundings -----------------------------------------------------------------------------------------------------


@pytest.mark.slow  # several processes; `.ci/run` carries it out
def test_a_notebooks_back_end_and_an_ascii_locale_do_not_matter(distilled: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_nowhere", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "ddbench", "show", str(distilled), "--out", str(tmp_path / "grid.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "grid.png").is_file()


def test_without_a_home_the_variable_for_downloads_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from ddbench.data.paths import cache_folder

    monkeypatch.delenv("DDBENCH_CACHE", raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ddbench.UserError, match="you have no home folder here; name one for downloads in"):
        cache_folder()
