"""Images stored as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ddbench.registry import DECODERS


@DECODERS.register("pixels")
class Pixels:
    """`parts`: `images` (N, C, H, W) and `labels` (N,) or (N, K), handed out unchanged."""

    needs: ClassVar[tuple[str, ...]] = ("images", "labels")
    fresh: ClassVar[bool] = False

    @staticmethod
    def decode(parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        return parts["images"], parts["labels"]
