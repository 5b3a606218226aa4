"""Distribution matching: features of synthetic images are distributed like those of real ones, class by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.families.discrepancies import Discrepancy

if TYPE_CHECKING:
    from ddbench.task.task import Task

Features = Callable[[Weights, Tensor], Tensor]
"""(weights, images) -> (N, F)"""
Target = Tensor | list[Tensor]
"""what a discrepancy needs of real features: (K, n, F), or (1, n_c, F) of each class where their numbers differ"""


class Guide(NamedTuple):
    """A trained network whose loss on the synthetic images is added to the discrepancy.

    Args:
        weights: the trained ones
        strength: weight of the mean cross-entropy of each class, ()
    """

    weights: Weights
    strength: Tensor


class FeatureMatching:
    """The discrepancy between features of real and synthetic images in a network, and its gradient.

    Args:
        features: of images, such as `task.first_order.embed` for the last ones before the classifier
        discrepancy: between the features of one class; it is summed over classes
    """

    def __init__(self, task: Task, features: Features, discrepancy: Discrepancy) -> None:
        self._task, self._features, self._discrepancy = task, features, discrepancy
        self._embed, self._gradient = task.compiler.function(features), task.compiler.gradient(self.objective)

    def target(self, weights: Weights, real: Sequence[Tensor]) -> Target:
        """Return what the discrepancy needs of real features, for images of each class, (n_c, C, H, W)."""
        features = self._task.chunks.map(partial(self._embed, weights), torch.cat(list(real)))
        counts = [len(own) for own in real]
        if min(counts) == max(counts):
            return self._discrepancy.summary(features.unflatten(0, (len(real), -1)))
        summaries = [self._discrepancy.summary(own[None]) for own in features.split(counts)]
        return torch.cat(summaries) if len({own.shape for own in summaries}) == 1 else summaries

    def gradient(
        self,
        images: Tensor,
        labels: Tensor,
        weights: Weights,
        target: Target,
        draws: Tensor | None = None,
        guide: Guide | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Differentiate the objective.

        Args:
            images: synthetic, (K * m, C, H, W), class by class
            target: what `target` gave for the same weights
            draws: (R, F), for a discrepancy that needs some
            guide: adds its loss to the discrepancy

        Returns:
            The gradient in the images, (K * m, C, H, W), and the objective, ().
        """
        drawn = target[0].new_empty(0, target[0].shape[-1]) if draws is None else draws
        return self._gradient(images.detach(), labels, weights, target, drawn, guide)

    def objective(
        self, images: Tensor, labels: Tensor, weights: Weights, target: Target, draws: Tensor, guide: Guide | None
    ) -> Tensor:
        """Add up the discrepancies of all classes, and the guide's loss: a pure function, differentiable; ()."""
        features = self._features(weights, images).unflatten(0, (self._task.classes, -1))  # (K, m, F)
        if isinstance(target, Tensor):
            total = self._discrepancy.between(target, features, draws).sum()
        else:
            pairs = zip(target, features.split(1), strict=True)
            total = torch.cat([self._discrepancy.between(real, own, draws) for real, own in pairs]).sum()
        if guide is not None:
            loss = self._task.first_order.loss(guide.weights, images, labels)
            total = total + guide.strength * self._task.classes * loss
        return total


def unit_features(task: Task) -> Features:
    """Return the last features before the classifier, scaled to unit vectors."""
    return lambda weights, images: F.normalize(task.first_order.embed(weights, images), dim=1)
