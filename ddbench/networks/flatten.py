"""A network's weights as one vector."""

from __future__ import annotations

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights


def flatten(weights: Weights) -> Tensor:
    """All weights in one vector, (P,)."""
    return torch.cat([weight.flatten() for weight in weights.values()])


def unflatten(vector: Tensor, like: Weights) -> Weights:
    """The inverse of `flatten`: views into the vector, shaped and named as `like`."""
    parts = vector.split([weight.numel() for weight in like.values()])
    return {name: part.view(weight.shape) for part, (name, weight) in zip(parts, like.items(), strict=True)}
