"""Gradient matching: real and synthetic images push a network's weights in the same direction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from ddbench.compute.compiling import Weights, gradient
from ddbench.errors import UserError
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.training import OnSynthetic, Trained, Trainer
from ddbench.meter.checkpoint import State

if TYPE_CHECKING:
    from ddbench.artifacts.distilled_dataset import DistilledDataset
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

EPSILON = 1e-6
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""matching steps a network and epochs between them, by images per class: Zhao et al., ICLR 2021, the authors' code"""
Distance = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
"""(gradient of the real images, of the synthetic ones), each by parameter name -> ()"""
Match = Callable[[Weights, SyntheticSet], Tensor]
"""back-propagates a distance between gradients into the parts, and returns it, ()"""
Train = Callable[[Trained, Tensor, Tensor], Trained]
"""what becomes of a network between two matchings, given the synthetic images and their labels"""


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


@dataclass(frozen=True)
class GradientMatchingSettings:
    """What the methods of the family have in common."""

    name: ClassVar[str]
    family: ClassVar[str] = "gradient matching"
    settings: ClassVar[tuple[str, ...]] = ("random",)

    iterations: PositiveInt = 1000
    """fresh networks"""
    lr_images: PositiveFloat = 0.1
    """of SGD with momentum 0.5 on the images"""
    batch_real: PositiveInt = 256
    """real images of each class in a matching; as many as the smallest class has, if that is less"""
    augment: bool = False
    """differentiable siamese augmentation, a draw for each class"""
    decoder: Parametrisation = "pixels"
    """what is learned in place of pixels: `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """images start as `real` or `noise`"""


@dataclass(frozen=True)
class TrainedOnSyntheticSettings(GradientMatchingSettings):
    """Of the methods that train each network on the synthetic images between matchings."""

    matchings: PositiveInt | None = None
    """matching steps with each network; None takes the published number for the task's ipc"""
    epochs: NonNegativeInt | None = None
    """training epochs on the synthetic images between two matchings; None takes the published number"""
    lr_network: PositiveFloat = 0.01
    """of plain SGD on the network"""
    batch_train: PositiveInt = 256
    """synthetic images in a training step of the network"""

    def check_ipc(self, ipc: int) -> None:
        self.loops(ipc)

    def loops(self, ipc: int) -> tuple[int, int]:
        """Matchings and epochs: those given, else those published for this ipc; beyond 50, ipc matchings, 2 epochs.

        The authors of gradient matching report (100, 2) at ipc 100 (issue 2 of their repository).
        """
        if ipc not in LOOPS and ipc < max(LOOPS) and None in (self.matchings, self.epochs):
            raise UserError(
                f"{self.name} has no published loops for ipc {ipc}; set matchings and epochs, "
                f"or use an ipc of {', '.join(map(str, LOOPS))} or above"
            )
        matchings, epochs = LOOPS.get(ipc, (ipc, 2))
        return self.matchings or matchings, epochs if self.epochs is None else self.epochs

    def train(self, task: Task) -> Train:
        return OnSynthetic(task, Trainer(task, self.lr_network), self.batch_train, self.augment)


class Matcher:
    """Matches the gradients that real and synthetic images give a network.

    Args:
        distance: between gradients
    """

    def __init__(self, task: Task, settings: GradientMatchingSettings, distance: Distance) -> None:
        self._task, self._settings = task, settings
        self._slope = task.compiler.gradient(task.loss)

        def apart(images: Tensor, weights: Weights, target: Weights, labels: Tensor) -> Tensor:
            return distance(target, gradient(task.loss, weights, images, labels))

        self._apart = task.compiler.gradient(apart)

    def by_class(self, weights: Weights, synthetic: SyntheticSet) -> Tensor:
        """Back-propagate the distances of each class's own gradients into the parts; their sum, ()."""
        real, real_labels, images, labels = self._batch(synthetic)
        total, slopes = images.new_zeros(()), []
        groups = (tensor.chunk(self._task.classes) for tensor in (real, real_labels, images.detach(), labels))
        for own_real, own_real_labels, own_images, own_labels in zip(*groups, strict=True):
            target, _ = self._task.chunks.gradient(self._slope, weights, own_real, own_real_labels)
            slope, value = self._apart(own_images, weights, target, own_labels)
            slopes.append(slope)
            total = total + value
        images.backward(torch.cat(slopes))
        return total

    def of_all(self, weights: Weights, synthetic: SyntheticSet) -> Tensor:
        """Back-propagate the distance between the gradients of all classes together, ()."""
        real, real_labels, images, labels = self._batch(synthetic)
        target, _ = self._task.chunks.gradient(self._slope, weights, real, real_labels)
        slope, value = self._apart(images.detach(), weights, target, labels)
        images.backward(slope)
        return value

    def _batch(self, synthetic: SyntheticSet) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        task = self._task
        real, real_labels = task.real.batch(self._settings.batch_real, task.generator("real"), of=range(task.classes))
        images, labels = synthetic.images()
        if self._settings.augment:
            real, images = siamese_by_class(task, real, images)
        return real, real_labels, images, labels


def match_gradients(
    task: Task,
    meter: Meter,
    settings: GradientMatchingSettings,
    *,
    loops: tuple[int, int],
    match: Callable[[int, int], Match],
    train: Train,
) -> DistilledDataset:
    """Learn images by matching gradients in fresh networks, each matched and trained in turns.

    Every matching and every training is one step of the meter.

    Args:
        loops: matchings with each network, and trainings between two of them
        match: how the gradients of a network are compared: (network, matching) -> one of `Matcher`'s
        train: one training of the network
    """
    synthetic = SyntheticSet(task, settings.decoder, settings.init)
    optimizer = torch.optim.SGD(synthetic.learned, lr=settings.lr_images, momentum=0.5)
    state = State(synthetic=synthetic, optimizer=optimizer, network=Trained.begin(task.initial()))
    matchings, trainings = loops
    period = matchings + (matchings - 1) * trainings
    for step in meter.steps(settings.iterations * period, state, synthetic.artifact):
        network, position = divmod(step, period)
        if position == 0:
            state.network = Trained.begin(task.initial())
        matching, training = divmod(position, 1 + trainings)
        if training:
            images, labels = synthetic.images()
            state.network = train(state.network, images.detach(), labels)
        else:
            state.optimizer.zero_grad()
            meter.log(loss=match(network, matching)(state.network.weights, synthetic))
            state.optimizer.step()
    return synthetic.artifact()


def _total(distances: Iterable[Tensor]) -> Tensor:
    return reduce(add, distances)


def _one_minus_cosine(real: Tensor, synthetic: Tensor) -> Tensor:
    a, b = real.flatten(1), synthetic.flatten(1)
    cosine: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + EPSILON)
    return (1 - cosine).sum()
