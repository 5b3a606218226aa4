"""Reading of a data set from a folder with a folder of image files for each class."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddbench.data.dataset import Array, Dataset, make_dataset, stratified_split
from ddbench.data.paths import user_path
from ddbench.errors import UserError
from ddbench.io.archives import RATIO, ROOM

TEST_FRACTION = 0.2
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""image formats that are read; Pillow knows others, one of which is a program"""
WIDE_MODES = ("I", "F")  # also I;16 and its variants: more than 8 bits a pixel, which conversion to RGB would clip

Labelled = list[tuple[Path, int]]


def load_folder(path: Path | str) -> Dataset:
    """Read a data set from image files in class folders; its name is the folder's.

    Either `train/` and `test/` hold the same class folders, or the class folders lie directly in `path` and a fixed
    stratified fifth becomes the test split. Every visible file is an 8-bit image and all have one size; they stay
    grey if all are, otherwise all become RGB. Classes and files are in the order of their names.

    Raises:
        UserError: one sentence naming the folder or file and the fix.
    """
    root = user_path(path)
    if not os.path.isdir(root):
        raise UserError(f"no folder at {root}; give a folder of class folders")
    halves = [half for half in ("train", "test") if (root / half).is_dir()]
    if len(halves) == 1:
        raise UserError(f"{root} has {halves[0]}/ alone; give both train/ and test/, or class folders without either")
    if halves:
        return _from_halves(root)
    classes = _class_names(root)
    images, labels = _load(_listing(root, classes))
    train, test = _split(root, labels)
    return _dataset(root, images[train], labels[train], images[test], labels[test], classes)


def _split(root: Path, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        return stratified_split(labels, TEST_FRACTION)
    except UserError as error:
        raise UserError(f"{root}: {error}") from error


def _from_halves(root: Path) -> Dataset:
    classes = _class_names(root / "train")
    other = _class_names(root / "test")
    if classes != other:
        odd = sorted(set(classes) ^ set(other))[0]
        raise UserError(f"{root}: class folder {odd!r} is in one of train/ and test/ only; give both the same folders")
    train, test = _listing(root / "train", classes), _listing(root / "test", classes)
    images, labels = _load(train + test)
    cut = len(train)
    return _dataset(root, images[:cut], labels[:cut], images[cut:], labels[cut:], classes)


def _dataset(root: Path, *arrays_and_classes: *tuple[Array, Array, Array, Array, list[str]]) -> Dataset:
    return make_dataset(root.resolve().name, *arrays_and_classes, source=str(root))


def _class_names(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"{folder} holds no class folders; put the images of each class into a folder of its name")
    return names


def _listing(folder: Path, classes: list[str]) -> Labelled:
    return [(file, label) for label, name in enumerate(classes) for file in _files(folder / name)]


def _files(folder: Path) -> list[Path]:
    files = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if not files:
        raise UserError(f"class folder {folder} is empty; add images or remove it")
    for entry in files:
        if entry.is_dir():
            raise UserError(f"{entry} is a folder inside a class folder; put image files there, not folders")
        if not entry.is_file():
            raise UserError(f"{entry} is no file; remove it")
    return files


def _load(listing: Labelled) -> tuple[Array, NDArray[np.int64]]:
    size = _checked_size(listing)
    pictures = [_picture(file, size, listing[0][0]) for file, _ in listing]
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    images = np.stack([np.asarray(picture.convert(mode)) for picture in pictures])  # (N, H, W) or (N, H, W, 3)
    return images, np.array([label for _, label in listing], dtype=np.int64)


def _checked_size(listing: Labelled) -> tuple[int, int]:
    """Return width and height of the first picture, which all must have; refuse what their files can hardly hold."""
    first, _ = listing[0]
    with _opened(first) as opened:
        width, height = opened.size
    unpacked, packed = 3 * width * height * len(listing), sum(file.stat().st_size for file, _ in listing)
    if unpacked > max(ROOM, RATIO * packed):
        raise UserError(
            f"{len(listing)} images of {width}x{height} pixels, as {first} says, are more than {RATIO} times the size "
            "of their files; resize them"
        )
    return width, height


def _picture(file: Path, size: tuple[int, int], first: Path) -> Image.Image:
    with _opened(file) as opened:
        if opened.size != size:
            raise UserError(
                f"{file} is {_size(opened.size)} pixels, {first} is {_size(size)}; resize all images to one size"
            )
        opened.load()
        if opened.mode.startswith(WIDE_MODES):
            raise UserError(f"{file} has pixels of mode {opened.mode}; save it with 8 bits a channel, grey or RGB")
        return opened.copy() if opened.mode == "L" else opened.convert("RGB")


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Open an image and read its header; pixels are unpacked when it is loaded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as opened:
                yield opened
    except UserError:
        raise
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise UserError(f"{file} cannot be read as an image; save it again or remove it") from error


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
