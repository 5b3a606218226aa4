"""Images stored as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ddbench.decoders.base import Draw, class_labels, register_decoder


@register_decoder
@dataclass(frozen=True)
class Pixels:
    """Returns its parts unchanged. `parts`: `images` (N, C, H, W) and `labels` (N,) or (N, K)."""

    name: ClassVar[str] = "pixels"
    needs: ClassVar[tuple[str, ...]] = ("images", "labels")
    fresh: ClassVar[bool] = False

    def start(
        self, draw: Draw, shape: tuple[int, int, int], classes: int, ipc: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        images = draw(ipc)
        return {"images": images, "labels": class_labels(images, classes)}

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        return parts["images"], parts["labels"]
