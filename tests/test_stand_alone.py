"""An artefact is read, drawn, exported and applied from its file alone, and what its header copies is never trusted."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ddbench
from ddbench.artifacts.class_names import MOST_BYTES, names_for_header
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.provenance import check_provenance, data_of
from ddbench.artifacts.torch_dataset import DistilledImages
from ddbench.data import Preprocessing, load_dataset
from ddbench.data.npz import save_npz
from ddbench.errors import UserError
from ddbench.evaluation.modality import Place
from ddbench.records.cell import NetworkSpec
from ddbench.records.schema import Records, Score
from ddbench.registry import MODALITIES, discover
from factories import make_cell, make_record, rewrite_artifact, toy

NAMES = ["cat", "dog", "fish"]
MEAN, STD = [0.5, 0.25, 0.125], [0.5, 0.25, 0.5]
HEADER: dict[str, Any] = {
    "method": "mine",
    "dataset": "photos",
    "dataset_digest": "sha256:00",
    "network": {"name": "convnet", "parameters": {"depth": 1, "width": 8}},
    "preprocessing": {"kind": "normalize", "mean": MEAN, "std": STD, "eps": 0.0},
    "ipc": 2,
    "protocol": "quick-300@1",
    "classes": NAMES,
}


def artifact(**changes: Any) -> DistilledDataset:
    """Two images of each of three classes, of the one value 1 beyond the mean, from data that nobody has."""
    said = {name: value for name, value in (HEADER | changes).items() if value is not None}
    made = DistilledDataset.pixels(torch.ones(6, 3, 4, 4), torch.arange(3).repeat_interleave(2))
    return made.with_provenance(said)


def saved(folder: Path, **changes: Any) -> Path:
    artifact(**changes).save(folder / "set.safetensors")
    return folder / "set.safetensors"


def of_toy(kind: str = "normalize", **changes: Any) -> DistilledDataset:
    """An artefact of `toy`, an image a class, its own header."""
    data = toy()
    described = Preprocessing.for_dataset(data, kind).fit(data).describe()
    made = DistilledDataset.pixels(torch.rand(3, 3, 4, 4), torch.arange(3))
    said = {"dataset": "toy", "dataset_digest": data.digest, "ipc": 1, "classes": ["0", "1", "2"]}
    return made.with_provenance({**HEADER, **said, "preprocessing": described, **changes})


# -- class names ------------------------------------------------------------------------------------------------------


def test_a_file_names_its_classes_and_draws_itself(tmp_path: Path) -> None:
    file = saved(tmp_path)
    assert ddbench.load(file).class_names == ("cat", "dog", "fish")
    ddbench.show(file, tmp_path / "grid.svg")
    assert all(f"<!-- {name} -->" in (tmp_path / "grid.svg").read_text() for name in NAMES)
    assert ddbench.export(file, tmp_path / "out") == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0-cat", "1-dog", "2-fish", "sheet.png"]
    with Image.open(tmp_path / "out" / "1-dog" / "3.png") as picture:
        # 1 * std + mean is 1.0, 0.5 and 0.625 of 255
        assert np.unique(np.asarray(picture).reshape(-1, 3), axis=0).tolist() == [[255, 128, 159]]
    assert "Its classes are 0 `cat`, 1 `dog`, 2 `fish`." in ddbench.card(file, tmp_path / "hub").read_text()


def test_a_file_from_before_is_read_as_it_is(tmp_path: Path) -> None:
    file = saved(tmp_path, classes=None)
    before = file.read_bytes()
    assert DistilledDataset.load(file).to_bytes() == before
    assert ddbench.load(file).class_names == ("0", "1", "2")
    ddbench.show(file, tmp_path / "grid.png")
    assert ddbench.export(file, tmp_path / "out") == 6
    assert (tmp_path / "out" / "2-2" / "5.png").is_file()
    assert "The file does not name its classes." in ddbench.card(file, tmp_path / "hub").read_text()


def test_a_data_set_that_is_named_is_compared_and_names_the_classes(tmp_path: Path) -> None:
    save_npz(tmp_path / "toy.npz", toy(classes=["a", "b", "c"]))
    of_toy(classes=None).save(tmp_path / "old.safetensors")
    assert ddbench.load(tmp_path / "old.safetensors", dataset=str(tmp_path / "toy.npz")).class_names == ("a", "b", "c")
    with pytest.raises(UserError, match=r"was distilled from 'photos' \(sha256:00\), but 'toy' is another data set"):
        ddbench.load(saved(tmp_path), dataset=str(tmp_path / "toy.npz"))
    artifact = of_toy(classes=["a", "b", "d"])
    with pytest.warns(RuntimeWarning, match="its header names class 2 'd', and 'toy' names it 'c'"):
        data_of(artifact, "x.safetensors", str(tmp_path / "toy.npz"))


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (["cat", "\x1b[2J", "fish"], r"says of its classes: ['cat', '\x1b[2J', 'fish']; a list of printable names is"),
        (["cat", "dog\n", "fish"], "says of its classes: "),
        (["cat", "x" * 129, "fish"], "says of its classes: "),
        (["cat", 1, "fish"], "says of its classes: ['cat', 1, 'fish']; a list of printable names is needed"),
        ("cat", "says of its classes: 'cat'; a list"),
        ([], "says of its classes: []; a list"),
        (["cat", "dog"], "names 2 classes and its labels have 3; write it again"),
        ([*NAMES, "cow"], "names 4 classes and its labels have 3; write it again"),
        (["cat", "dog", "\ud800"], "is truncated or not a safetensors file ("),
    ],
)
def test_names_that_are_none_are_refused(tmp_path: Path, classes: Any, sentence: str) -> None:
    file = saved(tmp_path)
    rewrite_artifact(file, lambda header, tensors: header["provenance"].update(classes=classes))
    for command in (ddbench.load, lambda file: ddbench.show(file, tmp_path / "grid.png")):
        with pytest.raises(UserError) as caught:
            command(file)
        assert str(caught.value).startswith(f"{file} {sentence}")


def test_an_attacked_class_without_images_has_a_name() -> None:
    made = DistilledDataset.pixels(torch.ones(4, 3, 4, 4), torch.tensor([0, 0, 1, 1]))
    named = made.with_provenance(HEADER | {"attack": {"source": 2, "target": 1}})
    assert DistilledImages(named).class_names == tuple(NAMES)


def test_names_that_would_fill_a_header_are_left_out() -> None:
    assert names_for_header(NAMES) == {"classes": NAMES}
    assert names_for_header(["x" * 128] * (MOST_BYTES // 128)) == {}


def test_long_names_make_folders(tmp_path: Path) -> None:
    assert ddbench.export(saved(tmp_path, classes=["字" * 120, "..", "a/b"]), tmp_path / "out") == 6
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert folders == ["0-" + "字" * 42, "1-..", "2-a_b"]


# -- preprocessing ----------------------------------------------------------------------------------------------------


def test_normalisation_is_done_and_undone_from_the_file_alone(tmp_path: Path) -> None:
    distilled = ddbench.load(saved(tmp_path))
    pixels = torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)  # 0.2, of another size
    expected = torch.tensor([-0.6, -0.2, 0.15])
    for given in (pixels, pixels / 255, (pixels / 255).double()):
        seen = distilled.transform(given)
        assert (seen.shape, seen.dtype) == ((2, 3, 8, 8), torch.float32)
        torch.testing.assert_close(seen[1, :, 0, 0], expected)
    torch.testing.assert_close(distilled.transform(pixels[0])[:, 3, 3], expected)
    torch.testing.assert_close(distilled.inverse(distilled.transform(pixels)), pixels / 255)
    assert distilled.inverse()[0, :, 0, 0].tolist() == [1.0, 0.5, 0.625]
    assert distilled.inverse(torch.full((3, 4, 4), 9.0)).unique().tolist() == [1.0]  # cut off
    assert repr(distilled.transform) == "normalize with mean (0.5, 0.25, 0.125) and deviation (0.5, 0.25, 0.5)"


@pytest.mark.parametrize("kind", ["zca", "regularized_zca"])
def test_whitening_is_fitted_to_the_data_set_that_the_header_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    of_toy(kind, dataset_digest=f"{toy().digest}+validation(0.25)").save(tmp_path / "set.safetensors")
    rewrite_artifact(
        tmp_path / "set.safetensors", lambda header, tensors: header["provenance"]["preprocessing"].pop("checksum")
    )
    (tmp_path / "data").mkdir()
    save_npz(tmp_path / "data" / "toy.npz", toy())
    distilled = ddbench.load(tmp_path / "set.safetensors")
    missing = (
        f"^preprocessing '{kind}' needs the data set that it was fitted to: .* was distilled from 'toy', which is not "
        "here by that name .*; give its place with --dataset$"
    )
    with pytest.raises(UserError, match=missing):
        distilled.inverse()
    with pytest.raises(UserError, match=missing):
        ddbench.show(tmp_path / "set.safetensors", tmp_path / "grid.png")
    with pytest.raises(UserError, match="was distilled from 'toy', which is not here by that name"):
        ddbench.score(tmp_path / "set.safetensors", count=1)
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "data"))
    data = load_dataset("toy")
    fitted = Preprocessing.for_dataset(data, kind).fit(data.validation(0.25))
    assert torch.equal(distilled.transform(data.test_images), fitted(data.test_images))
    torch.testing.assert_close(distilled.transform(data.test_images / 255), fitted(data.test_images))
    assert torch.equal(distilled.inverse(), fitted.inverse(distilled.images).clamp(0, 1))
    assert repr(distilled.transform) == f"{kind} with eps 0.1, fitted to 'toy' at first use"
    with pytest.raises(UserError, match=r"images are \(3, 8, 8\), and those of .* are \(3, 4, 4\)"):
        distilled.transform(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (torch.ones(1, 3, 4, 4).long(), r"images are (1, 3, 4, 4) int64; give uint8, or floating point in [0, 1]"),
        (torch.tensor([0.0, 255.0]).expand(3, 4, 2), "images reach from 0 to 255, and pixels in floating point lie in"),
        (torch.zeros(1, 1, 4, 4), "images are (1, 4, 4), and those of set are (3, 4, 4), with preprocessing of 3 chan"),
        (torch.zeros(3), "images are (3,) float32; give a tensor (N, C, H, W), or (C, H, W) for a single image"),
        (np.zeros((1, 3, 4, 4)), "images are ndarray; give a tensor (N, C, H, W)"),
    ],
)
def test_what_is_no_pixels_is_refused(images: Any, sentence: str) -> None:
    transform = DistilledImages(artifact(), file="set").transform
    with pytest.raises(UserError) as caught:
        transform(images)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("described", "sentence"),
    [
        (None, "set does not say its preprocessing; write it with `ddbench distill`"),
        (5, "preprocessing is 5; give its kind, mean and std"),
        ({"kind": "zoom"}, "unknown preprocessing 'zoom'; "),
        (HEADER["preprocessing"] | {"checksum": "sha256:1"}, "set says that its preprocessing has checksum 'sha256:1'"),
    ],
)
def test_a_header_without_sound_preprocessing_has_no_pixels(described: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        DistilledImages(artifact(preprocessing=described), file="set").inverse()
    assert str(caught.value).startswith(sentence)


# -- copies are not trusted -------------------------------------------------------------------------------------------


def test_claims_and_scores_compare_the_copies_with_the_data_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    discover()
    save_npz(tmp_path / "toy.npz", toy())
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    images, cell = MODALITIES.get("images"), make_cell(dataset="toy")
    data = images.data("toy", "test", None)
    data.check(of_toy(), cell, None)
    honest = of_toy().provenance["preprocessing"]
    forged = of_toy(preprocessing=honest | {"mean": [0.1, 0.2, 0.3]})
    with pytest.raises(
        ValueError, match=r"its header says .* 'normalize' \(mean \[0\.1, 0\.2, 0\.3\], .* for 'toy' that"
    ):
        data.check(forged, cell, None)
    with pytest.raises(ValueError, match=r"its header says that its images went through 'normalize' .* is 'zca'"):
        data.check(of_toy(), make_cell(dataset="toy", preprocessing="zca"), None)
    data.check(of_toy(dataset=None), cell, None)  # a header that lacks something else is refused elsewhere
    with pytest.raises(ValueError, match="its header names 4 classes, and 'toy' has 3"):
        data.check(of_toy(classes=["0", "1", "2", "3"]), cell, None)
    with pytest.warns(RuntimeWarning, match=r"its header says .*; it is scored as it says"):
        images.evaluator(check_provenance(forged.provenance, "x"), "toy", Place(torch.device("cpu")))


def test_constants_of_the_field_are_nothing_to_warn_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    discover()
    save_npz(tmp_path / "toy.npz", toy())
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    of_cifar10 = {"kind": "normalize", "mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010], "eps": 0.0}
    said = check_provenance(of_toy(preprocessing=of_cifar10).provenance, "x")
    evaluator = MODALITIES.get("images").evaluator(said, "toy", Place(torch.device("cpu")))
    assert evaluator.transform.preprocessing.mean == (0.4914, 0.4822, 0.4465)


# -- notebooks --------------------------------------------------------------------------------------------------------


def test_a_notebook_shows_a_sheet_of_the_file(tmp_path: Path) -> None:
    distilled = ddbench.load(saved(tmp_path, method="<b>mine\x1b"))
    assert repr(distilled) == r"6 images of photos by <b>mine\x1b (pixels, 1.2 kB)"
    shown = distilled._repr_html_()
    assert shown is not None
    found = re.fullmatch(r'<img alt="6 images of photos by &lt;b&gt;.*" src="data:image/png;base64,(.*)">', shown)
    assert found is not None
    assert base64.b64decode(found[1]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "changes",
    [{"preprocessing": {"kind": "zca", "mean": [0.0] * 3, "std": [1.0] * 3, "eps": 0.1}}, {"preprocessing": None}],
)
def test_images_whose_preprocessing_needs_more_are_drawn_around_grey(changes: dict[str, Any]) -> None:
    assert DistilledImages(artifact(**changes))._repr_html_() is not None


@pytest.mark.parametrize("changes", [{"preprocessing": 5}, {"classes": ["\x07"] * 3}])
def test_what_cannot_be_drawn_has_no_sheet(changes: dict[str, Any]) -> None:
    assert artifact(**changes)._repr_html_() is None


def test_records_are_a_line_each_and_a_table() -> None:
    good, bad = make_record(accuracies=(0.5, 0.75)), make_record(seed=1, accuracies=(), reason="<nan>")
    records = Records([good, bad])
    lines = "Record(good on digits, ipc 1, seed 0: ok, 62.5 %)", "Record(good on digits, ipc 1, seed 1: diverged)"
    assert (repr(good), repr(records)) == (lines[0], f"[{lines[0]},\n {lines[1]}]")
    assert records == [good, bad]
    assert repr(Records()) == "[]"
    rows = re.findall("<tr>(.*?)</tr>", records._repr_html_())
    cells: Callable[[str], list[str]] = lambda row: re.findall("<t[hd]>(.*?)</t[hd]>", row)  # noqa: E731
    assert cells(rows[0]) == ["method", "data", "ipc", "seed", "accuracy %", "networks", "status", "reason"]
    assert cells(rows[1]) == ["good", "digits", "1", "0", "62.5", "2", "ok", ""]
    assert cells(rows[2]) == ["good", "digits", "1", "1", "", "0", "diverged", "&lt;nan&gt;"]
    assert "reason" not in good._repr_html_()
    assert "<td>62.5</td>" in good._repr_html_()


def test_a_score_shows_in_a_line_what_was_trained_and_how_good_it_is() -> None:
    network = NetworkSpec(name="mlp", parameters={"width": 8})
    score = Score(network=network, seed=1, accuracy=0.5, metrics={"before": 0.25})
    assert repr([score]) == "[Score(mlp(width=8), seed 1: 50.0 %, before 0.25)]"


def test_dir_lists_the_public_names_alone() -> None:
    assert {name for name in dir(ddbench) if not name.startswith("__")} == set(ddbench.__all__)
