"""Several small images in the storage of one.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022, arXiv 2205.14959 (IDC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ddbench.decoders.base import Draw, check_divides, class_labels, register_decoder, resize


@register_decoder
@dataclass(frozen=True)
class MultiFormation:
    """Each stored image has factor x factor tiles, and each tile, enlarged bilinearly, is an image to train on.

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
        _, height, width = shape
        check_divides("factor", self.factor, "multi_formation", height, width)
        images = draw(ipc * self.factor**2)  # (K * ipc * factor^2, C, H, W)
        tiles = resize(images, height // self.factor, width // self.factor)
        tiles = tiles.unflatten(0, (-1, self.factor**2))
        return {"tiles": tiles, "labels": class_labels(tiles, classes)}

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        tiles = parts["tiles"]
        height, width = tiles.shape[3] * self.factor, tiles.shape[4] * self.factor
        return resize(tiles.flatten(0, 1), height, width), parts["labels"].repeat_interleave(self.factor**2, 0)
