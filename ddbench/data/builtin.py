"""Data sets known by name: `digits` comes with scikit-learn, the others from `$DDBENCH_DATA` or torchvision.

`imagenet.py` has those that are photographs in folders.
"""

from __future__ import annotations

import contextlib
import pickle
import shutil
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import numpy as np

from ddbench.data.dataset import Array, Dataset, make_dataset, stratified_split
from ddbench.data.npz import load_npz
from ddbench.data.paths import CACHE_VARIABLE, DATA_VARIABLE, cache_folder, provided
from ddbench.errors import UserError
from ddbench.registry import DATASETS

DIGITS = tuple("0123456789")


class Size(NamedTuple):
    """How much a data set holds."""

    train: int
    """number of training images"""
    test: int
    """number of test images"""
    classes: int
    shape: tuple[int, int, int]
    """(C, H, W)"""
    counts: tuple[int, ...] = ()
    """training images of each class; empty where only their sum is known"""

    @classmethod
    def of(cls, counts: tuple[int, ...], test: int, shape: tuple[int, int, int]) -> Size:
        """Return the size of a data set with so many training images of each class."""
        return cls(sum(counts), test, len(counts), shape, counts)


SIZES = {
    "digits": Size(1438, 359, 10, (1, 8, 8)),
    "mnist": Size(60_000, 10_000, 10, (1, 28, 28)),
    "fashion_mnist": Size(60_000, 10_000, 10, (1, 28, 28)),
    "usps": Size(7291, 2007, 10, (1, 16, 16)),
    "svhn": Size(73_257, 26_032, 10, (3, 32, 32)),
    "cifar10": Size(50_000, 10_000, 10, (3, 32, 32)),
    "cifar100": Size(50_000, 10_000, 100, (3, 32, 32)),
    "tiny_imagenet": Size(100_000, 10_000, 200, (3, 64, 64)),
    "imagenette": Size(9469, 3925, 10, (3, 64, 64)),
}
FILES = {
    "MNIST": ("MNIST",),
    "FashionMNIST": ("FashionMNIST",),
    "USPS": ("usps.bz2", "usps.t.bz2"),
    "SVHN": ("train_32x32.mat", "test_32x32.mat"),
    "CIFAR10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "CIFAR100": ("cifar-100-python", "cifar-100-python.tar.gz"),
}
"""what torchvision keeps of each of its classes"""
DAMAGE = (ValueError, EOFError, TypeError, KeyError, AssertionError, zlib.error, pickle.UnpicklingError, struct.error)
"""what its readers raise for files that are not what was downloaded"""


@DATASETS.register("digits")
def digits() -> Dataset:
    """Handwritten digits, 1x8x8, 10 classes, 1797 images; ships with scikit-learn, nothing to download."""
    return provided_or("digits", _digits)


@DATASETS.register("mnist")
def mnist() -> Dataset:
    """Handwritten digits, 1x28x28, 10 classes, 60000 + 10000 images."""
    return provided_or("mnist", lambda: _download("mnist", "MNIST", DIGITS))


@DATASETS.register("fashion_mnist")
def fashion_mnist() -> Dataset:
    """Photographs of clothes, 1x28x28, 10 classes, 60000 + 10000 images."""
    return provided_or("fashion_mnist", lambda: _download("fashion_mnist", "FashionMNIST"))


@DATASETS.register("usps")
def usps() -> Dataset:
    """Digits from envelopes, 1x16x16, 10 classes, 7291 + 2007 images."""
    return provided_or("usps", lambda: _download("usps", "USPS", DIGITS))


@DATASETS.register("svhn")
def svhn() -> Dataset:
    """House numbers, 3x32x32, 10 classes, 73257 + 26032 images."""
    return provided_or("svhn", lambda: _download("svhn", "SVHN", DIGITS))


@DATASETS.register("cifar10")
def cifar10() -> Dataset:
    """Small photographs, 3x32x32, 10 classes, 50000 + 10000 images."""
    return provided_or("cifar10", lambda: _download("cifar10", "CIFAR10"))


@DATASETS.register("cifar100")
def cifar100() -> Dataset:
    """Small photographs, 3x32x32, 100 classes, 50000 + 10000 images."""
    return provided_or("cifar100", lambda: _download("cifar100", "CIFAR100"))


def provided_or(name: str, load: Callable[[], Dataset]) -> Dataset:
    """Read the data set from `$DDBENCH_DATA/<name>.npz`, or load it where there is no such file."""
    path = provided(name)
    return load() if path is None else load_npz(path)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = np.rint(loaded.images * 255 / 16).astype(np.uint8)  # (1797, 8, 8), from 0..16
    labels = loaded.target.astype(np.int64)
    train, test = stratified_split(labels, 0.2)
    return make_dataset("digits", images[train], labels[train], images[test], labels[test], DIGITS)


def _download(name: str, kind: str, classes: tuple[str, ...] | None = None) -> Dataset:
    """Read the torchvision class `kind` from the cache folder, where it is downloaded on first use.

    What lies there and is damaged, or has another number of images, is set aside and downloaded anew.

    Raises:
        UserError: when the download or its integrity check fails.
    """
    with getting(name):
        halves = _sound_halves(name, kind)
        if halves is None:
            set_aside(_there(kind))
            halves = _halves(kind)
        train, test = halves
    return make_dataset(name, *_arrays(train), *_arrays(test), classes or tuple(train.classes))


@contextmanager
def getting(name: str) -> Iterator[None]:
    """Turn what goes wrong while a data set is downloaded and read into a sentence that says the ways out.

    What torchvision reports on standard output goes to standard error: the former belongs to --json.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (OSError, RuntimeError, HTTPException, *DAMAGE) as error:
        raise UserError(
            f"cannot get {name}: {_one_line(error)}; connect once and run `ddbench prepare {name}` "
            f"(it fills the folder named by {CACHE_VARIABLE}, now {cache_folder()}), or put {name}.npz with arrays "
            "train_images (N, H, W, C) uint8, train_labels, test_images and test_labels "
            f"into the folder named by {DATA_VARIABLE}"
        ) from error


def _sound_halves(name: str, kind: str) -> tuple[Any, Any] | None:
    """Return both splits; None where what lies in the cache cannot be read, or is not what it should be."""
    before = _there(kind)
    try:
        halves = _halves(kind)
    except (OSError, *DAMAGE) as error:
        if not before or isinstance(error, URLError):
            raise
        return None
    train, test = (len(half.data) for half in halves)
    known = SIZES[name]
    return halves if not before or (train, test) == (known.train, known.test) else None


def _halves(kind: str) -> tuple[Any, Any]:
    return _split(kind, "train"), _split(kind, "test")


def _there(kind: str) -> list[Path]:
    """Return what the cache holds of a data set."""
    return [path for name in FILES[kind] if (path := cache_folder() / "datasets" / name).exists()]


def set_aside(paths: list[Path]) -> None:
    """Rename what the cache holds and is damaged, and say so."""
    for path in paths:
        aside = path.with_name(f"{path.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        warnings.warn(f"{path} is damaged; it is kept as {aside.name}, and downloaded again", RuntimeWarning, 2)


def _split(kind: str, part: str) -> Any:
    from torchvision import datasets

    folder = cache_folder() / "datasets"
    if kind == "SVHN":
        return datasets.SVHN(folder, split=part, download=True)
    return getattr(datasets, kind)(folder, train=part == "train", download=True)


def _arrays(split: Any) -> tuple[Array, Array]:
    images = np.asarray(split.data)
    if hasattr(split, "labels"):  # only SVHN has this name, and only SVHN keeps channels first
        return images.transpose(0, 2, 3, 1), np.asarray(split.labels)
    return images, np.asarray(split.targets)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
