"""Releases that lie in several files: images and labels as tensors beside each other, and class folders of pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddbench.artifacts.release_files import Released, content, joined, tensor
from ddbench.data.folders import LEFTOVERS
from ddbench.data.labels import natural
from ddbench.data.pictures import read_picture, upright_size
from ddbench.errors import UserError
from ddbench.io.archives import RATIO, ROOM

TENSORS = (".pt", ".pth")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")
ROLES = {
    "images": "images", "image": "images", "imgs": "images",
    "labels": "labels", "label": "labels", "targets": "labels",
    "lr": "lr",
    "styles": "hallucinators", "weights": "hallucinators",
}  # fmt: skip
"""words in the names of files that tell what they hold"""
PREFERRED = ("best", "", "ema best")
"""sets to take where a folder has several: best by its authors' count, alone, best of an average"""
WHITENING, AVERAGE = "zca", "ema"
PART = re.compile(r"(?P<base>.*\D) (?P<number>\d{1,4})")

Sets = Mapping[str, list[Path]]
"""files by the rest of their names; several are the parts of one tensor"""


def read_tensors_beside(path: Path) -> Released:
    """Read images, labels and maybe a step size from tensors in a folder, which their names tell apart.

    Args:
        path: the folder, or the file of images where the folder has several

    Raises:
        UserError: one sentence that names the folder and the fix.
    """
    folder, key, files = chosen_set(path)
    labels = beside(sets_of(folder, "labels"), key, alone=True)
    if labels is None:
        raise UserError(f"{files[0]} has no labels beside it; save them there as {_partner(files[0])}")
    lr = beside(sets_of(folder, "lr"), key, alone=False)
    read = [*files, *labels, *(lr or [])]
    return Released(
        joined(folder, [tensor(file) for file in files]),
        joined(folder, [tensor(file) for file in labels]),
        lr=None if lr is None else _step_size(lr[0]),
        files=tuple(file.name for file in read),
    )


def chosen_set(path: Path) -> tuple[Path, str, list[Path]]:
    """Return the folder of a set of images, the set's name in the names of files, and its files.

    Args:
        path: the folder, or the file of images where the folder has several
    """
    folder = path if path.is_dir() else path.parent
    images = sets_of(folder, "images")
    if not path.is_dir():
        return folder, *_named(path, images)
    key = _chosen(folder, images)
    return folder, key, images[key]


def sets_of(folder: Path, role: str) -> Sets:
    """Return the tensors of a folder that have this role, each set's parts in their order."""
    single = dict[str, Path]()
    for file in sorted(folder.iterdir(), key=lambda entry: natural(entry.name)):
        found, key = _role(file)
        if found == role and file.suffix in TENSORS and not file.name.startswith("."):
            single.setdefault(key, file)
    sets = {key: [file] for key, file in single.items()}
    parts = dict[str, list[int]]()
    for key in single:
        if (part := PART.fullmatch(key)) is not None:
            parts.setdefault(part["base"], []).append(int(part["number"]))
    for base, found_numbers in parts.items():
        if sorted(found_numbers) == list(range(len(found_numbers))) and base not in sets:
            sets[base] = [sets.pop(f"{base} {number}")[0] for number in sorted(found_numbers)]
    return sets


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that hold pictures, in the order of their names, numbers by value."""
    found = [entry for entry in _entries(folder) if entry.is_dir()]
    return [entry for entry in found if any(file.suffix.lower() in PICTURES for file in _entries(entry))]


def read_pictures(folder: Path) -> Released:
    """Read class folders of pictures; images are (N, C, H, W) uint8, grey if all pictures are.

    Raises:
        UserError: where there are none, one is damaged, or they have several sizes.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one that holds a folder of pictures for each class")
    classes = class_folders(folder)
    if not classes:
        raise UserError(f"{folder} holds no folders of pictures; give one with a folder for each class")
    listing = [(file, label) for label, one in enumerate(classes) for file in _pictures(one)]
    _check_sizes([file for file, _ in listing])
    pictures = [read_picture(file, Counter()) for file, _ in listing]
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    arrays = [np.array(picture.convert(mode)).reshape(*picture.size[::-1], -1) for picture in pictures]
    return Released(
        torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous(),
        torch.tensor([label for _, label in listing]),
        names=tuple(one.name for one in classes),
        files=(f"{len(listing)} pictures",),
    )


def _role(file: Path) -> tuple[str | None, str]:
    """Return what a file holds by its name, and the rest of the name: `ema_images_best.pt` is `images`, `ema best`."""
    words = [word for word in re.split(r"[^a-z0-9]+", file.stem.lower()) if word]
    role = next((word for word in words if word in ROLES), None)
    rest = " ".join(word for word in words if word not in (role, "syn"))
    return (None if role is None else ROLES[role]), rest


def _chosen(folder: Path, images: Sets) -> str:
    keys = [key for key in images if WHITENING not in key.split()]
    if not keys and images:
        file = next(iter(images.values()))[0]
        raise UserError(f"{file} was turned back into pixels; give this file itself, with --preprocessing none")
    for key in PREFERRED:
        if key in keys:
            return key
    if len(keys) == 1:
        return keys[0]
    counts = {int(key.removeprefix(AVERAGE)): key for key in keys if re.fullmatch(rf"({AVERAGE} )?\d{{1,9}}", key)}
    if counts and len(counts) == len(keys):
        return counts[max(counts)]
    if keys:
        names = ", ".join(images[key][0].name for key in keys[:4])
        raise UserError(f"{folder} holds several sets, {names}; give the file of the one that is meant")
    inside = [entry.name for entry in _entries(folder) if entry.is_dir() and sets_of(entry, "images")]
    hint = f"give its folder {inside[0]}" if inside else "give the folder with images_best.pt, or the file of images"
    raise UserError(f"{folder} holds no tensors of images; {hint}")


def _named(path: Path, images: Sets) -> tuple[str, list[Path]]:
    """Return the set that a file belongs to."""
    for key, files in images.items():
        if path in files:
            return key, files
    role, key = _role(path)
    if role is not None and role != "images":
        raise UserError(f"{path} is the file of {role}; give that of the images, or the folder")
    return key, [path]


def beside(sets: Sets, key: str, *, alone: bool) -> list[Path] | None:
    """Return the files that go with images of this name: of the same name, of a plainer one, or the only ones."""
    plainer = " ".join(word for word in key.split() if word not in (WHITENING, AVERAGE))
    for name in (key, plainer, ""):
        if name in sets:
            return sets[name]
    return next(iter(sets.values())) if alone and len(sets) == 1 else None


def _partner(file: Path) -> str:
    words = [word for word in ROLES if ROLES[word] == "images" and word in file.name]
    return file.name.replace(words[0], "labels") if words else "labels.pt"


def _step_size(path: Path) -> Tensor:
    """Return a step size, (), from a number or a tensor of one."""
    value = content(path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = torch.tensor(float(value))
    if not isinstance(value, Tensor) or value.numel() != 1:
        held = f"{value.numel()} numbers" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise UserError(f"{path} holds {held} where one step size is needed; remove it to train with the protocol's")
    if not float(value) > 0:
        raise UserError(f"{path} holds the step size {float(value)}; remove it to train with the protocol's")
    return value.reshape(()).float()


def _entries(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted((one for one in entries if one.name.lower() not in LEFTOVERS), key=lambda one: natural(one.name))


def _pictures(folder: Path) -> list[Path]:
    return [file for file in _entries(folder) if file.suffix.lower() in PICTURES and file.is_file()]


def _check_sizes(files: Iterable[Path]) -> None:
    """Refuse pictures of several sizes, and more of them than their files can hold."""
    files = list(files)
    sizes = {file: upright_size(file) for file in files}
    first, size = next(iter(sizes.items()))
    for file, other in sizes.items():
        if other != size:
            raise UserError(
                f"{file} is {other[0]}x{other[1]} pixels, {first} is {size[0]}x{size[1]}; give them one size"
            )
    if 3 * size[0] * size[1] * len(files) > max(ROOM, RATIO * sum(file.stat().st_size for file in files)):
        raise UserError(f"{first} and the others are more than {RATIO} times the size of their files; resize them")
