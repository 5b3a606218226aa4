"""The network of a task where it is differentiated once or not at all, computed in a reduced type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch.nn.functional as F
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.compute.precision import first_order

if TYPE_CHECKING:
    from ddbench.task.task import Task


class NetworkFunctions(Protocol):
    """Pure functions of a network's weights and images, as `Task` has them."""

    def forward(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor: ...

    def embed(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor: ...

    def activations(self, weights: Mapping[str, Tensor], images: Tensor) -> list[Tensor]: ...

    def loss(self, weights: Weights, images: Tensor, labels: Tensor) -> Tensor: ...


class ReducedNetwork:
    """The functions of a task with the layers of its network in bfloat16.

    What they return has the type of the images, so that losses, distances and gradients are in float32.
    """

    def __init__(self, task: Task) -> None:
        self._task = task

    def forward(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        with first_order(self._task.device):
            logits = self._task.forward(weights, images)
        return logits.to(images.dtype)

    def embed(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        with first_order(self._task.device):
            features = self._task.embed(weights, images)
        return features.to(images.dtype)

    def activations(self, weights: Mapping[str, Tensor], images: Tensor) -> list[Tensor]:
        with first_order(self._task.device):
            found = self._task.activations(weights, images)
        return [each.to(images.dtype) for each in found]

    def loss(self, weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.forward(weights, images), labels)
