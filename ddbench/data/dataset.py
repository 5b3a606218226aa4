"""A data set: two splits of images and labels in memory, with a digest of their content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddbench.errors import UserError
from ddbench.io.atomic import LONGEST_NAME, is_name

Array = NDArray[Any]
SPLIT = re.compile(r"(?P<kind>validation|held_out)\((?P<fraction>\d+(\.\d+)?(e-\d+)?)(, seed=(?P<seed>\d+))?\)")
MOST_SEED = 2**32 - 1
RENAME = f"rename it, with at most {LONGEST_NAME} letters, digits and signs"


def split_name(share: float | None) -> str:
    """Return a cell's name for the split that holds this share of the training images; `test` without a share."""
    return "test" if share is None else f"validation({share})"


def split_share(split: str) -> float | None:
    """Return the share of the training images that a cell's split scores on; None for the test set.

    Raises:
        UserError: when the text names neither `test` nor a validation split.
    """
    named = SPLIT.fullmatch(split)
    if named is not None and named["kind"] == "validation":
        return float(named["fraction"])
    if split != "test":
        raise UserError(f"split {split!r} is neither test nor a validation split")
    return None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of both splits on one device; `make_dataset` builds one from checked arrays.

    Attributes:
        train_images: (N, C, H, W) uint8.
        train_labels: (N,) int64 in 0..K-1.
        test_images: (M, C, H, W) uint8.
        test_labels: (M,) int64.
        classes: the K class names.
        given_digest: the digest to report instead of computing it (a moved or derived data set has one).
        notes: what was done to the files when they were read.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    given_digest: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of every image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @cached_property
    def digest(self) -> str:
        """Digest `sha256:...` of shapes, types and bytes of the arrays; a split adds its name, `+validation(...)`."""
        if self.given_digest is not None:
            return self.given_digest
        content = hashlib.sha256()
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            array = tensor.cpu().contiguous().numpy()
            content.update(f"{array.dtype}{array.shape}".encode())
            content.update(array.data)
        return f"sha256:{content.hexdigest()}"

    @cached_property
    def counts(self) -> Tensor:
        """Training images per class, (K,) int64."""
        return torch.bincount(self.train_labels, minlength=len(self.classes))

    def to(self, device: torch.device | str) -> Dataset:
        """Return the same data set with its tensors on `device`."""
        return replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            test_images=self.test_images.to(device),
            test_labels=self.test_labels.to(device),
            given_digest=self.digest,
        )

    def validation(self, fraction: float, seed: int = 0) -> Dataset:
        """Return a data set that tests on a stratified part of this one's train split; the real test split is left out.

        Args:
            fraction: share of every class that becomes the new test split, in (0, 1).
            seed: seed of the choice of that part; the digest names a seed other than 0.

        Raises:
            UserError: when the fraction is not in (0, 1), or a class has a single image.
        """
        kept, held = map(torch.from_numpy, stratified_split(self.train_labels.cpu().numpy(), fraction, seed))
        kept, held = kept.to(self.train_labels.device), held.to(self.train_labels.device)
        detail = f"{fraction}" if seed == 0 else f"{fraction}, seed={seed}"
        return replace(
            self,
            train_images=self.train_images[kept],
            train_labels=self.train_labels[kept],
            test_images=self.train_images[held],
            test_labels=self.train_labels[held],
            given_digest=f"{self.digest}+validation({detail})",
        )

    def holding_out(self, fraction: float) -> Dataset:
        """Return this data set without the training images that `validation(fraction)` tests on; the test split stays.

        Raises:
            UserError: as `validation`.
        """
        return replace(
            self.validation(fraction),
            test_images=self.test_images,
            test_labels=self.test_labels,
            given_digest=f"{self.digest}+held_out({fraction})",
        )

    def without_test(self) -> Dataset:
        """This data set with an empty test split, under its own digest: what may be held while a method runs."""
        nothing = self.test_images[:0], self.test_labels[:0]
        return replace(self, test_images=nothing[0], test_labels=nothing[1], given_digest=self.digest)

    def split(self, digest: str) -> Dataset:
        """Return the split that a digest names, `...+validation(0.1)` or `...+held_out(0.1)`, or the data set itself.

        Raises:
            UserError: as `validation`, or where the digest names a split of another kind.
        """
        split = digest.partition("+")[2]
        if not split:
            return self
        named = SPLIT.fullmatch(split)
        if named is None:
            raise UserError(f"split {split!r} is neither validation(...) nor held_out(...); write the artefact again")
        fraction, seed = float(named["fraction"]), int(named["seed"] or 0)
        if seed > MOST_SEED:
            raise UserError(f"split {split!r} has a seed above {MOST_SEED}; choose a smaller one")
        return self.validation(fraction, seed) if named["kind"] == "validation" else self.holding_out(fraction)


def make_dataset(
    name: str,
    train_images: Array,
    train_labels: Array,
    test_images: Array,
    test_labels: Array,
    classes: Sequence[str] | None = None,
    source: str | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Check arrays and copy them into a `Dataset` on the CPU.

    Args:
        train_images: (N, H, W, C) or, if grey, (N, H, W) uint8; square, 1 or 3 channels. `test_images` alike.
        train_labels: (N,) integers in 0..K-1, every class at least once. `test_labels` alike, classes may be absent.
        classes: K names; None names them "0", "1", ...
        source: where the arrays came from, for messages; None takes the name.
        notes: what was done to the files.

    Raises:
        UserError: one sentence naming the array, what it holds, and the fix.
    """
    where = source or name
    if not is_name(name):
        raise UserError(f"{where}: {name!r} cannot name a data set; {RENAME}")
    train = _checked_images(where, "train_images", train_images)
    test = _checked_images(where, "test_images", test_images)
    if train.shape[1:] != test.shape[1:]:
        raise UserError(
            f"{where}: test_images are {_size(test)}, train_images {_size(train)}; give both splits one size"
        )
    _check_labels(where, "train_labels", train_labels, len(train))
    _check_labels(where, "test_labels", test_labels, len(test))
    names = _class_names(where, classes, train_labels)
    _check_range(where, "train_labels", train_labels, len(names))
    _check_range(where, "test_labels", test_labels, len(names))
    _check_classes(where, train_labels, names)
    halves = _nchw(train), _int64(train_labels), _nchw(test), _int64(test_labels)
    return Dataset(name, *halves, names, notes=notes)


def _checked_images(where: str, field: str, images: Array) -> Array:
    if images.dtype.kind == "f" and (broken := int(np.isnan(images).sum())):
        raise UserError(f"{where}: {field} holds {broken} NaN values; repair them and save uint8 values in 0..255")
    if images.dtype != np.uint8:
        raise UserError(f"{where}: {field} has type {images.dtype}; save uint8 values in 0..255")
    if images.ndim not in (3, 4):
        raise UserError(f"{where}: {field} has shape {images.shape}; save (N, H, W, C), or (N, H, W) for grey images")
    images = images[..., None] if images.ndim == 3 else images
    if images.size == 0:
        raise UserError(f"{where}: {field} is empty, shape {images.shape}; give at least one image")
    _, height, width, channels = images.shape
    if channels not in (1, 3):
        raise UserError(
            f"{where}: {field} has {channels} channels, shape {images.shape}; "
            "save (N, H, W, C) with channels last, 1 for grey or 3 for RGB"
        )
    if height != width:
        raise UserError(f"{where}: {field} are {_size(images)}, not square; crop or resize them")
    return images


def _check_labels(where: str, field: str, labels: Array, images: int) -> None:
    if labels.dtype.kind == "f" and (broken := int(np.isnan(labels).sum())):
        raise UserError(f"{where}: {field} holds {broken} NaN values; repair them and save integers")
    if labels.dtype.kind not in "iu":
        raise UserError(f"{where}: {field} has type {labels.dtype}; save integers, one class index an image")
    if labels.ndim != 1 or len(labels) != images:
        raise UserError(f"{where}: {field} has shape {labels.shape}, not ({images},); save one label for each image")


def _class_names(where: str, classes: Sequence[str] | None, labels: Array) -> tuple[str, ...]:
    if classes is None:
        # Every class has an image: a larger label is no class, and so many names might fill the memory.
        largest = min(int(labels.max()), len(labels))
        return tuple(map(str, range(largest + 1)))
    for name in classes:
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise UserError(f"{where}: {name!r} cannot name a class; {RENAME}")
    return tuple(classes)


def _check_range(where: str, field: str, labels: Array, classes: int) -> None:
    for value in (int(labels.min()), int(labels.max())):
        if not 0 <= value < classes:
            raise UserError(
                f"{where}: {field} holds {value}; number the {classes} classes of the train split 0..{classes - 1}"
            )


def _check_classes(where: str, labels: Array, classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise UserError(f"{where}: train_labels hold {len(classes)} class; give at least two")
    present = set(np.unique(labels).tolist())
    absent = next((index for index in range(len(classes)) if index not in present), None)
    if absent is not None:
        raise UserError(
            f"{where}: class {absent} ({classes[absent]!r}) has no image in train_labels; "
            f"add some, or number only the classes that have images"
        )


def _size(images: Array) -> str:
    _, height, width, channels = images.shape
    return f"{height}x{width} pixels (height x width) with {channels} channel{'s' if channels > 1 else ''}"


def _nchw(images: Array) -> Tensor:
    # An explicit copy: for one channel the transposed view is contiguous already and would alias the caller's array.
    return torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), order="C"))


def _int64(labels: Array) -> Tensor:
    return torch.from_numpy(np.array(labels, dtype=np.int64))


def stratified_split(
    labels: NDArray[np.int64], fraction: float, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return positions kept and positions held out, both ascending; `fraction` of each class is held out.

    Args:
        labels: (N,) class of each item.
        fraction: share of every class that is held out, rounded, at least one item and never all of them.

    Raises:
        UserError: when the fraction is not between 0 and 1, or a class has fewer than two items.
    """
    if not 0 < fraction < 1:
        raise UserError(f"cannot hold out a fraction of {fraction}; choose one above 0 and below 1")
    # RandomState, because NumPy keeps its streams fixed; those of default_rng may change between releases.
    random = np.random.RandomState(seed)
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(f"class {label} has only one image, which cannot be split; give every class at least two")
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        held[random.permutation(members)[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
