"""A user's own data: `.npz` files and folders of class folders."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddbench.data import load_dataset, load_folder, load_npz
from ddbench.errors import UserError


def arrays(**changes: Any) -> dict[str, Any]:
    random = np.random.RandomState(0)
    return {
        "train_images": random.randint(0, 256, (6, 4, 4, 3)).astype(np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2], np.uint8),
        "test_images": random.randint(0, 256, (3, 4, 4, 3)).astype(np.uint8),
        "test_labels": np.arange(3),
        **changes,
    }


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_npz_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays(classes=np.array(["a", "b", "c"]), more=np.zeros(3)))
    dataset = load_dataset(str(path))
    assert dataset.name == "mine"
    assert dataset.shape == (3, 4, 4)
    assert dataset.classes == ("a", "b", "c")
    assert dataset.train_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert torch.equal(dataset.train_images.permute(0, 2, 3, 1), torch.from_numpy(arrays()["train_images"]))


def test_compressed_and_plain_files_are_one_dataset(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    np.savez_compressed(tmp_path / "b.npz", **arrays())
    assert load_npz(tmp_path / "a.npz").digest == load_npz(tmp_path / "b.npz").digest


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_images": np.zeros((6, 4, 4, 3), np.float32)}, "train_images has type float32; save uint8 values in 0"),
        ({"test_images": np.full((3, 4, 4, 3), np.nan)}, "test_images holds 144 NaN values; repair them"),
        ({"train_images": np.zeros((6, 4), np.uint8)}, "train_images has shape (6, 4); save (N, H, W, C)"),
        ({"train_labels": np.arange(5)}, "train_labels has shape (5,), not (6,)"),
        ({"train_labels": np.arange(6.0)}, "train_labels has type float64; save integers"),
        ({"test_labels": np.array([0, 1, 9])}, "test_labels holds 9; number the 3 classes of the train split 0..2"),
        ({"test_labels": np.array([0, 1, -1])}, "test_labels holds -1; number the 3 classes"),
        ({"classes": np.arange(3)}, "classes has type int64 and shape (3,); save a one-dimensional array of strings"),
        ({"classes": np.array([["a", "b", "c"]])}, "and shape (1, 3); save a one-dimensional array of strings"),
        ({"train_labels": np.array([0, "a", None] * 2)}, "train_labels holds pickled Python objects, which are never"),
        ({"classes": np.array(["a", None, "c"])}, "classes holds pickled Python objects"),
    ],
)
def test_a_bad_array_names_file_and_array(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **arrays(**changes))
    message = refusal(tmp_path / "mine.npz")
    assert message.startswith(f"{tmp_path / 'mine.npz'}: ")
    assert sentence in message


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", train_images=arrays()["train_images"], train_labels=arrays()["train_labels"])
    assert refusal(tmp_path / "mine.npz") == (
        f"{tmp_path / 'mine.npz'} has no array test_images, test_labels (it holds train_images, train_labels); "
        "save train_images, train_labels, test_images, test_labels"
    )


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.npz").startswith(f"no file at {tmp_path / 'none.npz'}; give the path of an .npz")


@pytest.mark.parametrize("content", [b"", b"not a zip at all", b"PK\x03\x04 but no more"])
def test_what_is_no_npz_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    assert refusal(tmp_path / "mine.npz").endswith("is truncated or no zip archive; write it again with numpy.savez")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:700])
    assert "is truncated or no zip archive" in refusal(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_array_is_named(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    save(path, **arrays())
    content = bytearray(path.read_bytes())
    start = content.index(b"train_images.npy") + 200
    content[start : start + 20] = bytes(20)
    path.write_bytes(bytes(content))
    assert refusal(path) == f"{path}: train_images is damaged; write the file again with numpy.savez"


def test_a_lone_array_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "mine.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "is a single array and no archive" in refusal(tmp_path / "mine.npz")


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("train_images.npy", b"text")
    assert "train_images is no array" in refusal(tmp_path / "mine.npz")


# Folders


def picture(path: Path, value: int, size: tuple[int, int] = (4, 4), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = {"RGB": (value, 0, 0), "RGBA": (value, 0, 0, 255)}.get(mode, value)
    Image.new(mode, size, colour).save(path)


def class_folders(root: Path, count: int = 5, **options: Any) -> Path:
    for label, name in enumerate(("cat", "dog")):
        for index in range(count):
            picture(root / name / f"{index}.png", 100 * label + index, **options)
    return root


def values(images: torch.Tensor) -> list[int]:
    return [int(value) for value in images[:, 0, 0, 0]]


def test_train_and_test_folders(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", 3)
    class_folders(tmp_path / "test", 2)
    (tmp_path / "train" / "cat" / ".hidden").write_text("ignored")
    dataset = load_dataset(str(tmp_path))
    assert dataset.name == tmp_path.name
    assert dataset.shape == (1, 4, 4)
    assert dataset.classes == ("cat", "dog")
    assert values(dataset.train_images) == [0, 1, 2, 100, 101, 102]
    assert values(dataset.test_images) == [0, 1, 100, 101]
    assert dataset.test_labels.tolist() == [0, 0, 1, 1]


def test_class_folders_are_split_by_class(tmp_path: Path) -> None:
    dataset = load_folder(class_folders(tmp_path, 10))
    assert dataset.counts.tolist() == [8, 8]
    assert torch.bincount(dataset.test_labels).tolist() == [2, 2]
    together = values(dataset.train_images) + values(dataset.test_images)
    assert sorted(together) == [*range(10), *range(100, 110)]
    assert load_folder(tmp_path).digest == dataset.digest


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_one_picture_that_is_not_grey_makes_all_rgb(mode: str, tmp_path: Path) -> None:
    class_folders(tmp_path, 4)
    picture(tmp_path / "cat" / "9.png", 50, mode=mode)
    assert load_folder(tmp_path).shape == (3, 4, 4)


def test_the_odd_size_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path)
    picture(tmp_path / "dog" / "2.png", 0, size=(6, 5))
    assert refusal(tmp_path) == (
        f"{tmp_path / 'dog' / '2.png'} is 6x5 pixels, {tmp_path / 'cat' / '0.png'} is 4x4; "
        f"resize all images to one size, or have them resized and cropped: '{tmp_path}[size=64]'"
    )


def test_pictures_that_are_not_square_are_refused(tmp_path: Path) -> None:
    message = refusal(class_folders(tmp_path, size=(6, 4)))
    assert message.startswith(f"{tmp_path}: train_images are 4x6 pixels (height x width) with 1 channel, not square")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("hello")
    assert refusal(tmp_path) == (
        f"{tmp_path / 'cat' / 'notes.txt'} cannot be read as an image; save it again or remove it"
    )


def test_a_truncated_picture_is_named(tmp_path: Path) -> None:
    path = class_folders(tmp_path, size=(64, 64)) / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    assert refusal(tmp_path).startswith(f"{path} cannot be read as an image")


def test_a_picture_of_16_bits_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path)
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "cat" / "wide.png")
    assert "wide.png has pixels of mode I;16; save it with 8 bits a channel, grey or RGB" in refusal(tmp_path)


def test_one_half_alone_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    assert refusal(tmp_path) == (
        f"{tmp_path} has train/ alone; give both train/ and test/ (or val/), or class folders without either"
    )


def test_halves_with_other_classes_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test")
    picture(tmp_path / "test" / "bird" / "0.png", 0)
    assert "class folder 'bird' is in one of train/ and test/ only; give both the same folders" in refusal(tmp_path)


def test_empty_folders_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path} holds no class folders; put the images of each class into")
    class_folders(tmp_path)
    (tmp_path / "owl").mkdir()
    assert refusal(tmp_path) == f"class folder {tmp_path / 'owl'} is empty; add images or remove it"


def test_a_folder_too_deep_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "black" / "0.png", 0)
    assert "black is a folder inside a class folder; put image files there" in refusal(tmp_path)


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    message = refusal(class_folders(tmp_path, 1))
    assert message == f"{tmp_path}: class 0 has only one image, which cannot be split; give every class at least two"


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder at .*none; give a folder of class folders"):
        load_folder(tmp_path / "none")


@pytest.mark.parametrize("name", ["a\x1b[2J", "-x", "=1", "x" * 200])
def test_names_that_paths_and_tables_cannot_hold_are_refused(name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / f"{name}.npz", **arrays())
    message = refusal(tmp_path / f"{name}.npz")
    assert "cannot name a data set; rename it" in message
    assert message.isprintable()


def test_class_names_are_printable(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **arrays(classes=np.array(["a", "b\n", "c"])))
    assert refusal(tmp_path / "mine.npz").endswith(
        "mine.npz: 'b\\n' cannot name a class; rename it, with at most 128 letters, digits and signs"
    )


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody/x.npz", "~nobody", "a\0b", "\ud800.npz", "", ".."])
def test_names_that_are_no_paths_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    with pytest.raises(UserError) as caught:
        load_dataset(name)
    assert str(caught.value).isprintable()


def test_a_picture_is_no_program(tmp_path: Path) -> None:
    class_folders(tmp_path)
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
    (tmp_path / "cat" / "1.png").write_bytes(program)
    assert refusal(tmp_path).startswith(f"{tmp_path / 'cat' / '1.png'} cannot be read as an image")


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    class_folders(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe")
    assert refusal(tmp_path) == f"{tmp_path / 'cat' / 'pipe'} is no file; remove it"
