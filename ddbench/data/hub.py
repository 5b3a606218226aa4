"""Data sets of the Hugging Face Hub, `hf:OWNER/NAME`: their pictures are kept as files, and read as any folder is."""

from __future__ import annotations

import csv
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ddbench.data.paths import cache_folder
from ddbench.errors import UserError, printable

PREFIX = "hf:"
LABELS = ("label", "labels", "fine_label", "class")
"""names of a column of labels, where none has classes"""
TESTS = ("test", "validation", "valid", "val")
"""splits to test on, the first that is there"""


def folder_of(name: str) -> Path:
    """Return the folder of a data set's pictures with a table of their labels, written on first use.

    Args:
        name: `hf:OWNER/NAME`, with `:CONFIGURATION` behind it where it has several, or `hf:` and a local folder

    Raises:
        UserError: when the package is not installed, there is no such data set, or it has no pictures with labels.
    """
    repository, _, configuration = name.removeprefix(PREFIX).partition(":")
    last = Path(repository).name or "data"
    marked = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{repository}-{configuration}".strip("-./"))
    kept = cache_folder() / "hub" / marked / last
    if not kept.is_dir():
        splits = _splits(_library(), name, repository, configuration)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as work:
            _write(splits, Path(work) / last, name)
            os.replace(Path(work) / last, kept)
    return kept


def _splits(library: ModuleType, name: str, repository: str, configuration: str) -> dict[str, Any]:
    try:
        found = library.load_dataset(repository, configuration or None)
    except Exception as error:  # the library's own errors have no common ancestor
        said = printable(" ".join(str(error).split()))[:300]
        raise UserError(f"cannot get {name}: {said}; check its name, its configuration and the network") from error
    test = next((split for split in TESTS if split in found), None)
    if "train" not in found:
        raise UserError(f"{name} has the splits {', '.join(found)}, and no train; save it as a folder or an .npz file")
    return {"train": found["train"], **({"test": found[test]} if test else {})}


def _write(splits: dict[str, Any], folder: Path, name: str) -> None:
    """Write the pictures as they are encoded, and `labels.csv`."""
    rows = [row for split, data in splits.items() for row in _pictures(split, data, folder, name)]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label", "split"), *rows])


def _pictures(split: str, data: Any, folder: Path, name: str) -> Iterator[tuple[str, str, str]]:
    image, label = _columns(data.features, name)
    texts, encoded = getattr(data.features[label], "int2str", str), data.cast_column(image, _as_bytes(data, image))
    (folder / split).mkdir(parents=True)
    for index, row in enumerate(encoded):
        file = f"{split}/{index}"
        if row[image]["bytes"] is not None:
            (folder / file).write_bytes(row[image]["bytes"])
        else:
            shutil.copyfile(row[image]["path"], folder / file)
        yield file, str(texts(row[label])), split


def _columns(features: Any, name: str) -> tuple[str, str]:
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    image = next((column for column, kind in kinds.items() if kind == "Image"), None)
    label = next((column for column, kind in kinds.items() if kind == "ClassLabel"), None)
    label = label or next((column for column in LABELS if column in kinds), None)
    if image is None or label is None:
        told = ", ".join(f"{column} ({kind})" for column, kind in kinds.items())
        raise UserError(f"{name} has the columns {told}; a column of images and one of labels are needed")
    return image, label


def _as_bytes(data: Any, image: str) -> Any:
    return type(data.features[image])(decode=False)


def _library() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise UserError("data sets hf:OWNER/NAME need datasets; pip install 'ddbench[hub]'") from error
    module: ModuleType = datasets
    return module
