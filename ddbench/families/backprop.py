"""Backprop through optimisation: images on which a training does well, learned by going back through that training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from ddbench.compute.compiling import Weights

if TYPE_CHECKING:
    from ddbench.task.task import Task


@dataclass(frozen=True)
class BackpropSettings:
    """What the methods of the family have in common."""

    family: ClassVar[str] = "backprop through optimisation"
    settings: ClassVar[tuple[str, ...]] = ("random",)

    batch_real: PositiveInt = 1024
    """real images the trained network is tested on in an outer step"""
    recompute: bool | None = None
    """compute each training step once more going back, so that hundreds fit into memory; None does where steps are
    compiled, which is faster, and keeps their graphs where not"""


class OuterLoss:
    """The outer loss: how a trained network does on real images.

    Args:
        batch: real images of an outer step
    """

    def __init__(self, task: Task, batch: int) -> None:
        self._task, self._batch = task, batch
        self._slope: Callable[..., tuple[Any, Tensor]] = task.compiler.gradient(task.loss)

    def backward(self, trained: Weights, share: float = 1.0) -> Tensor:
        """Back-propagate this share of the loss on fresh real images through the training; that share of it, ()."""
        real, labels = self._task.real.batch(self._batch, self._task.generator("real"))
        weights = {name: weight.detach() for name, weight in trained.items()}
        slope, loss = self._task.chunks.gradient(self._slope, weights, real, self._task.wanted(labels))
        torch.autograd.backward(list(trained.values()), [share * slope[name] for name in trained])
        return share * loss


def balanced_batch(labels: Tensor, classes: int, each: int, generator: torch.Generator) -> Tensor:
    """Positions, (classes * each,), of random images, equally many of each class; fewer where there are not so many.

    Args:
        labels: (N, ...) of images that lie class by class, equally many of each
        generator: on the CPU
    """
    own = len(labels) // classes
    within = torch.rand(classes, own, generator=generator).argsort(1)[:, :each]
    return (within + own * torch.arange(classes)[:, None]).flatten().to(labels.device, non_blocking=True)
