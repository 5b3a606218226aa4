"""Training a network beside a distillation: steps of SGD as functions of what they change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.data.augmentation import cutmix

if TYPE_CHECKING:
    from ddbench.task.task import Task


@dataclass
class Trained:
    """A network on its way; kept in a state by its `state_dict`."""

    weights: Weights
    velocity: Weights
    """what momentum remembers"""
    accuracy: Tensor
    """last measured, 0 until it is, ()"""

    @classmethod
    def begin(cls, weights: Weights) -> Trained:
        zeros = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        return cls(weights, zeros, torch.zeros((), device=next(iter(weights.values())).device))

    def state_dict(self) -> dict[str, object]:
        return {"weights": self.weights, "velocity": self.velocity, "accuracy": self.accuracy}

    def load_state_dict(self, saved: dict[str, object]) -> None:
        self.__dict__.update(saved)


class Trainer:
    """Steps of SGD for networks of a task.

    Args:
        lr, momentum, weight_decay: of SGD
    """

    def __init__(self, task: Task, lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        self._task, self._lr, self._momentum, self._decay = task, lr, momentum, weight_decay
        self._slope = task.compiler.gradient(task.loss)
        self._answers = task.compiler.function(lambda weights, images: task.forward(weights, images).argmax(1))

    def step(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        """The network after a step on these images; labels (N,) or probabilities (N, K)."""
        slope, _ = self._task.chunks.gradient(self._slope, network.weights, images, labels)
        weights, velocity = {}, {}
        for name, weight in network.weights.items():
            pull = slope[name] + self._decay * weight
            velocity[name] = self._momentum * network.velocity[name] + pull
            weights[name] = weight - self._lr * velocity[name]
        return Trained(weights, velocity, network.accuracy)

    def measured(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        """The network with its accuracy on these images."""
        answers = self._task.chunks.map(lambda part: self._answers(network.weights, part), images)
        return replace(network, accuracy=(answers == labels).float().mean())


class OnSynthetic:
    """An epoch on the synthetic images, shuffled; images are augmented where the method does.

    Args:
        batch: images of a step
    """

    def __init__(self, task: Task, trainer: Trainer, batch: int, augment: bool) -> None:
        self._task, self._trainer, self._batch, self._augment = task, trainer, batch, augment

    def __call__(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        task = self._task
        order = torch.randperm(len(labels), generator=task.generator("order"), device=task.device)
        for chosen in order.split(self._batch):
            batch = images[chosen]
            if self._augment:
                batch = task.augmentation(batch, task.generator("augment", device="cpu"))
            network = self._trainer.step(network, batch, labels[chosen])
        return network


class OnReal:
    """Some steps on real images.

    Kim et al., ICML 2022, arXiv 2205.14959; Yun et al., "CutMix", ICCV 2019, arXiv 1905.04899.

    Args:
        steps: of a training
        batch: images of a step
        augment: each image by itself
        cut: half the batches are cut into each other
    """

    def __init__(self, task: Task, trainer: Trainer, steps: int, batch: int, augment: bool, cut: bool) -> None:
        self._task, self._trainer, self._steps, self._batch = task, trainer, steps, batch
        self._augment, self._cut = augment, cut

    def __call__(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        task = self._task
        for _ in range(self._steps):
            real, real_labels = task.real.batch(self._batch, task.generator("train/real"))
            shares = F.one_hot(real_labels, task.classes).to(real.dtype)
            generator = task.generator("train/augment", device="cpu")
            if self._augment:
                real = task.augmentation(real, generator)
            if self._cut:
                real, shares = cutmix(real, shares, generator)
            network = self._trainer.step(network, real, shares)
        return network
