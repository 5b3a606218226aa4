"""Loading of an artefact as a PyTorch data set."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.compute.generators import seeded


class DistilledImages(Dataset[tuple[Tensor, Tensor]]):
    """Images (C, H, W) float32, preprocessed as `preprocessing` says, and labels: classes, or probabilities (K,).

    Args:
        artifact: artefact to decode
        seed: seed for a decoder that gives new images each time

    Attributes:
        images: (M, C, H, W)
        labels: (M,) int64 or (M, K) float32
        recipe: step sizes, order, epochs and momentum, where the method learned them
        initial: initial weights that the images were learned for, where they are fixed
        preprocessing: kind, mean, std and eps of the preprocessing that a network's test images need, too
        provenance: all of the file's description of itself
    """

    def __init__(self, artifact: DistilledDataset, seed: int = 0) -> None:
        self._artifact, self._generator = artifact, seeded(seed)
        self.recipe: Recipe = artifact.recipe
        self.initial = artifact.initial
        self.provenance = dict(artifact.provenance)
        self.preprocessing = self.provenance.get("preprocessing")
        self.images, self.labels = self._decoded(0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __repr__(self) -> str:
        return repr(self._artifact)

    def _repr_png_(self) -> bytes:
        """Show the images in a notebook."""
        return self._artifact._repr_png_()

    def begin_epoch(self, epoch: int) -> None:
        """Decode again if the decoder gives new images every epoch; otherwise do nothing."""
        if self._artifact.decoder.fresh:
            self.images, self.labels = self._decoded(epoch)

    def _decoded(self, epoch: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            images, labels = self._artifact.decode(epoch, self._generator)
        return images, labels.softmax(1) if self._artifact.label_kind == "logits" else labels


def load(file: str | os.PathLike[str], seed: int = 0) -> DistilledImages:
    """Load an artefact's images and labels, with its learned training settings.

    >>> for images, labels in DataLoader(ddbench.load("mnist.safetensors"), 256, shuffle=True):  # doctest: +SKIP
    ...     optimizer.zero_grad()
    ...     F.cross_entropy(network(images), labels).backward()
    ...     optimizer.step()

    Raises:
        UserError: when the file is missing, truncated, no artefact, or of another format version.
    """
    return DistilledImages(DistilledDataset.load(Path(file)), seed)
