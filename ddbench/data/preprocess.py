"""Preprocessing of images for networks: per-channel normalisation, or one of two ZCA whitenings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from ddbench.data.dataset import Dataset
from ddbench.data.whitening import RegularizedZCA, typical
from ddbench.errors import UserError, suggestion
from ddbench.io.atomic import canonical_json, digest

if TYPE_CHECKING:
    from kornia.enhance import ZCAWhitening

Channels = tuple[float, ...]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

PINNED: dict[str, tuple[Channels, Channels]] = {
    # The constants of the DC and MTT repositories, which apply CIFAR-10's to CIFAR-100; that has its own here. The
    # deviations of CIFAR-10, CIFAR-100 and SVHN are means of the images' own; `standardize` has those of all pixels.
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2861,), (0.3530,)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "tiny_imagenet": _IMAGENET,
    "imagenette": _IMAGENET,
    "imagenette64": _IMAGENET,
    "imagenette128": _IMAGENET,
    # Measured on the train split.
    "usps": ((0.2545,), (0.3846,)),
    "digits": ((0.3058,), (0.3764,)),
}


def channel_statistics(dataset: Dataset) -> tuple[Channels, Channels]:
    """Return mean and standard deviation, C numbers each: pinned for known data sets, else from the train split."""
    pinned = PINNED.get(dataset.name)
    # A user's file may have a known name and still have other channels.
    if pinned is not None and len(pinned[0]) == dataset.shape[0]:
        return pinned
    return measure(dataset)


def measure(dataset: Dataset) -> tuple[Channels, Channels]:
    """Measure the train split to four decimals; a constant channel gets deviation 1, so that it stays finite."""
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(dataset.shape[0]):
        # Over a histogram, so that the sum is the same on every machine and no float copy of the data is made.
        pixels = dataset.train_images[:, channel].cpu().numpy()
        share = np.bincount(pixels.ravel(), minlength=256) / pixels.size
        mean = float(share @ values)
        means.append(round(mean, 4))
        deviations.append(round(float(share @ (values - mean) ** 2) ** 0.5, 4) or 1.0)
    return tuple(means), tuple(deviations)


Kind = Literal["normalize", "standardize", "zca", "regularized_zca"]
KINDS: tuple[str, ...] = get_args(Kind)
ZCA_EPS = 0.1
WHITENING = ("zca", "regularized_zca")
SMALLEST, LARGEST = 1e-4, 1e4
"""bounds for the magnitude of a description's numbers: pixels lie in [0, 1], statistics have four decimals"""
MOST_WHITENED = 2**14
"""largest number of values of an image to whiten, 73 x 73 pixels in colour; the matrix has its square, 1 GiB"""


@dataclass(frozen=True)
class Preprocessing:
    """A preprocessing that is not fitted yet; `fit` turns it into a `Transform` of images.

    Attributes:
        kind: `normalize` by the constants of the field's repositories; `standardize` by mean and deviation of all
            pixels of the train split, as Wang et al. 2018; `zca`, whitening fitted on the train split's pixels in
            [0, 1], as in the code of Cazenavette et al. 2022; or `regularized_zca`, that of images which are each
            centred and of length 1, as for kernel inducing points and RaT-BPTT. Published figures depend on it.
        mean: C numbers, for pixels scaled to [0, 1]; 0 for `zca`. For `regularized_zca` an average image's, with which
            images are shown alone.
        std: C numbers, none 0; 1 for `zca`. For `regularized_zca` an average image's length, likewise.
        eps: number that `zca` adds to every eigenvalue of the covariance, and share of the mean eigenvalue that
            `regularized_zca` adds; 0 without whitening.
    """

    kind: Kind
    mean: tuple[float, ...]
    std: tuple[float, ...]
    eps: float = 0.0

    @classmethod
    def for_dataset(cls, dataset: Dataset, kind: str = "normalize") -> Preprocessing:
        """Return the preprocessing of this kind with the data set's statistics.

        Raises:
            UserError: when the kind is unknown.
        """
        kind, channels = _checked_kind(kind), dataset.shape[0]
        if kind == "zca":
            return cls(kind, (0.0,) * channels, (1.0,) * channels, ZCA_EPS)
        if kind == "regularized_zca":
            mean, length = typical(dataset)
            return cls(kind, (mean,) * channels, (length,) * channels, ZCA_EPS)
        return cls(kind, *(channel_statistics(dataset) if kind == "normalize" else measure(dataset)))

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Preprocessing:
        """Make a preprocessing from the output of `Transform.describe`, without checking its checksum.

        Raises:
            UserError: when the kind is unknown or a number is missing or out of range.
        """
        if not isinstance(description, Mapping):
            raise UserError(f"preprocessing is {description!r}; give its kind, mean and std")
        kind = _checked_kind(description.get("kind"))
        mean, std = _numbers(description, "mean"), _numbers(description, "std")
        if len(mean) != len(std) or min(std) < SMALLEST:
            raise UserError(f"preprocessing has mean {mean} and std {std}; give as many of each, std above 0")
        eps = description.get("eps", 0.0)
        if not _is_number(eps) or eps < 0 or (kind in WHITENING and eps < SMALLEST):
            raise UserError(f"preprocessing {kind!r} has eps {eps!r}; give a number above 0, as {ZCA_EPS}")
        return cls(kind, mean, std, float(eps))

    @property
    def whitens(self) -> bool:
        """True where the transform follows from the images of a data set."""
        return self.kind in WHITENING

    def without_data(self) -> Transform:
        """Return the transform of a preprocessing that does not whiten, for which its numbers are enough."""
        assert not self.whitens
        return Transform(self, _checksum(self, None), None)

    def fit(self, dataset: Dataset) -> Transform:
        """Fit to the train split, on its device; ZCA needs (C*H*W) squared float32 numbers.

        Raises:
            UserError: when the data set has another number of channels, or images too large to whiten.
        """
        if len(self.mean) != dataset.shape[0]:
            raise UserError(
                f"preprocessing is for {len(self.mean)} channels, data set {dataset.name!r} has {dataset.shape[0]}; "
                f"use Preprocessing.for_dataset with it"
            )
        if not self.whitens:
            return self.without_data()
        if math.prod(dataset.shape) > MOST_WHITENED:
            raise UserError(
                f"images of {dataset.name!r} are too large for {self.kind!r}, {dataset.shape}; use 'normalize'"
            )
        from ddbench.data.kept_whitening import fitted_regularized_zca, fitted_zca  # kornia takes a second

        images, checksum = dataset.train_images, _checksum(self, dataset.digest)
        if self.kind == "regularized_zca":
            return Transform(self, checksum, fitted_regularized_zca(images, self.eps, checksum))
        scaled = partial(normalize, mean=self.mean, std=self.std)
        return Transform(self, checksum, fitted_zca(images, scaled, self.eps, checksum))


class Transform:
    """A fitted preprocessing: a function of uint8 images that can be undone."""

    def __init__(
        self, preprocessing: Preprocessing, checksum: str, whitening: ZCAWhitening | RegularizedZCA | None
    ) -> None:
        self.preprocessing = preprocessing
        self.checksum = checksum
        self._whitening = whitening

    def __call__(self, images: Tensor) -> Tensor:
        """Transform (N, C, H, W) uint8 to (N, C, H, W) float32 on the same device, never aliasing the input."""
        if self.preprocessing.kind == "regularized_zca":  # which has no scale of its own
            return self._whitening_on(images.device)(images.to(torch.float32))
        normal = normalize(images, self.preprocessing.mean, self.preprocessing.std)
        return normal if self._whitening is None else self._whitening_on(images.device)(normal)

    def of_pixels(self, images: Tensor) -> Tensor:
        """Transform (N, C, H, W) float in [0, 1], as `__call__` does 255 times these; gradients pass through."""
        if self.preprocessing.kind == "regularized_zca":
            return self._whitening_on(images.device)(images)
        mean, std = _per_channel(self.preprocessing.mean, images), _per_channel(self.preprocessing.std, images)
        normal = (images - mean) / std
        return normal if self._whitening is None else self._whitening_on(images.device)(normal)

    def inverse(self, images: Tensor) -> Tensor:
        """Turn (N, C, H, W) float as a network sees it back into pixels, in [0, 1] for images of the data set.

        What `regularized_zca` makes of an image tells neither its brightness nor its contrast: those are average ones.
        """
        if self._whitening is not None:
            images = self._whitening_on(images.device).inverse_transform(images)
        mean, std = _per_channel(self.preprocessing.mean, images), _per_channel(self.preprocessing.std, images)
        return images * std + mean

    def describe(self) -> dict[str, Any]:
        """Return what an artefact stores, ready for JSON: kind, mean, std, eps and checksum.

        The checksum covers what the transform was fitted from (for ZCA the data set's digest too), not the whitening
        matrix, whose last bits depend on the machine.
        """
        values = asdict(self.preprocessing)
        return {**values, "mean": list(values["mean"]), "std": list(values["std"]), "checksum": self.checksum}

    def _whitening_on(self, device: torch.device) -> ZCAWhitening | RegularizedZCA:
        assert self._whitening is not None
        return self._whitening.to(device)


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Normalise (N, C, H, W) uint8 to float32: scaled to [0, 1], minus mean, over std."""
    scaled = images.to(torch.float32, copy=True).div_(255)
    return scaled.sub_(_per_channel(mean, scaled)).div_(_per_channel(std, scaled))


def _per_channel(values: tuple[float, ...], images: Tensor) -> Tensor:
    return torch.tensor(values, dtype=images.dtype).to(images.device, non_blocking=True).view(1, -1, 1, 1)


def _checksum(preprocessing: Preprocessing, fitted_on: str | None) -> str:
    return digest(canonical_json([asdict(preprocessing), fitted_on]))[: len("sha256:") + 16]


def _checked_kind(kind: object) -> Kind:
    if kind not in KINDS:
        raise UserError(f"unknown preprocessing {kind!r}; {suggestion(str(kind), KINDS)}")
    return cast(Kind, kind)


def _numbers(description: Mapping[str, Any], field: str) -> tuple[float, ...]:
    values = description.get(field)
    if not isinstance(values, list | tuple) or not values or not all(map(_is_number, values)):
        raise UserError(f"preprocessing has {field} {values!r}; give a list of one finite number a channel")
    return tuple(map(float, values))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
