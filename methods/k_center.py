"""K-center: real images such that every image of their class is close to one of them.

Sener & Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018, arXiv 1708.00489,
Algorithm 1 (greedy); the baseline of Zhao et al., ICLR 2021.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, Task, register_method
from ddbench.families.coresets import Space, choose_per_class, feature_space, stored
from ddbench.families.synthetic_set import Parametrisation


@register_method("k_center", aliases=["kcenter"])
@dataclass(frozen=True)
class KCenter:
    """Greedy k-center in feature space, class by class. Sener & Savarese, ICLR 2018, Algorithm 1.

    Each image is the one farthest from those already chosen. It costs the training of the feature network, a forward
    pass over the training data, and a distance from every image of a class for each one chosen.

    Differences: the first center of a class is the image nearest to the class mean, where the paper starts from a given
    labelled pool; the feature network is trained inside the budget.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1708.00489"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"training_steps": 5, "batch_real": 16}

    space: Annotated[Space, Choice("trained", "random", "pixels")] = "trained"
    """space in which images are compared: features of a `trained` or a `random` network, or `pixels`"""
    training_steps: Annotated[PositiveInt, LogRange(100, 3000)] = 1000
    """training steps of the feature network, by SGD"""
    batch_real: PositiveInt = 256
    """real images in a training step of the feature network"""

    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, or one that lets more, smaller ones fit, `multi_formation`, ..."""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        features = feature_space(task, meter, self.space, self.training_steps, self.batch_real)  # (N, F)
        return stored(task, self.decoder, partial(choose_per_class, task, features, centers))


def centers(features: torch.Tensor, n: int) -> torch.Tensor:
    """Choose n rows of (N, F): the nearest to the mean, then each time the farthest; return their positions, (n,)."""
    chosen = [(features - features.mean(0)).square().sum(1).argmin(0, keepdim=True)]  # (1,) each, on the device
    nearest = (features - features.index_select(0, chosen[0])).square().sum(1)
    for _ in range(n - 1):
        chosen.append(nearest.argmax(0, keepdim=True))
        distance = (features - features.index_select(0, chosen[-1])).square().sum(1)
        nearest = torch.minimum(nearest, distance)
    return torch.cat(chosen)
