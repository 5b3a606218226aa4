"""Multi-layer perceptron of the DC/DSA/DM evaluation pool (arXiv 2006.05929)."""

from __future__ import annotations

import math

from torch import nn

from ddbench.networks.base import Network, check_positive
from ddbench.registry import NETWORKS


@NETWORKS.register("mlp")
class MLP(Network):
    """`depth` hidden ReLU layers of `width` units on the flattened image, then a linear classifier.

    Raises:
        UserError: a depth or width below 1.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, depth: int = 2, width: int = 128) -> None:
        check_positive("depth", depth)
        check_positive("width", width)
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = math.prod(shape)
        for _ in range(depth):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        super().__init__(nn.Sequential(*layers), nn.Linear(width, classes))
