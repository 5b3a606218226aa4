"""How many images go through a network at once where nothing needs them together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ddbench.compiling import Weights

PIXELS = {"cpu": 32 * 32 * 32, "cuda": 2048 * 32 * 32}
"""of a chunk; on a CPU, what stays in the cache"""


def chunk_size(images: Tensor) -> int:
    """Images of (N, C, H, W) that go through a network at once.

    As many as the device takes well, or somewhat fewer where that divides N: each size is compiled once.
    """
    most = max(1, PIXELS[images.device.type] // images[0, 0].numel())
    if len(images) <= most:
        return len(images)
    return next((size for size in range(most, most // 2, -1) if len(images) % size == 0), most)


def chunked(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """`function` of images (N, C, H, W), chunk by chunk and without gradients, (N, ...)."""
    with torch.no_grad():
        return torch.cat([function(chunk) for chunk in images.split(chunk_size(images))])


def chunked_gradient(
    gradient: Callable[[Weights, Tensor, Tensor], tuple[Weights, Tensor]],
    weights: Weights,
    images: Tensor,
    labels: Tensor,
) -> tuple[Weights, Tensor]:
    """Gradient and value of a loss that is a mean over images (N, C, H, W), chunk by chunk.

    Args:
        gradient: of the mean loss, as `Compiler.gradient` makes it
        labels: (N, ...)
    """
    size = chunk_size(images)
    if size == len(images):
        return gradient(weights, images, labels)
    total = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in weights.items()}
    value = images.new_zeros(())
    for part, part_labels in zip(images.split(size), labels.split(size), strict=True):
        slope, loss = gradient(weights, part, part_labels)
        share = len(part) / len(images)
        torch._foreach_add_(list(total.values()), [slope[name] for name in total], alpha=share)
        value = value + share * loss
    return total, value
