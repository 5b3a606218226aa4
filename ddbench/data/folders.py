"""A user's folder of class folders of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddbench.data.dataset import Array, Dataset, make_dataset
from ddbench.data.split import stratified_split
from ddbench.errors import UserError

TEST_FRACTION = 0.2
WIDE_MODES = ("I", "F")  # and I;16 and its kin: more than 8 bits a pixel, which conversion to RGB would clip

Labelled = list[tuple[Path, int]]


def load_folder(path: Path | str) -> Dataset:
    """Read a data set from image files in class folders; its name is the folder's.

    Either `train/` and `test/` hold the same class folders, or the class folders lie directly in `path` and a fixed
    stratified fifth becomes the test split. Every visible file is an 8-bit image and all have one size; they stay
    grey if all are, otherwise all become RGB. Classes and files are in the order of their names.

    Raises:
        UserError: one sentence naming the folder or file and the fix.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
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
    nested = next((entry for entry in files if entry.is_dir()), None)
    if nested is not None:
        raise UserError(f"{nested} is a folder inside a class folder; put image files there, not folders")
    return files


def _load(listing: Labelled) -> tuple[Array, NDArray[np.int64]]:
    pictures = [_picture(file) for file, _ in listing]
    for (file, _), picture in zip(listing, pictures, strict=True):
        if picture.size != pictures[0].size:
            raise UserError(
                f"{file} is {_size(picture)} pixels, {listing[0][0]} is {_size(pictures[0])}; "
                "resize all images to one size"
            )
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    images = np.stack([np.asarray(picture.convert(mode)) for picture in pictures])  # (N, H, W) or (N, H, W, 3)
    return images, np.array([label for _, label in listing], dtype=np.int64)


def _picture(file: Path) -> Image.Image:
    try:
        with Image.open(file) as opened:
            opened.load()
            mode = opened.mode
            picture = opened.copy() if mode == "L" else None if mode.startswith(WIDE_MODES) else opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file} cannot be read as an image; save it again or remove it") from error
    if picture is None:
        raise UserError(f"{file} has pixels of mode {mode}; save it with 8 bits a channel, grey or RGB")
    return picture


def _size(picture: Image.Image) -> str:
    return f"{picture.width}x{picture.height}"
