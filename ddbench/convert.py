"""Distilled sets that others have published, in the layouts of their releases. What is read is data, never code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddbench.artifact import DistilledDataset, LabelKind, Recipe
from ddbench.errors import UserError, suggestion


@dataclass(frozen=True)
class Released:
    """What a release holds.

    Args:
        images: (N, C, H, W), as preprocessed there
        labels: (N,) classes or (N, K)
        kind: of the labels
        lr: learned step size
    """

    images: Tensor
    labels: Tensor
    kind: LabelKind
    lr: Tensor | None = None

    def artifact(self) -> DistilledDataset:
        return DistilledDataset.pixels(
            self.images.float(),
            self.labels.long() if self.kind == "index" else self.labels.float(),
            label_kind=self.kind,
            recipe=Recipe(lr=self.lr),
        )


def read_release(path: Path, layout: str) -> Released:
    """A distilled set from a file or folder of this layout.

    Raises:
        UserError: for an unknown layout, a file that is missing, damaged or holds anything but data, and for images or
            labels of another shape than the layout's.
    """
    if layout not in LAYOUTS:
        raise UserError(f"unknown layout {layout!r}; {suggestion(layout, LAYOUTS)}")
    if not path.exists():
        raise UserError(f"nothing at {path}; give the {WHERE[layout]}")
    released = LAYOUTS[layout](path)
    if released.images.ndim != 4 or len(released.images) != len(released.labels):
        raise UserError(
            f"{path} holds images of shape {tuple(released.images.shape)} and labels of shape "
            f"{tuple(released.labels.shape)}; as {layout} there must be one label for each of (N, C, H, W) images"
        )
    return released


def _condensation(path: Path) -> Released:
    """`res_*.pt` of Zhao & Bilen's repository (DC, DSA, DM): the last of the experiments in it."""
    content = _tensors(path)
    try:
        images, labels = content["data"][-1]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no 'data' with images and labels; is it of another layout?") from error
    return Released(images, labels, "index")


def _trajectories(path: Path) -> Released:
    """A folder of Cazenavette et al.'s code and its descendants (MTT, TESLA, FTD, DATM), the files that end in best."""
    images, labels = (_tensors(path / f"{name}_best.pt") for name in ("images", "labels"))
    lr = _tensors(path / "lr_best.pt") if (path / "lr_best.pt").is_file() else None
    if labels.ndim == 1:
        return Released(images, labels, "index", lr)
    shares = bool((labels >= 0).all()) and torch.allclose(labels.sum(1), torch.ones(len(labels)), atol=1e-3)
    return Released(images, labels, "probabilities" if shares else "logits", lr)


def _kernel(path: Path) -> Released:
    """`.npz` of kernel methods (KIP, FRePo): `images` (N, H, W, C) and `labels` (N, K), regression targets."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = (torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in ("images", "labels"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no .npz with images and labels as plain numbers ({error})") from error
    return Released(images.permute(0, 3, 1, 2) if images.ndim == 4 else images, labels, "targets")


LAYOUTS: Mapping[str, Callable[[Path], Released]] = {
    "dc": _condensation,
    "mtt": _trajectories,
    "kip": _kernel,
}
WHERE = {"dc": "res_*.pt file", "mtt": "folder with images_best.pt and labels_best.pt", "kip": ".npz file"}


def _tensors(path: Path) -> Any:
    """The content of a `.pt` file: tensors, containers and plain numbers; a pickle that wants more is refused."""
    if not path.is_file():
        raise UserError(f"no file {path}; it is part of this layout")
    try:
        with torch.serialization.safe_globals(_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} holds more than tensors and numbers, and was not read ({reason})") from error
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged or no PyTorch file ({reason})") from error


def _numbers() -> list[Any]:
    """Numpy's scalars, in which releases keep accuracies: they rebuild numbers and nothing else."""
    multiarray = getattr(np, "_core", None) or np.core
    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64")]
    return [multiarray.multiarray.scalar, np.dtype, *kinds]
