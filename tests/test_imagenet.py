"""Tiny ImageNet and ImageNette, from archives and folders of a few pictures in place of theirs."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddbench.data import Preprocessing, load_dataset, load_folder
from ddbench.data.builtin import SIZES
from ddbench.data.npz import save_npz
from ddbench.errors import UserError
from factories import toy

CLASSES = ("n02124075", "n01443537")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and data sets that are whole with four training images and two for validation."""
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DDBENCH_DATA", raising=False)
    for name in ("tiny_imagenet", "imagenette"):
        monkeypatch.setitem(SIZES, name, SIZES[name]._replace(train=4, test=2, classes=2))
    (tmp_path / "cache" / "datasets").mkdir(parents=True)
    return tmp_path / "cache" / "datasets"


def photograph(path: Path, value: int, size: tuple[int, int] = (64, 64), grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if grey else "RGB", size, value if grey else (value, value, 255 - value)).save(path, quality=100)


# -- Tiny ImageNet ----------------------------------------------------------------------------------------------------


def tiny_archive(folder: Path) -> Path:
    """An archive as Stanford's: two classes, one grey picture, and test images that nobody labels."""
    root = folder / "tiny-imagenet-200"
    for label, name in enumerate(CLASSES):
        for index in range(2):
            photograph(
                root / "train" / name / "images" / f"{name}_{index}.JPEG", 60 * label + 10 * index, grey=not index
            )
        (root / "train" / name / f"{name}_boxes.txt").write_text("")
        photograph(root / "val" / "images" / f"val_{label}.JPEG", 200 + label)
    rows = [f"val_{label}.JPEG\t{name}\t0\t32\t44\t62\n" for label, name in enumerate(CLASSES)]
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    photograph(root / "test" / "images" / "test_0.JPEG", 7)
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return folder / "made.zip"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was asked of torchvision's download, which gives the small archive."""
    calls, archive = list[dict[str, Any]](), tiny_archive(tmp_path)

    def download(url: str, root: Path, **options: Any) -> None:
        calls.append({"url": url, **options})
        print("downloaded")  # as torchvision does
        shutil.copy(archive, root / Path(url).name)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    return calls


def test_tiny_imagenet_is_downloaded_checked_and_kept_as_arrays(
    cache: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_dataset("tiny_imagenet")
    assert (data.name, data.shape, len(data.train_labels)) == ("tiny_imagenet", (3, 64, 64), 4)
    assert data.classes == tuple(sorted(CLASSES))
    assert data.train_labels.tolist() == [0, 0, 1, 1]
    assert sorted(data.test_labels.tolist()) == [0, 1]
    red = data.test_images[:, 0, 0, 0].int()  # 200 of the first of `CLASSES`, which is sorted behind the other
    assert (red[data.test_labels == 1] - 200).abs() <= 2
    assert (red[data.test_labels == 0] - 201).abs() <= 2
    assert capsys.readouterr().out == ""  # which belongs to --json
    md5 = "90528d7ca1a48142e341f4ef8d21d0de"
    assert asked == [{"url": "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "md5": md5}]
    load_dataset.__globals__["_load_once"].cache_clear()
    assert load_dataset("Tiny-ImageNet").digest == data.digest
    assert len(asked) == 1
    assert sorted(path.name for path in cache.iterdir()) == ["tiny-imagenet-200.zip", "tiny_imagenet-64.npz"]


def test_what_was_kept_and_is_damaged_is_read_again(cache: Path, asked: list[dict[str, Any]]) -> None:
    (cache / "tiny_imagenet-64.npz").write_bytes(b"half of it")
    with pytest.warns(
        RuntimeWarning, match=r"tiny_imagenet-64\.npz is damaged; it is kept as tiny_imagenet-64\.npz\.d"
    ):
        assert len(load_dataset("tiny_imagenet").train_labels) == 4
    assert len(asked) == 1


@pytest.mark.usefixtures("asked")
def test_an_archive_with_other_images_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny_imagenet", SIZES["tiny_imagenet"]._replace(train=5))
    with pytest.raises(
        UserError, match=r"cannot get tiny_imagenet: its training .* are \(4, 2, 2, \(3, 64, 64\)\), and n"
    ):
        load_dataset("tiny_imagenet")
    assert not (cache / "tiny_imagenet-64.npz").exists()


@pytest.mark.usefixtures("cache")
def test_without_a_network_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*given: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", unreachable)
    monkeypatch.setattr("torchvision.datasets.Imagenette", unreachable)
    for name in ("tiny_imagenet", "imagenette"):
        with pytest.raises(UserError, match=rf"cannot get {name}: no network; connect once and run `ddbench prepare"):
            load_dataset(name)


# -- ImageNette -------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Releases that torchvision was asked for; each is made of six wide photographs."""
    releases = list[str]()

    def imagenette(root: Path, size: str, download: bool) -> None:
        assert (root, download) == (cache, True)
        releases.append(size)
        name = "imagenette2" + {"full": "", "320px": "-320", "160px": "-160"}[size]
        for label, wnid in enumerate(CLASSES):
            for half, count in (("train", 2), ("val", 1)):
                for index in range(count):
                    photograph(cache / name / half / wnid / f"{wnid}_{index}.JPEG", 90 * label + index, (96, 80))
        (cache / name / "noisy_imagenette.csv").write_text("path\n")

    monkeypatch.setattr("torchvision.datasets.Imagenette", imagenette)
    return releases


@pytest.mark.usefixtures("cache")
def test_imagenette_is_cut_to_squares_of_the_wanted_side(made: list[str]) -> None:
    data = load_dataset("imagenette")
    assert (data.name, data.shape, made) == ("imagenette", (3, 64, 64), ["160px"])
    for side, release in ((32, "160px"), (200, "320px"), (400, "full")):
        larger = load_dataset(f"imagenette[size={side}]")
        assert (larger.name, larger.shape) == (f"imagenette[size={side}]", (3, side, side))
        assert made[-1] == release
    assert made == ["160px", "320px", "full"]
    assert load_dataset("imagenette[0-1]").digest == data.digest
    assert data.classes == tuple(sorted(CLASSES))
    assert Preprocessing.for_dataset(data).std == (0.229, 0.224, 0.225)


def test_a_side_of_imagenette_is_that_of_its_folder(cache: Path, made: list[str]) -> None:
    data = load_dataset("imagenette[size=16]")
    folder = load_folder(cache / "imagenette2-160", 16)
    assert torch.equal(data.train_images, folder.train_images)
    assert torch.equal(data.test_labels, folder.test_labels)
    assert made == ["160px"]


def test_half_a_download_is_set_aside(cache: Path, made: list[str]) -> None:
    photograph(cache / "imagenette2-160" / "train" / CLASSES[0] / "0.JPEG", 1)
    with pytest.warns(
        RuntimeWarning, match="imagenette2-160 is damaged; it is kept as imagenette2-160.damaged, and dow"
    ):
        assert len(load_dataset("imagenette").train_labels) == 4
    assert made == ["160px"]


@pytest.mark.parametrize("name", ["imagenette", "imagenette64", "tiny_imagenet"])
def test_a_file_that_is_provided_is_taken(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    save_npz(tmp_path / f"{name}.npz", toy())
    asked = "imagenette" if name == "imagenette64" else name
    data = load_dataset(asked)
    assert (data.name, data.digest) == (name, toy().digest)
    assert load_dataset(f"{asked}[size=8]").name == f"{name}[size=8]"
    assert load_dataset(f"{asked}[size=8]").shape == (3, 8, 8)
    assert list(cache.iterdir()) == []


def test_sizes_are_those_that_are_published() -> None:
    assert SIZES["tiny_imagenet"][:4] == (200 * 500, 200 * 50, 200, (3, 64, 64))
    assert SIZES["imagenette"][:4] == (9469, 3925, 10, (3, 64, 64))
    assert np.prod(SIZES["tiny_imagenet"].shape) == 12_288
