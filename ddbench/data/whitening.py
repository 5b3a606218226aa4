"""Regularised ZCA whitening of images that are each centred and scaled to unit length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.compute.device import with_float64

if TYPE_CHECKING:
    from ddbench.data.dataset import Dataset

CHUNK = 4096
"""images taken at a time, so that no float copy of a large set is made"""
TINY = 1e-6
"""length of an image around its mean, relative to its own length, below which it is constant but for rounding"""


class RegularizedZCA:
    """The whitening of kernel inducing points and of RaT-BPTT: (C + share * tr(C) / D * I) ** -1/2 on unit images.

    C is the second moment of the training images, each minus its own mean and scaled to Euclidean length 1. Shankar et
    al., "Neural Kernels Without Tangents", ICML 2020, arXiv 2003.02237; Nguyen, Chen & Lee, "Dataset Meta-Learning from
    Kernel Ridge-Regression", ICLR 2021, arXiv 2011.00050.

    Args:
        share: of the mean eigenvalue, which is added to every eigenvalue
        matrix, inverse: of one that was fitted, (D, D)
    """

    def __init__(self, share: float, matrix: Tensor | None = None, inverse: Tensor | None = None) -> None:
        self._share = share
        self.matrix = torch.empty(0, 0) if matrix is None else matrix
        self.inverse = torch.empty(0, 0) if inverse is None else inverse

    def fit(self, images: Tensor) -> RegularizedZCA:
        """Fit to images (N, C, H, W) uint8."""
        size = images[0].numel()
        exact = with_float64(images.device)
        moment = torch.zeros(size, size, dtype=torch.float64, device=exact)
        for chunk in images.split(CHUNK):
            units = unit_images(chunk.float()).flatten(1)
            moment += (units.T @ units).to(exact).double()
        values, vectors = torch.linalg.eigh(moment / len(images))
        roots = (values.clamp(min=0) + self._share * values.mean()).sqrt().clamp(min=TINY)
        self.matrix = (vectors / roots @ vectors.T).float().to(images.device)
        self.inverse = (vectors * roots @ vectors.T).float().to(images.device)
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Whiten (N, C, H, W) float of any scale."""
        return (unit_images(images).flatten(1) @ self.matrix).view_as(images)

    def inverse_transform(self, images: Tensor) -> Tensor:
        """Return the centred images of unit length that are whitened to these, (N, C, H, W)."""
        return (images.flatten(1) @ self.inverse).view_as(images)

    def to(self, device: torch.device) -> RegularizedZCA:
        self.matrix, self.inverse = self.matrix.to(device), self.inverse.to(device)
        return self


def unit_images(images: Tensor) -> Tensor:
    """Subtract from each of the images, (N, C, H, W), its mean over all values, and scale it to Euclidean length 1.

    Constant images become 0.
    """
    centred = images - images.mean((1, 2, 3), keepdim=True)
    lengths, whole = (flat.flatten(1).norm(dim=1)[:, None, None, None] for flat in (centred, images))
    varied = lengths > TINY * whole
    units: Tensor = torch.where(varied, centred / torch.where(varied, lengths, 1.0), 0.0)  # gradients are finite, too
    return units


def typical(dataset: Dataset) -> tuple[float, float]:
    """Return the mean and the length around it that a training image in [0, 1] has on average, to four decimals."""
    means, lengths = [], []
    for chunk in dataset.train_images.split(CHUNK):
        pixels = chunk.cpu().double().flatten(1) / 255
        means.append(pixels.mean(1))
        lengths.append((pixels - pixels.mean(1, keepdim=True)).norm(dim=1))
    return round(float(torch.cat(means).mean()), 4), round(float(torch.cat(lengths).mean()), 4) or 1.0
