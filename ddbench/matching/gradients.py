"""How far two gradients of one network are apart."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

EPSILON = 1e-6


def layerwise_cosine(real: Mapping[str, Tensor], synthetic: Mapping[str, Tensor]) -> Tensor:
    """Sum over layers and output units of 1 - cosine; a scalar. Zhao et al., ICLR 2021, equation 10.

    A convolution's gradient (out, in, k, k) is compared unit by unit as (out, in * k * k), a linear layer's as
    (out, in). One-dimensional parameters, biases and normalisation, do not count, as in the authors' code.
    """
    distances = [_one_minus_cosine(real[name], synthetic[name]) for name in real if real[name].ndim > 1]
    total = distances[0]
    for distance in distances[1:]:
        total = total + distance
    return total


def _one_minus_cosine(real: Tensor, synthetic: Tensor) -> Tensor:
    a, b = real.flatten(1), synthetic.flatten(1)
    cosine: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + EPSILON)
    return (1 - cosine).sum()
