"""Reading of a data set from a user's `.npz` file; a bad file is refused with one sentence."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ddbench.data.dataset import Array, Dataset, make_dataset
from ddbench.data.paths import user_path
from ddbench.errors import UserError
from ddbench.io.archives import Archive, open_archive

REQUIRED = ("train_images", "train_labels", "test_images", "test_labels")


def load_npz(path: Path | str) -> Dataset:
    """Read a data set from the arrays of an `.npz` file; its name is the file's, without the ending.

    The file holds `train_images` and `test_images`, (N, H, W, C) or (N, H, W) uint8, `train_labels` and
    `test_labels`, (N,) or (N, 1) integers, and optionally `classes`, (K,) strings. Others are ignored, as the
    validation split of MedMNIST.

    Raises:
        UserError: one sentence naming the file, the array and the fix.
    """
    path = user_path(path)
    if not os.path.isfile(path):
        raise UserError(f"no file at {path}; give the path of an .npz file with arrays {', '.join(REQUIRED)}")
    arrays = _read(path)
    missing = [field for field in REQUIRED if field not in arrays]
    if missing:
        raise UserError(
            f"{path} has no array {', '.join(missing)} (it holds {', '.join(arrays) or 'none'}); "
            f"save {', '.join(REQUIRED)}"
        )
    return make_dataset(
        path.stem,
        arrays["train_images"],
        _one_each(arrays["train_labels"]),
        arrays["test_images"],
        _one_each(arrays["test_labels"]),
        classes=_classes(path, arrays),
        source=str(path),
    )


def save_npz(path: Path, data: Dataset) -> None:
    """Write a data set as `load_npz` reads it."""
    images = {"train_images": data.train_images, "test_images": data.test_images}
    labels = {"train_labels": data.train_labels, "test_labels": data.test_labels}
    arrays: dict[str, Any] = {name: tensor.permute(0, 2, 3, 1).numpy() for name, tensor in images.items()}
    arrays |= {name: tensor.numpy() for name, tensor in labels.items()}
    np.savez(path, **arrays, classes=np.array(data.classes))


def _read(path: Path) -> dict[str, Array]:
    try:
        with open_archive(path) as archive:
            fields = [field for field in (*REQUIRED, "classes") if f"{field}.npy" in archive.names]
            return {field: _member(path, archive, field) for field in fields}
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} {error}; write it again with numpy.savez") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; check the file and its permissions") from error


def _member(path: Path, archive: Archive, field: str) -> Array:
    try:
        return archive.array(field)
    except ValueError as error:
        raise UserError(f"{path}: {field} {error}; write the file again with numpy.savez") from error


def _one_each(labels: Array) -> Array:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _classes(path: Path, arrays: Mapping[str, Array]) -> list[str] | None:
    if "classes" not in arrays:
        return None
    classes = arrays["classes"]
    if classes.ndim != 1 or classes.dtype.kind != "U":
        raise UserError(
            f"{path}: classes has type {classes.dtype} and shape {classes.shape}; "
            "save a one-dimensional array of strings, or leave it out"
        )
    try:
        return [str(name) for name in classes]
    except (ValueError, SystemError) as error:  # of numbers beyond Unicode
        raise UserError(f"{path}: classes hold what is no text ({error}); save strings, or leave them out") from error
