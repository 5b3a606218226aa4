"""Data as people have it: pictures with more than pixels, the layouts of well-known sets, tables of labels, options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ddbench.data import Dataset, load_dataset, load_folder
from ddbench.errors import UserError

SIDE = 16
Pixels = NDArray[np.uint8]
Make = Callable[[Pixels], Image.Image]


def mark(label: int) -> Pixels:
    """A bright bar on black, long for class 1."""
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[2 : 6 + 8 * label, 4:12] = 255
    return pixels


def save(path: Path, picture: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)


def two_classes(root: Path, make: Make, count: int = 5, ending: str = "png", **options: Any) -> Path:
    for label, name in enumerate("ab"):
        for index in range(count):
            save(root / name / f"{index}.{ending}", make(mark(label)), **options)
    return root


def refusal(name: str | Path) -> str:
    with pytest.raises(UserError) as refused:
        load_dataset(str(name))
    message = str(refused.value)
    assert "\n" not in message
    return message


def told(data: Dataset) -> torch.Tensor:
    """Which training images have a bright tenth row, as those of class 1 alone do."""
    return data.train_images[:, :, 10, 8].float().mean(1) > 128


# -- pictures ---------------------------------------------------------------------------------------------------------


def alpha_of(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.dstack([np.zeros((SIDE, SIDE, 3), np.uint8), 255 - pixels]), "RGBA")


def grey_alpha_of(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.dstack([np.zeros((SIDE, SIDE), np.uint8), 255 - pixels]), "LA")


def palette_of(pixels: Pixels) -> Image.Image:
    picture = Image.fromarray((pixels == 0).astype(np.uint8), "P")
    picture.putpalette([0] * 768)
    return picture


@pytest.mark.parametrize(
    ("make", "options", "channels"),
    [
        (alpha_of, {}, 3),
        (grey_alpha_of, {}, 1),
        (palette_of, {"transparency": 0}, 1),
        (lambda pixels: Image.fromarray(pixels).convert("1"), {}, 1),
        (lambda pixels: Image.fromarray(pixels).convert("P"), {}, 1),
        (lambda pixels: Image.fromarray(pixels).convert("RGB"), {}, 3),
    ],
    ids=["alpha", "grey with alpha", "transparent palette", "one bit", "grey palette", "rgb"],
)
def test_what_is_seen_is_read(make: Make, options: dict[str, Any], channels: int, tmp_path: Path) -> None:
    data = load_folder(two_classes(tmp_path, make, **options))
    assert data.shape == (channels, SIDE, SIDE)
    assert torch.equal(told(data), data.train_labels == 1)


def test_transparency_is_put_on_white_and_said(tmp_path: Path) -> None:
    data = load_folder(two_classes(tmp_path, alpha_of))
    assert set(data.train_images.unique().tolist()) == {0, 255}
    assert data.notes == ("10 pictures: transparent pixels put on white",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright_whatever_the_camera_did(orientation: int, tmp_path: Path) -> None:
    stored = {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(np.transpose(p), 2),
        8: lambda p: np.rot90(p, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    corner = mark(0)
    corner[0, 0] = 77

    def sideways(pixels: Pixels) -> Image.Image:
        pixels = pixels.copy()
        pixels[0, 0] = 77
        return Image.fromarray(np.ascontiguousarray(stored(pixels)))

    data = load_folder(two_classes(tmp_path, sideways, exif=exif))
    (first,) = data.train_images[data.train_labels == 0][:1]
    assert np.array_equal(first[0].numpy(), corner)
    assert data.notes == (() if orientation == 1 else ("10 pictures: turned as EXIF says",))


@pytest.mark.parametrize("ending", ["gif", "tif"])
def test_the_first_frame_is_taken_and_that_is_said(ending: str, tmp_path: Path) -> None:
    for label, name in enumerate("ab"):
        for index in range(5):
            first, second = Image.fromarray(mark(label)), Image.fromarray(255 - mark(label))
            save(tmp_path / name / f"{index}.{ending}", first, save_all=True, append_images=[second])
    data = load_folder(tmp_path)
    assert torch.equal(told(data), data.train_labels == 1)
    assert data.notes == ("10 pictures: the first frame taken",)


def test_pictures_of_many_sizes_are_resized_and_cropped_where_a_size_is_given(tmp_path: Path) -> None:
    for label, name in enumerate("ab"):
        for index in range(5):
            picture = Image.fromarray(mark(label)).resize((40 + index, 40), Image.Resampling.NEAREST)
            save(tmp_path / name / f"{index}.png", picture)
    assert refusal(tmp_path).endswith(f"or have them resized and cropped: '{tmp_path}[size=64]'")
    data = load_dataset(f"{tmp_path}[size={SIDE}]")
    assert data.shape == (1, SIDE, SIDE)
    assert data.name == f"{tmp_path.name}[size={SIDE}]"
    assert torch.equal(told(data), data.train_labels == 1)
    assert data.notes == (f"10 pictures: resized and cropped to {SIDE}x{SIDE}",)
    assert load_dataset(f"{tmp_path}[size=32]").digest != data.digest


# -- layouts ----------------------------------------------------------------------------------------------------------


def plain(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("train", "val"), ("Training", "Testing"), ("train", "validation")]
)
def test_halves_go_by_many_names(train: str, test: str, tmp_path: Path) -> None:
    two_classes(tmp_path / train, plain, 3)
    two_classes(tmp_path / test, plain, 2)
    data = load_folder(tmp_path)
    assert (len(data.train_labels), data.test_labels.tolist()) == (6, [0, 0, 1, 1])


def test_a_test_folder_without_labels_leaves_the_validation_images_to_test_on(tmp_path: Path) -> None:
    two_classes(tmp_path / "train", plain, 3)
    two_classes(tmp_path / "val", plain, 2)
    save(tmp_path / "test" / "images" / "0.png", plain(mark(0)))
    assert len(load_folder(tmp_path).test_labels) == 4


def test_with_test_and_validation_images_the_test_images_count(tmp_path: Path) -> None:
    for name, count in {"train": 3, "val": 2, "test": 1}.items():
        two_classes(tmp_path / name, plain, count)
    assert len(load_folder(tmp_path).test_labels) == 2


def test_tiny_imagenet_as_it_is_unpacked(tmp_path: Path) -> None:
    lines = []
    for label, name in enumerate(("n01443537", "n01629819")):
        for index in range(3):
            save(tmp_path / "train" / name / "images" / f"{name}_{index}.JPEG", plain(mark(label)))
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("0\t0\t0\t0\n")
        save(tmp_path / "val" / "images" / f"val_{label}.JPEG", plain(mark(label)))
        lines.append(f"val_{label}.JPEG\t{name}\t0\t0\t62\t62")
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(reversed(lines)) + "\n")
    save(tmp_path / "test" / "images" / "test_0.JPEG", plain(mark(0)))
    data = load_folder(tmp_path)
    assert data.classes == ("n01443537", "n01629819")
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 0, 0, 1, 1, 1], [1, 0])
    assert (data.test_images[:, 0, 10, 8] > 128).tolist() == [True, False]


def test_a_wrong_annotation_is_named(tmp_path: Path) -> None:
    two_classes(tmp_path / "train", plain, 3)
    (tmp_path / "val" / "images").mkdir(parents=True)
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn1\t0\t0\t62\t62\n")
    assert "val_annotations.txt names 'val_0.JPEG' of class 'n1', which is not there; correct it" in refusal(tmp_path)


@pytest.mark.parametrize(
    "head", ["file,label", "Filename,Class", "image,category"], ids=lambda head: head.partition(",")[0]
)
def test_a_table_labels_files(head: str, tmp_path: Path) -> None:
    lines = [head]
    for label, name in enumerate(("cat", "dog")):
        for index in range(5):
            save(tmp_path / "pictures" / f"{name}{index}.png", plain(mark(label)))
            lines.append(f"pictures/{name}{index}.png,{name}")
    (tmp_path / "labels.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    data = load_dataset(str(tmp_path))
    assert data.classes == ("cat", "dog")
    assert torch.equal(told(data), data.train_labels == 1)
    assert load_dataset(str(tmp_path / "labels.csv")).digest == data.digest
    assert load_dataset(f"{tmp_path / 'labels.csv'}[size=8]").shape == (1, 8, 8)


def test_a_table_may_say_what_is_tested_on(tmp_path: Path) -> None:
    lines = ["file,label,split"]
    for index, (label, split) in enumerate([(0, "train"), (1, "train"), (0, "val"), (1, "test")]):
        save(tmp_path / f"{index}.png", plain(mark(label)))
        lines.append(f"{index}.png,{label},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    data = load_dataset(str(tmp_path))
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 1], [1])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "labels.csv has columns a, b; give it a head with `file` and `label`"),
        ("file,label\n", "labels.csv has no lines below its head; list a file and a label on each"),
        ("file,label\nx.png,0\n", "labels.csv names 'x.png', and there is no such file beside it; correct the path"),
        ("file,label\nx.png\n", "labels.csv has a line with fewer fields than its head; complete it"),
        ("file,label,split\nx.png,0,mine\n", "split 'mine' is none of train, test and val; change it"),
    ],
)
def test_a_bad_table_is_named(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    assert sentence in refusal(tmp_path)


def test_what_systems_leave_is_no_picture_and_no_class(tmp_path: Path) -> None:
    clean = load_folder(two_classes(tmp_path, plain)).digest
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / "a" / name).write_bytes(b"x")
    (tmp_path / "__MACOSX").mkdir()
    assert load_folder(tmp_path).digest == clean


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for label in range(12):
        for index in range(2):
            save(tmp_path / str(label) / f"{index}.png", plain(np.full((4, 4), label, np.uint8)))
    data = load_folder(tmp_path)
    assert data.classes == tuple(map(str, range(12)))
    assert torch.equal(data.train_images[:, 0, 0, 0].long(), data.train_labels)


# -- arrays -----------------------------------------------------------------------------------------------------------


def test_labels_of_medmnist_are_a_column(tmp_path: Path) -> None:
    random, arrays = np.random.RandomState(0), {}
    for half, count in (("train", 18), ("val", 6), ("test", 6)):
        arrays[f"{half}_images"] = random.randint(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        arrays[f"{half}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    np.savez_compressed(tmp_path / "pathmnist.npz", **arrays)
    data = load_dataset(str(tmp_path / "pathmnist.npz"))
    assert data.train_labels.tolist() == list(np.arange(18) % 3)
    arrays["train_labels"] = np.zeros((18, 14), np.uint8)
    np.savez_compressed(tmp_path / "chestmnist.npz", **arrays)
    assert "train_labels has shape (18, 14), not (18,); save one label for each image" in refusal(
        tmp_path / "chestmnist.npz"
    )


# -- options ----------------------------------------------------------------------------------------------------------


def test_some_classes_of_a_data_set() -> None:
    whole, some = load_dataset("digits"), load_dataset("digits[3,7-8]")
    assert (some.name, some.classes) == ("digits[3,7,8]", ("3", "7", "8"))
    kept = torch.isin(whole.train_labels, torch.tensor([3, 7, 8]))
    assert torch.equal(some.train_images, whole.train_images[kept])
    assert torch.equal(some.train_labels, torch.searchsorted(torch.tensor([3, 7, 8]), whole.train_labels[kept]))
    assert len(some.test_labels) == int(torch.isin(whole.test_labels, torch.tensor([3, 7, 8])).sum())
    assert some.digest != whole.digest


def test_a_data_set_of_another_size() -> None:
    data = load_dataset("digits[0-1,size=16]")
    assert (data.name, data.shape, len(data.classes)) == ("digits[0,1,size=16]", (1, 16, 16), 2)
    assert load_dataset(data.name).digest == data.digest


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("digits[0-12]", "digits has no class 10; its classes are 0 to 9"),
        ("digits[4]", "one class of digits is nothing to tell apart; name at least two"),
        ("digits[1,1]", "'digits[1,1]' names a class twice; name each once"),
        ("digits[side=3]", "has option 'side=3'; give a size up to 1024, as in [size=64], or classes, as in [0-4]"),
        ("digits[size=2]", "has option 'size=2'; give a size"),
        ("nothing[0-1]", "unknown dataset 'nothing'"),
    ],
)
def test_bad_options_are_refused(name: str, sentence: str) -> None:
    assert sentence in refusal(name)
