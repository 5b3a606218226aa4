"""A user's own `.npz` file, refused with one sentence where it is not what it should be."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib.npyio import NpzFile

from ddbench.data.dataset import Array, Dataset, make_dataset
from ddbench.errors import UserError

REQUIRED = ("train_images", "train_labels", "test_images", "test_labels")


def load_npz(path: Path | str) -> Dataset:
    """Read a data set from the arrays of an `.npz` file; its name is the file's, without the ending.

    The file holds `train_images` and `test_images`, (N, H, W, C) or (N, H, W) uint8, `train_labels` and
    `test_labels`, (N,) integers, and optionally `classes`, (K,) strings. Others are ignored.

    Raises:
        UserError: one sentence naming the file, the array and the fix.
    """
    path = Path(path).expanduser()
    if not path.is_file():
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
        arrays["train_labels"],
        arrays["test_images"],
        arrays["test_labels"],
        classes=_classes(path, arrays),
        source=str(path),
    )


def _read(path: Path) -> dict[str, Array]:
    try:
        # Opened here, because numpy.load leaves a path that it cannot read open.
        with path.open("rb") as file, _archive(path, file) as archive:
            return {field: _member(path, archive, field) for field in archive if field in (*REQUIRED, "classes")}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; check the file and its permissions") from error


def _archive(path: Path, file: IO[bytes]) -> NpzFile:
    try:
        archive = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is truncated or no .npz file; write it again with numpy.savez") from error
    if not isinstance(archive, NpzFile):
        raise UserError(f"{path} is a single array and no .npz file; write it again with numpy.savez")
    return archive


def _member(path: Path, archive: Mapping[str, Array], field: str) -> Array:
    try:
        array = archive[field]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{path}: {field} is damaged; write the file again with numpy.savez") from error
    except ValueError as error:
        if "pickle" not in str(error) and "Object arrays" not in str(error):
            raise UserError(f"{path}: {field} is damaged; write the file again with numpy.savez") from error
        raise UserError(
            f"{path}: {field} holds pickled Python objects, which are never loaded; save a plain array"
        ) from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {field} is no array; write the file again with numpy.savez")
    return array


def _classes(path: Path, arrays: Mapping[str, Array]) -> list[str] | None:
    if "classes" not in arrays:
        return None
    classes = arrays["classes"]
    if classes.ndim != 1 or classes.dtype.kind != "U":
        raise UserError(
            f"{path}: classes has type {classes.dtype} and shape {classes.shape}; "
            "save a one-dimensional array of strings, or leave it out"
        )
    return [str(name) for name in classes]
