"""Images that small shared networks make of stored bases.

Liu et al., "Dataset Distillation via Factorization", NeurIPS 2022, arXiv 2210.16774 (HaBa).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ddbench.decoders.base import Draw, check_divides, class_labels, register_decoder, resize
from ddbench.errors import UserError

KERNEL = 3


@register_decoder
@dataclass(frozen=True)
class Hallucinators:
    """Every basis goes through every hallucinator: a convolution, a scale and a shift for each position, and back.

    The hallucinators are stored first, and then as many bases of each class as fit.

    `parts`: `bases` (N, C, H / scale, W / scale), their `labels`, and of all J hallucinators of D channels `into`
    (J * D, C, 3, 3) and `into_bias`, `scales` and `shifts` (J * D, H / scale - 2, W / scale - 2), `back`
    (J * D, C, 3, 3) and `back_bias` (J * C).
    """

    name: ClassVar[str] = "hallucinators"
    needs: ClassVar[tuple[str, ...]] = (
        "bases", "into", "into_bias", "scales", "shifts", "back", "back_bias", "labels",
    )  # fmt: skip
    fresh: ClassVar[bool] = False

    count: int = 5
    """number of hallucinators J; each makes one image of each basis"""
    channels: int = 3
    """number of channels D between the two convolutions"""
    scale: int = 1
    """factor by which bases are smaller than images, which are enlarged bilinearly"""

    def start(
        self, draw: Draw, shape: tuple[int, int, int], classes: int, ipc: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        colours, height, width = shape
        check_divides("scale", self.scale, "hallucinators", height, width)
        down, right = height // self.scale, width // self.scale
        inner, maps = self.count * self.channels, (down - KERNEL + 1, right - KERNEL + 1)
        shapes = {
            "into": (inner, colours, KERNEL, KERNEL),
            "into_bias": (inner,),
            "back": (inner, colours, KERNEL, KERNEL),
            "back_bias": (self.count * colours,),
        }
        own = 2 * inner * maps[0] * maps[1] + sum(torch.Size(shape).numel() for shape in shapes.values())
        each = (classes * ipc * colours * height * width - own) // (classes * colours * down * right)
        if each < 1 or min(maps) < 1:
            raise UserError(
                f"hallucinators with count {self.count} and channels {self.channels} leave no room for a basis of each "
                f"class at ipc {ipc}; choose less of one, or another scale than {self.scale}"
            )
        bases = resize(draw(each), down, right)
        bound = 1 / (colours**0.5 * KERNEL)  # PyTorch's default for both kinds of convolution
        return {
            "bases": bases,
            **{
                name: bound * (2 * torch.rand(shape, generator=generator, device=bases.device) - 1)
                for name, shape in shapes.items()
            },
            "scales": bases.new_ones(inner, *maps),
            "shifts": bases.new_zeros(inner, *maps),
            "labels": class_labels(bases, classes),
        }

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        inner = F.conv2d(parts["bases"], parts["into"], parts["into_bias"]) * parts["scales"] + parts["shifts"]
        small = F.conv_transpose2d(inner, parts["back"], parts["back_bias"], groups=self.count)  # (N, J * C, h, w)
        small = small.unflatten(1, (self.count, -1)).flatten(0, 1)
        images = resize(small, small.shape[2] * self.scale, small.shape[3] * self.scale)
        return images, parts["labels"].repeat_interleave(self.count, 0)
