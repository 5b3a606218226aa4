"""How many images go through a network at once where nothing needs them together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CHUNKS = {"cpu": 32, "cuda": 2048}
"""on a CPU what stays in the cache: ConvNet-3 forward, 32 wide, ran 1.6 times faster than in batches of 512"""


def chunked(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """`function` of images (N, C, H, W), chunk by chunk and without gradients, (N, ...)."""
    with torch.no_grad():
        return torch.cat([function(chunk) for chunk in images.split(CHUNKS[images.device.type])])
