"""Training a network beside a distillation: steps of SGD as functions that return a new network."""

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
    """A network in training. A `State` can hold it."""

    weights: Weights
    velocity: Weights
    """momentum buffers"""
    accuracy: Tensor
    """the last one measured, 0 until one is, ()"""

    @classmethod
    def begin(cls, weights: Weights) -> Trained:
        """Start a training from these weights."""
        zeros = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        return cls(weights, zeros, torch.zeros((), device=next(iter(weights.values())).device))

    def state_dict(self) -> dict[str, object]:
        return {"weights": self.weights, "velocity": self.velocity, "accuracy": self.accuracy}

    def load_state_dict(self, saved: dict[str, object]) -> None:
        self.__dict__.update(saved)


class Trainer:
    """Steps of SGD for networks of a task.

    Args:
        lr: step size
        momentum: 0 is plain SGD
        weight_decay: added to the gradient, times the weights
    """

    def __init__(self, task: Task, lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        self._task, self._lr, self._momentum, self._decay = task, lr, momentum, weight_decay
        self._gradient = task.compiler.gradient(task.first_order.loss)
        self._predict = task.compiler.function(lambda weights, images: task.forward(weights, images).argmax(1))

    def step(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        """Return the network after a step on these images; labels (N,) or probabilities (N, K)."""
        gradient, _ = self._task.chunks.gradient(self._gradient, network.weights, images, labels)
        weights, velocity = {}, {}
        for name, weight in network.weights.items():
            decayed = gradient[name] + self._decay * weight
            velocity[name] = self._momentum * network.velocity[name] + decayed
            weights[name] = weight - self._lr * velocity[name]
        return Trained(weights, velocity, network.accuracy)

    def measured(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        """Return the network with its accuracy on these images."""
        predictions = self._task.chunks.map(lambda part: self._predict(network.weights, part), images)
        return replace(network, accuracy=(predictions == labels).float().mean())


class OnSynthetic:
    """Trains an epoch on the synthetic images, shuffled.

    Args:
        batch: images of a step
        augment: augment each image by itself
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
    """Trains some steps on real images.

    Kim et al., ICML 2022, arXiv 2205.14959; Yun et al., "CutMix", ICCV 2019, arXiv 1905.04899.

    Args:
        steps: steps of a training
        batch: images of a step
        augment: augment each image by itself
        cut: apply CutMix to half the batches
    """

    def __init__(self, task: Task, trainer: Trainer, steps: int, batch: int, augment: bool, cut: bool) -> None:
        self._task, self._trainer, self._steps, self._batch = task, trainer, steps, batch
        self._augment, self._cut = augment, cut

    def __call__(self, network: Trained) -> Trained:
        task = self._task
        for _ in range(self._steps):
            real, real_labels = task.real.batch(self._batch, task.generator("train/real"))
            shares = F.one_hot(real_labels, task.classes).to(real.dtype)  # (N, K)
            generator = task.generator("train/augment", device="cpu")
            if self._augment:
                real = task.augmentation(real, generator)
            if self._cut:
                real, shares = cutmix(real, shares, generator)
            network = self._trainer.step(network, real, shares)
        return network
