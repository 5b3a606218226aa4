"""Backprop through optimisation: the loss of a trained network, and batches of the training that leads to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights

if TYPE_CHECKING:
    from ddbench.task.task import Task


class OuterLoss:
    """The outer loss: the mean cross-entropy of a trained network on real images.

    Args:
        batch: real images of an outer step
    """

    def __init__(self, task: Task, batch: int) -> None:
        self._task, self._batch = task, batch
        self._gradient: Callable[..., tuple[Any, Tensor]] = task.compiler.gradient(task.first_order.loss)

    def backward(self, trained: Weights, share: float = 1.0) -> Tensor:
        """Back-propagate `share` times the loss on fresh real images through the training, and return it, ()."""
        real, labels = self._task.real.batch(self._batch, self._task.generator("real"))
        weights = {name: weight.detach() for name, weight in trained.items()}
        gradient, loss = self._task.chunks.gradient(self._gradient, weights, real, self._task.target_labels(labels))
        torch.autograd.backward(list(trained.values()), [share * gradient[name] for name in trained])
        return share * loss


def balanced_batch(labels: Tensor, classes: int, per_class: int, generator: torch.Generator) -> Tensor:
    """Draw the positions of a random batch, (classes * per_class,); smaller where a class has fewer images.

    Args:
        labels: (N, ...) of images that lie class by class, equally many of each
        generator: on the CPU
    """
    available = len(labels) // classes
    within = torch.rand(classes, available, generator=generator).argsort(1)[:, :per_class]
    return (within + available * torch.arange(classes)[:, None]).flatten().to(labels.device, non_blocking=True)
