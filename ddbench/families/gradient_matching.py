"""Gradient matching: real and synthetic images give a network's weights similar gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights, gradient
from ddbench.errors import UserError

if TYPE_CHECKING:
    from ddbench.task.task import Task

EPSILON = 1e-6
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""matchings with each network and epochs between two, by images per class: Zhao et al., ICLR 2021, the authors' code"""
Batch = tuple[Tensor, Tensor]
"""images, (N, C, H, W), and their labels, (N,)"""
Distance = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
"""(gradient of the real images, of the synthetic ones), each by parameter name -> ()"""


def layerwise_cosine(real: Mapping[str, Tensor], synthetic: Mapping[str, Tensor]) -> Tensor:
    """Sum over layers and output units of 1 - cosine; a scalar. Zhao et al., ICLR 2021, equation 10.

    A convolution's gradient (out, in, k, k) is compared unit by unit as (out, in * k * k), a linear layer's as
    (out, in). One-dimensional parameters, biases and normalisation, do not count, as in the authors' code.
    """
    return _total(_one_minus_cosine(real[name], synthetic[name]) for name in real if real[name].ndim > 1)


def squared(real: Mapping[str, Tensor], synthetic: Mapping[str, Tensor]) -> Tensor:
    """Sum of squared differences over the weights of convolutions; a scalar. Kim et al., ICML 2022."""
    return _total((real[name] - synthetic[name]).square().sum() for name in real if real[name].ndim == 4)


def absolute(real: Mapping[str, Tensor], synthetic: Mapping[str, Tensor]) -> Tensor:
    """Sum of absolute differences over the weights of convolutions; a scalar. Kim et al., ICML 2022."""
    return _total((real[name] - synthetic[name]).abs().sum() for name in real if real[name].ndim == 4)


class GradientDistance:
    """The distance between the gradients that real and synthetic images give a network, and its own gradient.

    Args:
        distance: between two gradients of the weights
    """

    def __init__(self, task: Task, distance: Distance) -> None:
        self._task = task
        self._weight_gradient = task.compiler.gradient(task.first_order.loss)

        def objective(images: Tensor, weights: Weights, target: Weights, labels: Tensor) -> Tensor:
            return distance(target, gradient(task.loss, weights, images, labels))

        self._image_gradient = task.compiler.gradient(objective)

    def of_all(self, weights: Weights, real: Sequence[Tensor], synthetic: Batch) -> tuple[Tensor, Tensor]:
        """Compare the gradients of the mean losses over all images.

        Args:
            real: images of each class, (n_c, C, H, W)
            synthetic: images and labels

        Returns:
            The gradient of the distance in the synthetic images, (M, C, H, W), and the distance, ().
        """
        counts = [len(own) for own in real]
        return self._compare(weights, torch.cat(list(real)), self._labels(range(len(real)), counts), synthetic)

    def by_class(self, weights: Weights, real: Sequence[Tensor], synthetic: Batch) -> tuple[Tensor, Tensor]:
        """Compare the gradients of each class; distances are added.

        Args:
            real: images of each class, (n_c, C, H, W)
            synthetic: images and labels, as many of each class, class by class

        Returns:
            The gradient of that sum in the synthetic images, (M, C, H, W), and the sum, ().
        """
        total, gradients = synthetic[0].new_zeros(()), []
        groups = zip(real, *(part.chunk(self._task.classes) for part in synthetic), strict=True)
        for label, (own_real, *own) in enumerate(groups):
            gradient, value = self._compare(weights, own_real, self._labels([label], [len(own_real)]), (own[0], own[1]))
            gradients.append(gradient)
            total = total + value
        return torch.cat(gradients), total

    def _compare(self, weights: Weights, real: Tensor, labels: Tensor, synthetic: Batch) -> tuple[Tensor, Tensor]:
        target, _ = self._task.chunks.gradient(self._weight_gradient, weights, real, labels)
        images, own_labels = synthetic
        return self._image_gradient(images.detach(), weights, target, own_labels)

    def _labels(self, classes: Sequence[int], counts: Sequence[int]) -> Tensor:
        """Return each class as often as its images, without waiting for the device."""
        repeated = torch.tensor(classes).repeat_interleave(torch.tensor(counts))
        return repeated.to(self._task.device, non_blocking=True)


@dataclass(frozen=True)
class Turns:
    """The steps with each network: it is matched, trained `trainings` times, matched again, and so on.

    After its last matching it is not trained, but replaced.
    """

    matchings: int
    """matchings with each network"""
    trainings: int
    """trainings between two matchings"""

    @property
    def per_network(self) -> int:
        """Steps with each network."""
        return self.matchings + (self.matchings - 1) * self.trainings

    def at(self, step: int) -> tuple[int, int, int]:
        """Return a step's network, matching and training, each counted from 0; training 0 is the matching itself."""
        network, position = divmod(step, self.per_network)
        return network, *divmod(position, 1 + self.trainings)


def published_loops(method: str, ipc: int) -> tuple[int, int]:
    """Return matchings and epochs as published for this ipc; beyond 50, ipc matchings and 2 epochs.

    The authors of gradient matching report (100, 2) at ipc 100 (issue 2 of their repository).

    Args:
        method: its name, for the message

    Raises:
        UserError: for an ipc below 50 that nothing was published for.
    """
    if ipc not in LOOPS and ipc < max(LOOPS):
        raise UserError(
            f"{method} has no published loops for ipc {ipc}; set matchings and epochs, "
            f"or use an ipc of {', '.join(map(str, LOOPS))} or above"
        )
    return LOOPS.get(ipc, (ipc, 2))


def _total(distances: Iterable[Tensor]) -> Tensor:
    return reduce(add, distances)


def _one_minus_cosine(real: Tensor, synthetic: Tensor) -> Tensor:
    a, b = real.flatten(1), synthetic.flatten(1)
    cosine: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + EPSILON)
    return (1 - cosine).sum()
