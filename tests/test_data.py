"""Data sets, splits, preprocessing and what a method gets of the training data."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch

import ddbench.data as data
from ddbench.data import Dataset, load_dataset, load_split, make_dataset
from ddbench.data.dataset import stratified_split
from ddbench.data.preprocess import PINNED, measure
from ddbench.errors import UserError
from ddbench.registry import DATASETS
from factories import COUNTS, toy, toy_arrays


def numbered() -> Dataset:
    """Every pixel of image i is i, so that a batch says which images it holds."""
    images = np.broadcast_to(np.arange(21, dtype=np.uint8)[:, None, None, None], (21, 4, 4, 1))
    return toy(1, train_images=images)


# Dataset


def test_a_dataset_is_channels_first_and_typed() -> None:
    dataset = toy(classes=["a", "b", "c"])
    assert dataset.shape == (3, 4, 4)
    assert dataset.train_images.shape == (21, 3, 4, 4)
    assert dataset.train_images.dtype == torch.uint8
    assert dataset.train_labels.dtype == torch.int64
    assert dataset.counts.tolist() == list(COUNTS)
    assert dataset.classes == ("a", "b", "c")
    assert torch.equal(dataset.test_images[2, 1], torch.from_numpy(toy_arrays()["test_images"][2, :, :, 1]))


def test_grey_images_need_no_channel_axis_and_are_copied() -> None:
    source = toy_arrays(1)
    flat = make_dataset("toy", **{**source, "train_images": source["train_images"][..., 0]})
    kept = flat.train_images.clone()
    source["train_images"][:] = 0
    assert flat.shape == (1, 4, 4)
    assert torch.equal(flat.train_images, kept)
    assert flat.classes == ("0", "1", "2")


def test_the_digest_follows_every_pixel_and_label() -> None:
    dataset = toy()
    flipped = toy_arrays()["train_images"]
    flipped[3, 2, 1, 0] ^= 1
    relabelled = toy_arrays()["test_labels"][::-1]
    digests = {dataset.digest, toy(train_images=flipped).digest, toy(test_labels=relabelled).digest}
    assert len(digests) == 3
    assert dataset.digest == toy().digest
    assert dataset.digest.startswith("sha256:")
    assert len(dataset.digest) == len("sha256:") + 64


def test_a_moved_dataset_keeps_content_and_digest() -> None:
    moved = toy().to("cpu")
    assert moved.digest == toy().digest
    assert torch.equal(moved.train_images, toy().train_images)


def test_validation_is_a_stratified_part_of_train() -> None:
    dataset = numbered()
    part = dataset.validation(0.2)
    held, kept = part.test_images[:, 0, 0, 0].tolist(), part.train_images[:, 0, 0, 0].tolist()
    assert sorted(held + kept) == list(range(21))
    assert torch.bincount(part.test_labels).tolist() == [1, 2, 1]
    assert part.counts.tolist() == [4, 7, 6]
    assert torch.equal(part.test_labels, dataset.train_labels[held])
    assert part.name == "toy"
    assert part.digest == dataset.digest + "+validation(0.2)"


def test_validation_depends_on_its_seed_alone() -> None:
    dataset = numbered()
    assert torch.equal(dataset.validation(0.3, 1).test_images, dataset.validation(0.3, 1).test_images)
    assert not torch.equal(dataset.validation(0.3, 1).test_images, dataset.validation(0.3, 2).test_images)
    assert dataset.validation(0.3, 1).digest == dataset.digest + "+validation(0.3, seed=1)"


@pytest.mark.parametrize("split", ["test", "validation(0.25)", "validation(0.25, seed=3)", "validation(1e-05)"])
def test_a_split_is_found_by_its_name(split: str) -> None:
    digits = load_dataset("digits")
    found = load_split("digits", split)
    assert found.digest == digits.digest + ("" if split == "test" else f"+{split}")
    assert torch.equal(found.test_images, digits.split(found.digest).test_images)


@pytest.mark.parametrize("split", ["train", "validation", "validation()", "validation(0.25", "held_out(0.25)"])
def test_no_other_split_is_scored_on(split: str) -> None:
    with pytest.raises(UserError, match=f"^split {re.escape(repr(split))} is neither test nor a validation split$"):
        load_split("digits", split)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_a_useless_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match=f"fraction of {fraction}; choose one above 0 and below 1"):
        toy().validation(fraction)


def test_a_class_of_one_cannot_be_split() -> None:
    with pytest.raises(UserError, match="class 1 has only one image"):
        stratified_split(np.array([0, 0, 1]), 0.5)


def floats(value: float) -> np.ndarray[Any, Any]:
    return np.full((21, 4, 4, 3), value, dtype=np.float32)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_images": floats(0.5)}, "toy: train_images has type float32; save uint8 values in 0..255"),
        ({"train_images": floats(np.nan)}, "toy: train_images holds 1008 NaN values; repair them and save uint8"),
        ({"train_images": np.zeros((21, 4), np.uint8)}, "train_images has shape (21, 4); save (N, H, W, C)"),
        ({"train_images": np.zeros((0, 4, 4, 3), np.uint8)}, "train_images is empty, shape (0, 4, 4, 3)"),
        ({"train_images": np.zeros((21, 3, 8, 8), np.uint8)}, "has 8 channels, shape (21, 3, 8, 8); save (N, H, W, C)"),
        (
            {"train_images": np.zeros((21, 4, 6, 3), np.uint8)},
            "are 4x6 pixels (height x width) with 3 channels, not",
        ),
        ({"test_images": np.zeros((6, 8, 8, 3), np.uint8)}, "test_images are 8x8 pixels"),
        ({"test_images": np.zeros((6, 4, 4, 1), np.uint8)}, "with 1 channel, train_images 4x4"),
        ({"train_labels": np.zeros(21)}, "train_labels has type float64; save integers"),
        ({"train_labels": np.full(21, np.nan)}, "train_labels holds 21 NaN values"),
        ({"train_labels": np.zeros(20, int)}, "train_labels has shape (20,), not (21,); save one label for each image"),
        ({"train_labels": np.zeros((21, 3), int)}, "train_labels has shape (21, 3), not (21,)"),
        ({"train_labels": np.arange(21) - 1}, "train_labels holds -1; number the 20 classes of the train split 0..19"),
        ({"test_labels": np.full(6, 3)}, "test_labels holds 3; number the 3 classes of the train split 0..2"),
        ({"train_labels": np.arange(21) % 2 * 2}, "class 1 ('1') has no image in train_labels; add some"),
        ({"train_labels": np.zeros(21, int), "test_labels": np.zeros(6, int)}, "train_labels hold 1 class; give at"),
        ({"classes": ["a", "b"]}, "train_labels holds 2; number the 2 classes"),
        ({"classes": ["a", "b", "c", "d"]}, "class 3 ('d') has no image"),
    ],
)
def test_a_bad_array_is_refused_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        toy(**changes)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# Names


def test_digits_are_embedded_and_pinned() -> None:
    dataset = load_dataset("digits")
    assert dataset.shape == (1, 8, 8)
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (1438, 359)
    assert dataset.train_images.max() == 255
    assert dataset.digest == "sha256:d1f9b8ed620280c3adc9be1be955ea6c6f5508738015062cc0945b97246d7458"
    assert measure(dataset) == PINNED["digits"]
    assert load_dataset("digits") is dataset


def test_the_split_is_pinned() -> None:
    _, held = stratified_split(np.arange(1000) % 10, 0.2)
    digest = hashlib.sha256(held.astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "083bd1413c3b14e4"


def test_the_known_names() -> None:
    names = {"digits", "mnist", "fashion_mnist", "usps", "svhn", "cifar10", "cifar100"}
    assert names <= set(DATASETS)
    assert all(DATASETS.get(name).__doc__ for name in names)


@pytest.mark.slow  # processes of their own; `.ci/run` carries it out
def test_what_is_slow_to_import_is_not_until_it_is_needed() -> None:
    code = f"""
import sys, types
sys.modules["ddbench"] = types.ModuleType("ddbench")  # the package without what its own __init__ imports
sys.modules["ddbench"].__path__ = [{str(Path(data.__file__).parents[1])!r}]
import ddbench.data
print([name for name in ("torchvision", "sklearn", "kornia") if name in sys.modules])
from ddbench.registry import discover
discover()
print([name for name in ("torchvision", "matplotlib", "pandas", "scipy.special", "triton") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_a_provided_file_comes_before_a_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", **toy_arrays(1))
    np.savez(tmp_path / "imagenette64.npz", **toy_arrays(3))
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    assert load_dataset("mnist").shape == (1, 4, 4)
    assert load_dataset("imagenette64").name == "imagenette64"
    assert {"imagenette64", "mnist", "cifar10"} <= set(data.dataset_names())


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDBENCH_DATA", raising=False)
    with pytest.raises(UserError) as caught:
        load_dataset("cifar11")
    assert str(caught.value) == (
        "unknown dataset 'cifar11'; did you mean 'cifar10'? "
        "(or give the path of an .npz file or of a folder of class folders)"
    )
    with pytest.raises(UserError, match="unknown dataset ''"):
        load_dataset("")


@pytest.mark.parametrize("error", [URLError("no route"), OSError("disk full"), RuntimeError("File not found\nor bad")])
def test_a_failed_download_says_how_to_provide_the_data(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    fake_torchvision(monkeypatch, tmp_path, MNIST=fail)
    with pytest.raises(UserError) as caught:
        load_dataset("mnist")
    message = str(caught.value)
    assert message.startswith("cannot get mnist: ")
    assert "\n" not in message
    assert "connect once and run `ddbench prepare mnist`" in message
    assert f"DDBENCH_CACHE, now {tmp_path}" in message
    assert "put mnist.npz with arrays train_images (N, H, W, C) uint8" in message
    assert message.endswith("into the folder named by DDBENCH_DATA")


def test_torchvision_is_read_from_the_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def cifar10(root: Path, train: bool, download: bool) -> types.SimpleNamespace:
        print("Downloading")
        asked.append((root, train, download))
        part, source = ("train" if train else "test"), toy_arrays()
        labels = source[f"{part}_labels"].tolist()
        return types.SimpleNamespace(data=source[f"{part}_images"], targets=labels, classes=["a", "b", "c"])

    fake_torchvision(monkeypatch, tmp_path, CIFAR10=cifar10)
    dataset = load_dataset("cifar10")
    assert asked == [(tmp_path / "datasets", True, True), (tmp_path / "datasets", False, True)]
    assert (dataset.name, dataset.classes, dataset.digest) == ("cifar10", ("a", "b", "c"), toy().digest)
    assert capsys.readouterr().out == ""


def test_svhn_is_turned_to_the_common_layout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def svhn(root: Path, split: str, download: bool) -> types.SimpleNamespace:
        images = np.random.RandomState(0).randint(0, 256, (20, 3, 4, 4)).astype(np.uint8)
        return types.SimpleNamespace(data=images, labels=np.arange(20) % 10)

    fake_torchvision(monkeypatch, tmp_path, SVHN=svhn)
    expected = svhn(tmp_path, "train", True).data
    assert np.array_equal(load_dataset("svhn").train_images.numpy(), expected)


def fake_torchvision(monkeypatch: pytest.MonkeyPatch, cache: Path, **classes: Any) -> None:
    fake = types.ModuleType("torchvision")
    fake.datasets = types.SimpleNamespace(**classes)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    monkeypatch.setenv("DDBENCH_CACHE", str(cache))
    monkeypatch.delenv("DDBENCH_DATA", raising=False)


def test_the_cache_has_a_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDBENCH_CACHE", raising=False)
    assert data.cache_folder() == Path.home() / ".cache" / "ddbench"
