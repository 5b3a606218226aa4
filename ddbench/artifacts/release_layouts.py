"""The layouts in which authors publish distilled sets, and how each is told by what it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddbench.artifacts.release_files import Released, content, joined, numbers, reason
from ddbench.artifacts.release_folders import TENSORS, class_folders, read_pictures, read_tensors_beside, sets_of
from ddbench.artifacts.release_haba import has_hallucinators, read_bases
from ddbench.errors import UserError, suggestion
from ddbench.io.archives import Archive, open_archive

IMAGES, LABELS = ("images", "image", "data", "x"), ("labels", "label", "targets", "target", "y")
"""names under which images and labels lie in dictionaries and archives"""
MOST_UNROLLED = 10_000
"""largest number of steps of a release that lists each"""


@dataclass(frozen=True)
class Layout:
    """A way of laying a distilled set into files.

    Attributes:
        read: function that reads it
        papers: methods whose authors publish so
        what: file or folder that it is in
        preprocessing: what its images usually went through; `pixels` tells [0, 1] from normalised by their numbers
    """

    read: Callable[[Path], Released]
    papers: str
    what: str
    preprocessing: str = "normalize"


def recognise(path: Path) -> str:
    """Return the name of the layout that a file or folder has by what it holds.

    Raises:
        UserError: where it has none.
    """
    if not path.exists():
        raise UserError(f"nothing at {path}; give a file or folder of a release")
    if path.is_dir():
        return _layout_of_folder(path)
    if path.suffix == ".npz" or _holds_arrays(path):
        return "kip"
    held = content(path)
    if isinstance(held, Mapping) and isinstance(held.get("data"), list | tuple):
        return "dc"
    if _pair_of(held) is not None:
        return "pair"
    if _is_unrolled(held):
        return "wang2018"
    if isinstance(held, Tensor):
        return "haba" if has_hallucinators(path) else "mtt"
    raise UserError(f"{path} holds {_described(held)}, which is no known layout; {KNOWN}")


def found(path: Path) -> Path:
    """Return the only file that a folder can mean, or the path itself."""
    if not path.is_dir() or sets_of(path, "images") or class_folders(path):
        return path
    files = [file for file in path.iterdir() if file.suffix in (*TENSORS, ".npz") and not file.name.startswith(".")]
    return files[0] if len(files) == 1 else path


def _layout_of_folder(path: Path) -> str:
    if sets_of(path, "images"):
        return "haba" if has_hallucinators(path) else "mtt"
    if class_folders(path):
        return "folder"
    inside = [entry.name for entry in sorted(path.iterdir()) if entry.is_dir() and sets_of(entry, "images")]
    fix = f"give its folder {inside[0]}" if inside else "give the file that is meant"
    raise UserError(f"{path} holds neither tensors of images and labels nor class folders of pictures; {fix}")


def _holds_arrays(path: Path) -> bool:
    try:
        with open_archive(path) as archive:
            return any(name.endswith(".npy") for name in archive.names)
    except (OSError, ValueError):  # reading it as PyTorch's will say why
        return False


def _condensation(path: Path) -> Released:
    """Read `res_*.pt` of Zhao & Bilen's repository: the last of the experiments in it."""
    held = content(path)
    try:
        images, labels = held["data"][-1]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no 'data' with images and labels; is it of another layout?") from error
    return Released(numbers(path, images), numbers(path, labels), files=(path.name,))


def _pair(path: Path) -> Released:
    """Read images and labels, as a list, a tuple or a dictionary."""
    pair = _pair_of(content(path))
    if pair is None:
        raise UserError(f"{path} holds no pair of images and labels; is it of another layout?")
    return Released(numbers(path, pair[0]), numbers(path, pair[1]), files=(path.name,))


def _pair_of(held: Any) -> tuple[Any, Any] | None:
    if isinstance(held, Mapping):
        lowered = {key.lower(): value for key, value in held.items() if isinstance(key, str)}
        names = [next((name for name in known if name in lowered), None) for known in (IMAGES, LABELS)]
        held = [lowered[name] for name in names if name is not None]
    if not isinstance(held, list | tuple) or len(held) != 2 or not isinstance(held[0], Tensor):
        return None
    return (held[0], held[1]) if isinstance(held[1], list | Tensor) else None


def _kernel(path: Path) -> Released:
    """Read an `.npz` of images and labels, (N, K), to which networks or kernels are regressed."""
    try:
        with open_archive(path) as archive:
            images, labels = (_array(archive, known) for known in (IMAGES, LABELS))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no .npz with images and labels as plain numbers ({reason(error)})") from error
    return Released(images, labels, kind="targets", files=(path.name,))


def _array(archive: Archive, known: tuple[str, ...]) -> Tensor:
    name = next((name for name in known if f"{name}.npy" in archive.names), known[0])
    array = archive.array(name)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"has {name} of type {array.dtype}")
    wanted = np.float32 if array.dtype.kind == "f" else np.uint8 if array.dtype == np.uint8 else np.int64
    return torch.from_numpy(np.array(array, dtype=wanted, order="C"))


def _unrolled(path: Path) -> Released:
    """Read `results.pth` of Wang et al. 2018: images, labels and step size of each step, passes one after the other."""
    steps = content(path)
    if not _is_unrolled(steps):
        raise UserError(f"{path} holds no steps of images, labels and step size; is it of another layout?")
    if len(steps) > MOST_UNROLLED:
        raise UserError(f"{path} holds {len(steps)} steps; {MOST_UNROLLED} are the most")
    images, labels, lrs = ([step[index] for step in steps] for index in range(3))
    if len({len(step) if step.ndim else 0 for step in (*images, *labels)}) != 1 or images[0].numel() == 0:
        raise UserError(f"{path} has steps of different numbers of images and labels; each step needs as many")
    if any(label.ndim != 1 for label in labels):
        raise UserError(f"{path} has labels of shape {tuple(labels[0].shape)}; this layout has one class an image")
    apart = _period(images, labels)
    data, count = joined(path, images[:apart]), len(images[0])
    return Released(
        data,
        torch.cat(labels[:apart]),
        lr=None if lrs[0] is None else torch.cat([_number(path, lr) for lr in lrs]),
        order=torch.arange(len(data)).view(apart, count),
        epochs=len(steps) // apart,
        files=(path.name,),
    )


def _is_unrolled(held: Any) -> bool:
    return (
        isinstance(held, list | tuple)
        and len(held) > 0
        and all(isinstance(step, list | tuple) and len(step) == 3 for step in held)
        and all(isinstance(part, Tensor) for step in held for part in step[:2])
    )


def _period(images: list[Tensor], labels: list[Tensor]) -> int:
    """Return the number of steps after which images and labels come again."""

    def again(first: int, second: int) -> bool:
        return _equal(images[first], images[second]) and _equal(labels[first], labels[second])

    steps = len(images)
    for apart in range(1, steps):
        if steps % apart == 0 and all(again(step, step % apart) for step in range(apart, steps)):
            return apart
    return steps


def _equal(first: Tensor, second: Tensor) -> bool:
    same = first.data_ptr() == second.data_ptr() and first.stride() == second.stride()
    return first.shape == second.shape and (same or torch.equal(first, second))


def _number(path: Path, lr: object) -> Tensor:
    """Return the step size of one step, (1,)."""
    if isinstance(lr, float):
        return torch.tensor([lr])
    if not isinstance(lr, Tensor) or lr.numel() != 1:
        raise UserError(f"{path} has a step without one step size; is it of another layout?")
    return lr.reshape(1).float()


def _described(held: Any) -> str:
    if isinstance(held, Mapping):
        return f"a dictionary of {', '.join(str(key)[:40] for key in list(held)[:5]) or 'nothing'}"
    kind = type(held).__name__
    return f"a {kind} of {len(held)} items" if isinstance(held, list | tuple) else f"a {kind}"


LAYOUTS: Mapping[str, Layout] = {
    "dc": Layout(_condensation, "DC, DSA, DM, DataDAM", "res_*.pt file"),
    "pair": Layout(_pair, "IDC, DREAM, NCFM", "file of [images, labels]", "pixels"),
    "mtt": Layout(
        read_tensors_beside, "MTT, TESLA, FTD, DATM, DD-Ranking", "folder with images_best.pt and labels_best.pt"
    ),
    "haba": Layout(read_bases, "HaBa", "folder with images_best.pt and weights_best.pt"),
    "kip": Layout(_kernel, "KIP, FRePo, RFAD", ".npz file"),
    "wang2018": Layout(_unrolled, "Wang et al. 2018", "results.pth file", "standardize"),
    "folder": Layout(read_pictures, "RDED, SRe2L, D4M", "folder of class folders of pictures", "none"),
}
KNOWN = "docs/releases.md lists what is read"


def layout_named(name: str) -> Layout:
    """Return the layout of this name.

    Raises:
        UserError: where there is none.
    """
    if name not in LAYOUTS:
        raise UserError(f"unknown layout {name!r}; {suggestion(name, LAYOUTS)}")
    return LAYOUTS[name]
