"""What every decoder offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor


class Decoder(Protocol):
    needs: ClassVar[tuple[str, ...]]
    """names of the parts that `decode` reads"""
    fresh: ClassVar[bool]
    """whether `decode` depends on the epoch or the generator; if not, it is called once a training"""

    @staticmethod
    def decode(parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Images, (M, C, H, W) float32 in preprocessed space, and labels, (M,) int64 or (M, K) float32."""
        ...
