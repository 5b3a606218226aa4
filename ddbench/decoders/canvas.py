"""Tileable textures: an image is any window of a canvas without borders.

Cazenavette, Wang, Torralba, Efros & Zhu, "Wearable ImageNet: Synthesizing Tileable Textures via Dataset Distillation",
CVPR workshops 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ddbench.decoders.base import Draw, class_labels, register_decoder
from ddbench.errors import UserError


@register_decoder
@dataclass(frozen=True)
class Canvas:
    """Each canvas is a torus, `factor` times an image along each side; every use cuts windows at random positions.

    A canvas takes the storage of factor x factor images, and gives as many windows unless `crops` says otherwise.

    `parts`: `canvases` (N, C, factor * H, factor * W), and `labels`, one for all windows of a canvas.
    """

    name: ClassVar[str] = "canvas"
    needs: ClassVar[tuple[str, ...]] = ("canvases", "labels")
    fresh: ClassVar[bool] = True

    factor: int = 2
    crops: int | None = None
    """windows cut from each canvas at each use; None is factor * factor"""

    def start(
        self, draw: Draw, shape: tuple[int, int, int], classes: int, ipc: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        each = ipc // self.factor**2
        if not each:
            raise UserError(
                f"a canvas of factor {self.factor} takes the storage of {self.factor**2} images and ipc is {ipc}; "
                "choose a smaller factor, 1 at least"
            )
        images = draw(each * self.factor**2)
        rows = images.unflatten(0, (-1, self.factor, self.factor))  # (N, down, right, C, H, W)
        canvases = rows.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return {"canvases": canvases, "labels": class_labels(canvases, classes)}

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        crops = self.crops or self.factor**2
        canvases = parts["canvases"].repeat_interleave(crops, 0)  # (M, C, factor * H, factor * W)
        drawn_on = canvases.device if generator is None else generator.device
        corners = torch.rand(len(canvases), 2, generator=generator, device=drawn_on)
        corners = corners.to(canvases.device, non_blocking=True)
        rows = _window(canvases.shape[2], self.factor, corners[:, 0])
        columns = _window(canvases.shape[3], self.factor, corners[:, 1])
        bands = canvases.gather(2, rows[:, None, :, None].expand(-1, canvases.shape[1], -1, canvases.shape[3]))
        windows = bands.gather(3, columns[:, None, None, :].expand(*bands.shape[:3], -1))
        return windows, parts["labels"].repeat_interleave(crops, 0)

    @staticmethod
    def tiled(parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return each canvas repeated two by two, which shows that it has no seam, and the labels."""
        return parts["canvases"].repeat(1, 1, 2, 2), parts["labels"]


def _window(side: int, factor: int, corners: Tensor) -> Tensor:
    """Return (M, side / factor) positions around the torus, from corners in [0, 1)."""
    start = (corners * side).long().clamp(max=side - 1)
    return (start[:, None] + torch.arange(side // factor, device=corners.device)) % side
