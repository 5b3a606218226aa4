"""The neural tangent kernel of fully connected and of convolutional networks, exactly, layer by layer.

Jacot, Gabriel & Hongler, "Neural Tangent Kernel", NeurIPS 2018, arXiv 1806.07572; for convolutions Arora et al., "On
Exact Computation with an Infinitely Wide Neural Net", NeurIPS 2019, arXiv 1904.11955.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ddbench.errors import UserError
from ddbench.families.kernels.arc_cosine import rectified
from ddbench.families.kernels.positions import EQUAL, PAIRS, diagonal, local_means, pooled
from ddbench.families.kernels.recomputing import recomputed

Layer = Literal["dense", "convolution", "relu", "pool", "flatten"]
NUMBERS = {"cpu": 2**20, "cuda": 2**26, "mps": 2**24}
"""largest number of values of a block of pairs, by the type of device; `meta` stands for a GPU"""


@dataclass(frozen=True)
class TangentKernel:
    """The kernel of gradient descent on an infinitely wide network with ReLUs, all of whose parameters are trained.

    It is differentiable in both arguments and computed in their precision. Pairs of images are taken in blocks; where
    there are several, gradients compute each of them again, so that memory does not grow with the number of pairs.

    Args:
        layers: of the network. `convolution` is 3 x 3 with zeros around the image, `pool` the mean over 2 x 2;
            `flatten` stands between them and the dense layers
        weight: variance of a weight, times the number of inputs of its neuron
        bias: variance of a bias
    """

    layers: tuple[Layer, ...]
    weight: float = 2.0
    bias: float = 0.01

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the kernel, (N, M), of images (N, C, H, W) and (M, C, H, W).

        Raises:
            UserError: for images that are too small to be pooled as often as the network does.
        """
        self._check_size(first.shape[-2:])
        most = self.pairs(first)
        columns = min(len(second), most)
        rows = min(len(first), max(1, most // columns))
        compute = _once if (rows, columns) == (len(first), len(second)) else recomputed
        others = [(chunk, compute(self._deviations, chunk)) for chunk in second.split(columns)]
        found = []
        for chunk in first.split(rows):
            own = compute(self._deviations, chunk)
            found.append(
                torch.cat([compute(self._tangent, chunk, other, *own, *theirs)[0] for other, theirs in others], 1)
            )
        return torch.cat(found)

    def pairs(self, images: Tensor) -> int:
        """Return the largest number of pairs of images, (N, C, H, W), in a block."""
        values = 1 if self.layers[0] == "dense" else math.prod(images.shape[-2:]) ** (2 if self._mixes else 1)
        return max(1, NUMBERS.get(images.device.type, NUMBERS["cuda"]) // values)

    @property
    def _mixes(self) -> bool:
        """True if outputs depend on covariances between different positions of images."""
        return "pool" in self.layers

    def _check_size(self, sides: torch.Size) -> None:
        halvings = self.layers.count("pool")
        if min(sides) < 2**halvings:
            raise UserError(
                f"the kernel halves images {halvings} times, and these are {sides[0]} x {sides[1]}; take one without "
                "pooling, such as fc"
            )

    def _tangent(self, first: Tensor, second: Tensor, *deviations: Tensor) -> tuple[Tensor]:
        """Return the kernel, (n, m), of a block.

        Args:
            deviations: `_deviations` of the first images, then of the second
        """
        covariance = self._weighted(self.layers[0], self._inputs(first, second, "nm")) + self.bias
        half = len(deviations) // 2
        tangent, rectifications = covariance, iter(zip(deviations[:half], deviations[half:], strict=True))
        for layer in self.layers[1:]:
            if layer == "relu":
                one, other = next(rectifications)
                covariance, slope = rectified(covariance, _products(one[:, None], other[None], covariance))
                tangent = slope * tangent
            elif layer in ("dense", "convolution"):
                covariance = self._weighted(layer, covariance) + self.bias
                tangent = covariance + self._weighted(layer, tangent)
            else:
                covariance, tangent = self._averaged(layer, covariance), self._averaged(layer, tangent)
        return (tangent,)

    def _deviations(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return standard deviations of the inputs of each ReLU, (n,) or (n, h, w), for images (n, C, H, W)."""
        covariance, found = self._inputs(images, images, "n"), list[Tensor]()
        for layer in self.layers:
            if layer == "relu":
                variance = diagonal(covariance) if covariance.ndim == 5 else covariance
                found.append(variance.sqrt())
                covariance, _ = rectified(covariance, _products(found[-1], found[-1], covariance))
            elif layer in ("dense", "convolution"):
                covariance = self._weighted(layer, covariance) + self.bias
            else:
                covariance = self._averaged(layer, covariance)
        return tuple(found)

    def _inputs(self, first: Tensor, second: Tensor, pair: str) -> Tensor:
        """Return mean products of the values of images, (n, C, H, W) and (m, C, H, W), over channels or over all.

        Args:
            pair: `nm` for every image with every other one, `n` for each with its counterpart
        """
        one, other = pair[0], pair[-1]
        if self.layers[0] == "dense":
            x, y = first.flatten(1), second.flatten(1)
            return (x @ y.T if pair == "nm" else torch.einsum("nd,nd->n", x, y)) / x.shape[1]
        positions = f"{other}cij,{one}chw->{pair}hwij" if self._mixes else f"{other}chw,{one}chw->{pair}hw"
        return torch.einsum(positions, second, first) / first.shape[1]

    def _weighted(self, layer: Layer, covariance: Tensor) -> Tensor:
        if layer == "convolution":
            covariance = local_means(covariance, PAIRS if self._mixes else EQUAL)
        return self.weight * covariance

    def _averaged(self, layer: Layer, covariance: Tensor) -> Tensor:
        if layer == "pool":
            return pooled(covariance)
        return (diagonal(covariance) if self._mixes else covariance).mean((-2, -1))


def _products(one: Tensor, other: Tensor, covariance: Tensor) -> Tensor:
    """Return products of deviations, (..., h, w) each, at the positions between which there are covariances."""
    if one.ndim == covariance.ndim:
        return one * other
    return one[..., :, :, None, None] * other[..., None, None, :, :]


def _once(function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    return function(*tensors)
