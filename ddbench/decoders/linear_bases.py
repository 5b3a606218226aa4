"""Images as linear combinations of shared basis images.

Deng & Russakovsky, "Remember the Past: Distilling Datasets into Addressable Memories for Neural Networks", NeurIPS
2022, arXiv 2206.02916.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ddbench.compute import host
from ddbench.decoders.base import Draw, check_divides, class_labels, register_decoder, resize
from ddbench.errors import UserError

TINY = 1e-6


@register_decoder
@dataclass(frozen=True)
class LinearBases:
    """Every image is a linear combination of the same bases; its class is in its coefficients and its label.

    The storage that the bases leave is spent on coefficients, of up to `images` images of each class. The rest is not
    used: take more bases where `ipc` is large. The start is the best approximation of the starting images in the
    Euclidean norm, by singular value decomposition.

    `parts`: `bases` (B, C, H / scale, W / scale), `coefficients` (N, B), `labels` (N,) or (N, K).
    """

    name: ClassVar[str] = "linear_bases"
    needs: ClassVar[tuple[str, ...]] = ("bases", "coefficients", "labels")
    fresh: ClassVar[bool] = False

    bases: int = 16
    """number of bases B"""
    scale: int = 2
    """factor by which bases are smaller than images; they are enlarged bilinearly"""
    images: int = 100
    """largest number of images of a class"""

    def start(
        self, draw: Draw, shape: tuple[int, int, int], classes: int, ipc: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        channels, height, width = shape
        check_divides("scale", self.scale, "linear_bases", height, width)
        numbers = channels * height * width
        place = numbers // self.scale**2
        spare = classes * ipc * numbers - self.bases * place
        count = min(self.images, max(spare, 0) // (classes * self.bases))
        if self.bases > min(place, classes * count):
            raise UserError(
                f"{self.bases} bases of linear_bases are more than the {place} numbers of one, or than the "
                f"{classes * count} images of all classes that ipc {ipc} has room for; choose fewer"
            )
        small = resize(draw(count), height // self.scale, width // self.scale)
        left, strengths, right = torch.linalg.svd(small.flatten(1), full_matrices=False)
        kept = strengths[: self.bases].sqrt()
        coefficients, bases = left[:, : self.bases] * kept, right[: self.bases] * kept[:, None]
        # Where a basis and its coefficients are all 0, neither has a gradient.
        idle = int(host.read(kept <= TINY * kept[0], "unused bases").sum())  # the last ones: strengths descend
        if idle:
            coefficients[:, -idle:] = torch.randn(len(small), idle, generator=generator, device=small.device)
        return {
            "bases": bases.reshape(-1, *small.shape[1:]),
            "coefficients": coefficients,
            "labels": class_labels(small, classes),
        }

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        small = torch.einsum("nb,bchw->nchw", parts["coefficients"], parts["bases"])
        height, width = small.shape[2] * self.scale, small.shape[3] * self.scale
        return resize(small, height, width), parts["labels"]
