"""Distribution matching: features of synthetic images are distributed like those of real ones, class by class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.families.discrepancies import DISCREPANCIES, Discrepancy
from ddbench.families.network_sources import FreshNetworks, Source
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.meter.checkpoint import State

if TYPE_CHECKING:
    from ddbench.artifacts.distilled_dataset import DistilledDataset
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

Features = Callable[[Weights, Tensor], Tensor]
"""(weights, images) -> (N, F)"""


@dataclass(frozen=True)
class DistributionMatchingSettings:
    """What the methods of the family have in common."""

    family: ClassVar[str] = "distribution matching"
    settings: ClassVar[tuple[str, ...]] = ("random",)

    iterations: PositiveInt = 20_000
    """outer steps"""
    lr_images: PositiveFloat = 1.0
    """step size on the images"""
    batch_real: PositiveInt = 256
    """real images of each class a step; as many as the smallest class has, if that is less"""
    augment: bool = True
    """differentiable siamese augmentation, a draw for each class"""
    decoder: Parametrisation = "pixels"
    """what is learned in place of pixels: `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """images start as `real` or `noise`"""


def match_distributions(
    task: Task,
    meter: Meter,
    settings: DistributionMatchingSettings,
    *,
    discrepancy: Discrepancy = DISCREPANCIES["mean"],
    draws: int = 0,
    features: Features | None = None,
    source: Source | None = None,
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer] | None = None,
) -> DistilledDataset:
    """Learn images by descending a discrepancy between features.

    Args:
        discrepancy: of the features of one class; its sum over classes is descended
        draws: random directions or frequencies of a step, for discrepancies that need them
        features: by default the last ones before the classifier
        source: of the networks; by default a fresh one for each step
        optimizer: of the learned parts; by default SGD with momentum 0.5
    """
    synthetic = SyntheticSet(task, settings.decoder, settings.init)
    make = optimizer or partial(torch.optim.SGD, lr=settings.lr_images, momentum=0.5)
    state = State(synthetic=synthetic, optimizer=make(synthetic.learned), source=source or FreshNetworks(task))
    featured = features or task.embed
    embed, slope_of = task.compiler.function(featured), task.compiler.gradient(_objective(task, discrepancy, featured))
    for _ in meter.steps(settings.iterations, state, synthetic.artifact):
        images, labels = synthetic.images()
        view = state.source.next(images.detach(), labels)
        real, _ = task.real.batch(settings.batch_real, task.generator("real"), of=range(task.classes))
        if settings.augment:
            real, images = siamese_by_class(task, real, images)
        target = task.chunks.map(partial(embed, view.weights), real).unflatten(0, (task.classes, -1))
        drawn = discrepancy.draw(target.shape[2], draws, task.generator("draws"))
        guided = (view.guide, view.strength) if view.guide is not None else ()
        slope, loss = slope_of(images.detach(), labels, view.weights, discrepancy.summary(target), drawn, *guided)
        state.optimizer.zero_grad()
        images.backward(slope)
        state.optimizer.step()
        meter.log(loss=loss)
    return synthetic.artifact()


def unit_features(task: Task) -> Features:
    """The last features as unit vectors."""
    return lambda weights, images: F.normalize(task.embed(weights, images), dim=1)


def _objective(task: Task, discrepancy: Discrepancy, features: Features) -> Callable[..., Tensor]:
    def objective(
        images: Tensor,
        labels: Tensor,
        weights: Weights,
        target: Tensor,
        drawn: Tensor,
        guide: Weights | None = None,
        strength: Tensor | None = None,
    ) -> Tensor:
        ours = features(weights, images).unflatten(0, (task.classes, -1))
        total = discrepancy.between(target, ours, drawn).sum()
        if guide is not None and strength is not None:
            total = total + strength * task.classes * task.loss(guide, images, labels)
        return total

    return objective
