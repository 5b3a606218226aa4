"""K-center: real images that leave no image of their class far from all of them.

Sener & Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018, arXiv 1708.00489,
Algorithm 1 (greedy); the baseline of Zhao et al., ICLR 2021.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.coresets import CoresetSettings, choose_per_class


@register_method("k_center", aliases=["kcenter"])
@dataclass(frozen=True)
class KCenter(CoresetSettings):
    """Greedy k-center in feature space, class by class. Sener & Savarese, ICLR 2018, Algorithm 1.

    It costs the training of the feature network, a forward pass over the training data, and a distance from every image
    of a class for each one chosen.

    Differences: the first center of a class is the image nearest to its mean, where the paper starts from a given
    labelled pool; the feature network is trained inside the budget.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1708.00489"

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        images, labels = choose_per_class(task, self.features(task, meter), centers)
        return DistilledDataset.pixels(images, task.wanted(labels), initial=task.fixed_initial)


def centers(features: torch.Tensor, n: int) -> torch.Tensor:
    """Positions, (n,), of rows of (N, F): the one nearest to the mean, then always the one farthest from all chosen."""
    chosen = [(features - features.mean(0)).square().sum(1).argmin()]
    nearest = (features - features[chosen[0]]).square().sum(1)
    for _ in range(n - 1):
        chosen.append(nearest.argmax())
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).square().sum(1))
    return torch.stack(chosen)
