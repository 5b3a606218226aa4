"""Application of a network to a batch in chunks, where its images are independent of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ddbench.compute.compiling import Weights

Result = TypeVar("Result")
NUMBERS = {"cpu": 2**20, "cuda": 2**28, "mps": 2**26}
"""largest number of values in a feature map of a chunk: on a CPU, it then fits into the processor's cache; `meta`
stands for a GPU"""
WHOLE = 10_000
"""images of a chunk for networks that normalise by the statistics of the batch"""


class Chunks:
    """Applies a network to a batch in chunks that suit the device.

    Args:
        network: a network, on the device
        shape: shape (C, H, W) of an image
    """

    def __init__(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        device = next(network.parameters()).device
        self.most = WHOLE
        """largest number of images of a chunk"""
        if not any(isinstance(module, _BatchNorm) for module in network.modules()):
            largest = largest_map(network, torch.zeros(1, *shape, device=device))
            self.most = max(1, NUMBERS.get(device.type, NUMBERS["cuda"]) // largest)

    def size(self, count: int) -> int:
        """Return the size of chunks for `count` images: large, and a divisor of the count if possible.

        Every size is compiled separately, so a smaller last chunk would cost more than it saves.
        """
        if count <= 3 * self.most // 2:
            return count
        return next((size for size in range(self.most, self.most // 2, -1) if count % size == 0), self.most)

    def map(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Apply `function` to images (N, C, H, W), without gradients, (N, ...)."""
        return torch.cat(list(self.each(function, images)))

    def each(self, function: Callable[..., Result], *batches: Tensor) -> Iterator[Result]:
        """Apply `function` to the chunks of batches of equal length, without gradients, and yield each result."""
        size = self.size(len(batches[0]))
        for chunks in zip(*(batch.split(size) for batch in batches), strict=True):
            with torch.no_grad():
                result = function(*chunks)
            yield result

    def gradient(
        self,
        gradient: Callable[[Weights, Tensor, Tensor], tuple[Weights, Tensor]],
        weights: Weights,
        images: Tensor,
        labels: Tensor,
    ) -> tuple[Weights, Tensor]:
        """Return gradient and value of a loss that is a mean over images (N, C, H, W), without history.

        Args:
            gradient: function for the mean loss and its gradient, as `Compiler.gradient` makes it
            labels: labels, (N, ...)
        """
        size = self.size(len(images))
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


def largest_map(network: nn.Module, image: Tensor) -> int:
    """Return the size of the largest tensor that a layer of the network makes of one image, (1, C, H, W)."""
    largest = image.numel()

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return largest
