"""The preprocessing of an artefact, done and undone by whoever has its file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.provenance import data_of
from ddbench.artifacts.recipe import kind_of
from ddbench.data import Dataset, Preprocessing, Transform
from ddbench.decoders import decoded_shapes
from ddbench.errors import UserError, printable

BEYOND = 1.0
"""how far resized pixels may lie outside [0, 1]; pixels in 0..255 lie further"""


class ArtifactTransform:
    """The preprocessing that an artefact's header describes, as a function of pixels that can be undone.

    Normalisation needs the file alone. A whitening matrix follows from the data set, and may be larger than the
    artefact: it is not stored, but fitted when it is first used, to the data set that the header names.

    Args:
        file: where the artefact lies, for messages
        data: the artefact's data set, checked; None looks for it by its name where it is needed

    Raises:
        UserError: when the header does not say what its images went through.
    """

    def __init__(self, artifact: DistilledDataset, file: object, data: Dataset | None = None) -> None:
        self._artifact, self._file, self._data = artifact, file, data
        described = artifact.provenance.get("preprocessing")
        if described is None:
            raise UserError(f"{file} does not say its preprocessing; write it with `ddbench distill`")
        self.preprocessing = Preprocessing.from_description(described)
        self._shape = tuple(decoded_shapes(artifact.decoder, artifact.parts)[0].shape[1:])

    def __call__(self, images: Tensor) -> Tensor:
        """Turn pixels, uint8 or floating point in [0, 1], into float32 images as networks are trained on.

        Args:
            images: (N, C, H, W), or one image, (C, H, W)

        Raises:
            UserError: when they have another type, range or shape, or whitening needs a data set that is not here.
        """
        self._check(images)
        if images.is_floating_point():
            _check_range(images)
            images = 255 * images.float()
        elif images.dtype != torch.uint8:
            raise UserError(f"images are {kind_of(images)}; give uint8, or floating point in [0, 1]")
        return _in_batch(self._fitted, images)

    def inverse(self, images: Tensor) -> Tensor:
        """Turn images as networks see them back into pixels in [0, 1]; what lies beyond black and white is cut off.

        Args:
            images: (N, C, H, W), or one image, (C, H, W), in floating point

        Raises:
            UserError: as for a call.
        """
        self._check(images)
        return _in_batch(self._fitted.inverse, images.float()).clamp(0, 1)

    def __repr__(self) -> str:
        said = self.preprocessing
        if said.whitens:
            data = self._artifact.provenance.get("dataset")
            return printable(f"{said.kind} with eps {said.eps:g}, fitted to {data!r} at first use")
        return f"{said.kind} with mean {said.mean} and deviation {said.std}"

    @cached_property
    def _fitted(self) -> Transform:
        said, provenance = self.preprocessing, self._artifact.provenance
        fitted = said.fit(self._found().split(provenance["dataset_digest"])) if said.whitens else said.without_data()
        written: dict[str, Any] = provenance["preprocessing"]
        if written.get("checksum", fitted.checksum) != fitted.checksum:
            raise UserError(
                f"{self._file} says that its preprocessing has checksum {written['checksum']!r}, and it has "
                f"{fitted.checksum}; write it again with `ddbench distill`"
            )
        return fitted

    def _found(self) -> Dataset:
        if self._data is not None:
            return self._data
        try:
            return data_of(self._artifact, self._file)
        except UserError as error:
            raise UserError(
                f"preprocessing {self.preprocessing.kind!r} needs the data set that it was fitted to: {error}"
            ) from error

    def _check(self, images: Tensor) -> None:
        if not isinstance(images, Tensor) or images.ndim not in (3, 4):
            given = kind_of(images) if isinstance(images, Tensor) else type(images).__name__
            raise UserError(f"images are {given}; give a tensor (N, C, H, W), or (C, H, W) for a single image")
        fits = images.shape[-3:] == self._shape if self.preprocessing.whitens else images.shape[-3] == self._shape[0]
        if not fits or self._shape[0] != len(self.preprocessing.mean):
            raise UserError(
                f"images are {tuple(images.shape[-3:])}, and those of {self._file} are {self._shape}, with "
                f"preprocessing of {len(self.preprocessing.mean)} channels; give images of that size"
            )


def _check_range(images: Tensor) -> None:
    if images.numel() == 0:
        return
    low, high = float(images.min()), float(images.max())
    if not (low >= -BEYOND and high <= 1 + BEYOND):
        raise UserError(
            f"images reach from {low:g} to {high:g}, and pixels in floating point lie in [0, 1]; divide by 255, or "
            "give uint8"
        )


def _in_batch(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return function(images) if images.ndim == 4 else function(images[None])[0]
