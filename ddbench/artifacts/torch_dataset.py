"""Loading of an artefact as a PyTorch data set."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ddbench.artifacts.class_names import class_names, numbered_names
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.provenance import data_of
from ddbench.artifacts.recipe import Recipe
from ddbench.artifacts.transform import ArtifactTransform
from ddbench.compute.generators import seeded


class DistilledImages(Dataset[tuple[Tensor, Tensor]]):
    """Images (C, H, W) float32, preprocessed as `preprocessing` says, and labels: classes, or probabilities (K,).

    Args:
        artifact: artefact to decode
        seed: seed for a decoder that gives new images each time
        file: where the artefact lies, for messages
        dataset: where its data set lies; None where its name says, or it is not needed

    Attributes:
        images: (M, C, H, W)
        labels: (M,) int64 or (M, K) float32
        class_names: K names; numbers where the file has none
        recipe: step sizes, order, epochs and momentum, where the method learned them
        initial: initial weights that the images were learned for, where they are fixed
        preprocessing: kind, mean, std and eps of the preprocessing that a network's test images need, too
        provenance: all of the file's description of itself

    Raises:
        UserError: when the class names are none, or `dataset` is not the artefact's.
    """

    def __init__(
        self, artifact: DistilledDataset, seed: int = 0, file: object = "the artefact", dataset: str | None = None
    ) -> None:
        self._artifact, self._generator, self._file = artifact, seeded(seed), file
        self._data = data_of(artifact, file, dataset) if dataset is not None else None
        self.recipe: Recipe = artifact.recipe
        self.initial = artifact.initial
        self.provenance = dict(artifact.provenance)
        self.preprocessing = self.provenance.get("preprocessing")
        self.images, self.labels = self._decoded(0)
        written = class_names(self.provenance, self.labels, file)
        self.class_names = self._data.classes if self._data else written or numbered_names(self.labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __repr__(self) -> str:
        return repr(self._artifact)

    def _repr_html_(self) -> str | None:
        """Show the images in a notebook."""
        return self._artifact._repr_html_()

    @cached_property
    def transform(self) -> ArtifactTransform:
        """What test images have to go through: a function of pixels, uint8 or in [0, 1]."""
        return ArtifactTransform(self._artifact, self._file, self._data)

    def inverse(self, images: Tensor | None = None) -> Tensor:
        """Return the distilled images, or others that networks are to see, as pixels in [0, 1], (M, C, H, W).

        What lies beyond black and white is cut off.
        """
        return self.transform.inverse(self.images if images is None else images)

    def begin_epoch(self, epoch: int) -> None:
        """Decode again if the decoder gives new images every epoch; otherwise do nothing."""
        if self._artifact.decoder.fresh:
            self.images, self.labels = self._decoded(epoch)

    def _decoded(self, epoch: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            images, labels = self._artifact.decode(epoch, self._generator)
        return images, labels.softmax(1) if self._artifact.label_kind == "logits" else labels


def load(file: str | os.PathLike[str], seed: int = 0, dataset: str | None = None) -> DistilledImages:
    """Load an artefact's images and labels, its class names and preprocessing, and its learned training settings.

    The file alone is enough, except to whiten or to undo a whitening: that is fitted to the data set when it is asked
    for.

    >>> for images, labels in DataLoader(ddbench.load("mnist.safetensors"), 256, shuffle=True):  # doctest: +SKIP
    ...     optimizer.zero_grad()
    ...     F.cross_entropy(network(images), labels).backward()
    ...     optimizer.step()

    Args:
        seed: seed for a decoder that gives new images each time
        dataset: where its data set lies; None looks for it by its name where it is needed

    Raises:
        UserError: when the file is missing, truncated, no artefact, or of another format version, or `dataset` is not
            the artefact's.
    """
    return DistilledImages(DistilledDataset.load(Path(file)), seed, file, dataset)
