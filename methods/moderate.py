"""Moderate: real images at the median distance from the mean of their class.

Xia, Liu, Yu, Shen, Han & Liu, "Moderate Coreset: A Universal Method of Data Selection for Real-world Data-efficient
Deep Learning", ICLR 2023.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from pydantic import PositiveInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.coresets import Space, choose_per_class, feature_space, stored
from ddbench.families.label_sources import Labels, labelled
from ddbench.families.synthetic_set import Parametrisation


@register_method("moderate")
@dataclass(frozen=True)
class Moderate:
    """Images whose distance to the class mean in feature space is nearest to the median. Xia et al., ICLR 2023.

    It costs the training of the feature network, and a forward pass over the training data.

    Differences: the centre of a class is the mean of its features, where the authors' code takes the median of each
    feature; the feature network is trained inside the budget.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://openreview.net/forum?id=7D5EECbOaf9"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"training_steps": 5, "batch_real": 16}

    space: Space = "trained"
    """space in which images are compared: features of a `trained` or a `random` network, or `pixels`"""
    training_steps: PositiveInt = 1000
    """training steps of the feature network, by SGD"""
    batch_real: PositiveInt = 256
    """real images in a training step of the feature network"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, or one that lets more, smaller ones fit, `multi_formation`, ..."""
    labels: Labels = "hard"
    """`hard`, the class of each image; or `expert,epochs=20,lr=0.1`, what a network answers that is trained for it"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        features = feature_space(task, meter, self.space, self.training_steps, self.batch_real)  # (N, F)
        chosen = stored(task, self.decoder, partial(choose_per_class, task, features, nearest_to_median))
        return labelled(task, meter, self.labels, chosen)


def nearest_to_median(features: torch.Tensor, n: int) -> torch.Tensor:
    """Choose n rows of (N, F) whose distance to the mean is nearest to the median of these; return positions, (n,)."""
    distance = (features - features.mean(0)).norm(dim=1)
    ordered = distance.sort().values
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return (distance - median).abs().argsort(stable=True)[:n]
