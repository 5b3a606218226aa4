"""Data sets as tensors, their preprocessing, and the batches that a method gets."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from ddbench.data import builtin as builtin  # registers the data sets, as does `imagenet`
from ddbench.data.dataset import Dataset, make_dataset, split_share
from ddbench.data.derived import derived, is_part
from ddbench.data.folders import load_folder
from ddbench.data.hub import PREFIX, folder_of
from ddbench.data.imagenet import BY_SIDE
from ddbench.data.npz import load_npz
from ddbench.data.options import Options, parse_options, without_options
from ddbench.data.paths import CACHE_VARIABLE, DATA_VARIABLE, cache_folder, provided, provided_names, user_path
from ddbench.data.preprocess import KINDS, Preprocessing, Transform
from ddbench.data.real import RealData
from ddbench.data.resize import resized
from ddbench.errors import UserError, suggestion
from ddbench.registry import DATASETS

_CLOSED = list[bool]()

__all__ = [
    "KINDS",
    "Dataset",
    "Preprocessing",
    "RealData",
    "Transform",
    "cache_folder",
    "dataset_names",
    "load_dataset",
    "load_folder",
    "load_npz",
    "make_dataset",
    "refuse_where_closed",
    "resized",
]


def load_dataset(name_or_path: str) -> Dataset:
    """Load a data set by name or path, on the CPU.

    It is looked for in this order: a registered name, `$DDBENCH_DATA/<name>.npz`, `hf:OWNER/NAME` on the Hugging Face
    Hub, a folder of images, an `.npz` file, a `.csv` file that labels images. A registered one is read from
    `$DDBENCH_DATA` where that has it, else downloaded on first use. Brackets choose classes or resize:
    `cifar10[0-4]`, `./photos[size=64]`.

    >>> load_dataset("digits").shape
    (1, 8, 8)

    Raises:
        UserError: when there is no such data set, or it cannot be read or downloaded.
    """
    refuse_where_closed("load_dataset")
    name = str(name_or_path)
    if name in DATASETS:
        return _load_once(DATASETS.get(name), os.environ.get(DATA_VARIABLE), os.environ.get(CACHE_VARIABLE))
    file = provided(name)
    if file is not None:
        return _load_file_once(file, _stamp(file))
    if name.startswith(PREFIX):
        return _of_hub(*parse_options(name))
    path = user_path(name)
    if name and (os.path.isdir(path) or (path.suffix == ".csv" and os.path.isfile(path))):
        return load_folder(path)
    base, options = parse_options(name)
    if options is not None:
        return _with_options(base, options)
    if path.suffix == ".npz":
        return _load_file_once(path, _stamp(path))
    written = DATASETS.find(name)
    if written is not None:
        return load_dataset(written)
    if name.startswith((".", "~", "/")) or os.sep in name:
        raise UserError(f"nothing lies at {name}; give the path of a folder of images, an .npz or a .csv file")
    raise UserError(
        f"unknown dataset {name!r}; {suggestion(name, dataset_names())} "
        f"(or give the path of an .npz file or of a folder of class folders)"
    )


def _of_hub(name: str, options: Options | None) -> Dataset:
    data = load_folder(folder_of(name), options.size if options else None)
    return options.apply(data, f"{without_options(data.name)}{options}") if options else data


def _with_options(base: str, options: Options) -> Dataset:
    path = user_path(base)
    lies_in_files = base not in DATASETS and (os.path.isdir(path) or path.suffix == ".csv")
    if lies_in_files:
        data = load_folder(path, options.size)
    elif base in BY_SIDE and options.size is not None:
        data = BY_SIDE[base](options.size)
    else:
        data = load_dataset(base)
    return options.apply(data, f"{without_options(data.name)}{options}")


def refuse_where_closed(loader: str) -> None:
    """Raise UserError in a process that is a method's, which loads no data: to be called by whatever loads some.

    Args:
        loader: name of the function, for the message
    """
    if _CLOSED:
        raise UserError(f"a method gets its data from its task, and no test data: {loader} is closed to it")


def load_dataset_no_more() -> None:
    """Close `load_dataset` and its like in this process, which is a method's from here on."""
    _CLOSED.append(True)
    for cached in (_load_once, _load_file_once, _split_once):
        cached.cache_clear()


def dataset_names() -> list[str]:
    """Return the names that `load_dataset` knows now, sorted: the registered ones and those of `$DDBENCH_DATA`."""
    return sorted({*DATASETS, *provided_names()})


@lru_cache(maxsize=2)
def _load_once(load: Callable[[], Dataset], data_folder: str | None, cache: str | None) -> Dataset:
    """Load a data set, cached by loader and by the folders' names, on which the result depends."""
    return load()


@lru_cache(maxsize=2)
def _load_file_once(path: Path, stamp: tuple[int, ...]) -> Dataset:
    """Load an `.npz` file, cached by its path and by what changes when it is written."""
    return load_npz(path)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # reading will say why
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def load_split(dataset: str, split: str, peek: float | None = None) -> Dataset:
    """A data set as a cell sees it: its test split is what the cell scores on.

    Args:
        split: `test`, `validation(SHARE)`, `validation(SHARE, seed=N)`, or a part of `ddbench.data.derived`
        peek: share of the training images that is held back, from methods and from the test split alike
    """
    if not is_part(split):
        split_share(split)
    return _split_once(load_dataset(dataset), split, peek)


@lru_cache(maxsize=2)
def _split_once(data: Dataset, split: str, peek: float | None) -> Dataset:
    """Split a data set, cached by the object that it is."""
    if peek is not None:
        return data.holding_out(peek)
    return data if split == "test" else derived(data, f"{data.digest}+{split}")
