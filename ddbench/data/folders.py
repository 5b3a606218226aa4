"""Reading of a data set from image files as they lie: class folders, with or without halves, or a table of labels."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddbench.data.dataset import Array, Dataset, make_dataset, stratified_split
from ddbench.data.labels import Labelled, listed_in_table, natural, tiny_imagenet_halves
from ddbench.data.paths import user_path
from ddbench.data.pictures import cropped, read_picture, upright_size
from ddbench.errors import UserError
from ddbench.io.archives import RATIO, ROOM

TEST_FRACTION = 0.2
TRAIN, TEST, VALIDATION = ("train", "training"), ("test", "testing"), ("val", "valid", "validation")
LEFTOVERS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"}
"""what systems leave in folders, beside hidden files"""


def load_folder(path: Path | str, size: int | None = None) -> Dataset:
    """Read a data set from image files; its name is the folder's.

    Class folders lie directly in `path`, and a fixed stratified fifth becomes the test split; or in `train/` and
    `test/`, `train/` and `val/`, `Training/` and `Testing/`; or as Tiny ImageNet has them. Else a table, `labels.csv`
    or the `.csv` file that is named, has columns `file`, `label` and maybe `split`. Classes and files are in the order
    of their names, numbers by value. Pictures are turned upright as EXIF says, transparent pixels are put on white, and
    of several frames the first is taken; they stay grey if all are, otherwise all become RGB.

    Args:
        size: side of the square to which pictures are resized and cropped; None wants all of one size

    Raises:
        UserError: one sentence naming the folder or file and the fix.
    """
    root = user_path(path)
    table = root if root.suffix == ".csv" and root.is_file() else root / "labels.csv"
    if table.is_file():
        return _dataset(table.parent, *listed_in_table(table), size)
    if not os.path.isdir(root):
        raise UserError(f"no folder at {root}; give a folder of class folders")
    found = _halves(root)
    if found is None:
        classes = _class_names(root)
        return _dataset(root, classes, _listing(root, classes), [], size)
    train, test = found
    if (test / "val_annotations.txt").is_file():
        return _dataset(root, *tiny_imagenet_halves(train, test, _class_names(train), _files), size)
    classes = _same_classes(root, train, test)
    return _dataset(root, classes, _listing(train, classes), _listing(test, classes), size)


def _halves(root: Path) -> tuple[Path, Path] | None:
    """Return the folders of training and of test images; None where class folders lie directly in the root."""
    folders = {entry.name.lower(): entry for entry in root.iterdir() if entry.is_dir()}
    train, test, validation = (
        next((folders[name] for name in names if name in folders), None) for names in (TRAIN, TEST, VALIDATION)
    )
    if test is not None and validation is not None and not _has_classes(test):
        test = None  # images whose labels nobody gives away
    second = test or validation
    if train is None and test is None:
        return None
    if train is None or second is None:
        alone = train or second
        assert alone is not None
        raise UserError(
            f"{root} has {alone.name}/ alone; give both train/ and test/ (or val/), or class folders without either"
        )
    return train, second


def _has_classes(folder: Path) -> bool:
    return any(entry.is_dir() and not _is_leftover(entry) and entry.name != "images" for entry in folder.iterdir())


def _same_classes(root: Path, train: Path, test: Path) -> list[str]:
    classes, other = _class_names(train), _class_names(test)
    if classes != other:
        odd = sorted(set(classes) ^ set(other))[0]
        raise UserError(
            f"{root}: class folder {odd!r} is in one of {train.name}/ and {test.name}/ only; give both the same folders"
        )
    return classes


def _dataset(root: Path, classes: list[str], train: Labelled, test: Labelled, size: int | None) -> Dataset:
    """Read the listed files; without any to test on, a fifth of the others."""
    said = Counter[str]()
    images, labels = _load(root, train + test, size, said)
    if test:
        kept, held = np.arange(len(train)), np.arange(len(train), len(labels))
    else:
        kept, held = _split(root, labels)
    name = root.resolve().name if size is None else f"{root.resolve().name}[size={size}]"
    notes = tuple(f"{count} pictures: {what}" for what, count in sorted(said.items()))
    return make_dataset(
        name, images[kept], labels[kept], images[held], labels[held], classes, source=str(root), notes=notes
    )


def _split(root: Path, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        return stratified_split(labels, TEST_FRACTION)
    except UserError as error:
        raise UserError(f"{root}: {error}") from error


def _class_names(folder: Path) -> list[str]:
    names = sorted(
        (entry.name for entry in folder.iterdir() if entry.is_dir() and not _is_leftover(entry)), key=natural
    )
    if not names:
        raise UserError(f"{folder} holds no class folders; put the images of each class into a folder of its name")
    return names


def _listing(folder: Path, classes: list[str]) -> Labelled:
    return [(file, label) for label, name in enumerate(classes) for file in _files(folder / name)]


def _files(folder: Path) -> list[Path]:
    """Return the image files of a class; Tiny ImageNet has them one folder deeper, in `images/`."""
    entries = sorted((entry for entry in folder.iterdir() if not _is_leftover(entry)), key=lambda e: natural(e.name))
    deeper = [entry for entry in entries if entry.is_dir()]
    if [entry.name for entry in deeper] == ["images"] and all(e.suffix == ".txt" for e in entries if e.is_file()):
        return _files(deeper[0])
    if not entries:
        raise UserError(f"class folder {folder} is empty; add images or remove it")
    for entry in entries:
        if entry.is_dir():
            raise UserError(f"{entry} is a folder inside a class folder; put image files there, not folders")
        if not entry.is_file():
            raise UserError(f"{entry} is no file; remove it")
    return entries


def _is_leftover(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name.lower() in LEFTOVERS


def _load(root: Path, listing: Labelled, size: int | None, said: Counter[str]) -> tuple[Array, NDArray[np.int64]]:
    wanted, arrays = _checked_size(root, listing, size), list[Array]()
    for file, _ in listing:
        picture = read_picture(file, said)
        if picture.size != wanted:
            said[f"resized and cropped to {wanted[0]}x{wanted[1]}"] += 1
            picture = cropped(picture, wanted)
        arrays.append(np.asarray(picture))  # (H, W) if grey, else (H, W, 3)
    if any(array.ndim == 3 for array in arrays):
        arrays = [np.broadcast_to(np.atleast_3d(array), (*array.shape[:2], 3)) for array in arrays]
    return np.stack(arrays), np.array([label for _, label in listing], dtype=np.int64)


def _checked_size(root: Path, listing: Labelled, size: int | None) -> tuple[int, int]:
    """Return width and height of all pictures; refuse several where none is given, and what files can hardly hold."""
    first = listing[0][0]
    width, height = upright_size(first)
    if size is None:
        for file, _ in listing:
            if (found := upright_size(file)) != (width, height):
                raise UserError(
                    f"{file} is {found[0]}x{found[1]} pixels, {first} is {width}x{height}; resize all images to one "
                    f"size, or have them resized and cropped: '{root}[size=64]'"
                )
    else:
        width = height = size
    unpacked, packed = 3 * width * height * len(listing), sum(file.stat().st_size for file, _ in listing)
    if unpacked > max(ROOM, RATIO * packed):
        raise UserError(
            f"{len(listing)} images of {width}x{height} pixels, as {first} says, are more than {RATIO} times the size "
            "of their files; resize them"
        )
    return width, height
