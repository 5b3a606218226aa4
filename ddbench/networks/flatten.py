"""Conversion of a network's weights to one vector and back."""

from __future__ import annotations

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights


def flatten(weights: Weights) -> Tensor:
    """Return all weights in one vector, (P,)."""
    return torch.cat([weight.flatten() for weight in weights.values()])


def unflatten(vector: Tensor, like: Weights) -> Weights:
    """Invert `flatten`: return views into the vector, shaped and named as `like`."""
    parts = vector.split([weight.numel() for weight in like.values()])
    return {name: part.view(weight.shape) for part, (name, weight) in zip(parts, like.items(), strict=True)}
