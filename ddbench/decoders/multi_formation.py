"""Several small images in the storage of one.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022, arXiv 2205.14959 (IDC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ddbench.decoders.base import Draw, check_divides, class_labels, register_decoder


@register_decoder
@dataclass(frozen=True)
class MultiFormation:
    """Each stored image is factor x factor tiles, and each tile, enlarged bilinearly, an image to train on.

    `parts`: `tiles` (N, factor * factor, C, H / factor, W / factor), and `labels`, one for all tiles of an image.
    """

    name: ClassVar[str] = "multi_formation"
    needs: ClassVar[tuple[str, ...]] = ("tiles", "labels")
    fresh: ClassVar[bool] = False

    factor: int = 2
    """tiles along each side of a stored image"""

    def start(
        self, draw: Draw, shape: tuple[int, int, int], classes: int, ipc: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        images = draw(ipc * self.factor**2)  # (K * ipc * factor^2, C, H, W)
        height, width = images.shape[2:]
        check_divides("factor", self.factor, "multi_formation", height, width)
        tiles = resize(images, height // self.factor, width // self.factor)
        tiles = tiles.unflatten(0, (-1, self.factor**2))
        return {"tiles": tiles, "labels": class_labels(tiles, classes)}

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        tiles = parts["tiles"]
        height, width = tiles.shape[3] * self.factor, tiles.shape[4] * self.factor
        return resize(tiles.flatten(0, 1), height, width), parts["labels"].repeat_interleave(self.factor**2, 0)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) -> (N, C, height, width), bilinear, corners not aligned; averaged over what a pixel covers when
    it shrinks by a whole factor."""
    if images.shape[2] % height == 0 and images.shape[3] % width == 0:
        return F.adaptive_avg_pool2d(images, (height, width))
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False)
