"""K-center: real images that leave no image of their class far from all of them.

Sener & Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018, arXiv 1708.00489,
Algorithm 1 (greedy); the baseline of Zhao et al., ICLR 2021.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.matching.features import Space, choose_per_class, feature_space


@register_method("k_center", aliases=["kcenter"])
@dataclass(frozen=True)
class KCenter:
    """Greedy k-center in feature space, class by class. Sener & Savarese, ICLR 2018, Algorithm 1.

    Differences: the first center of a class is the image nearest to its mean, where the paper starts from a given
    labelled pool; the feature network is trained inside the budget.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1708.00489"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed")
    tiny: ClassVar[dict[str, object]] = {"training_steps": 5, "batch_real": 16}

    space: Space = "trained"
    """where distances are taken: features of a `trained` or a `random` network, or `pixels`"""
    training_steps: PositiveInt = 1000
    """of the feature network"""
    batch_real: PositiveInt = 256

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        features = feature_space(task, meter, self.space, self.training_steps, self.batch_real)
        images, labels = choose_per_class(task, features, centers)
        return DistilledDataset.pixels(images, labels, initial=task.fixed_initial)


def centers(features: torch.Tensor, n: int) -> torch.Tensor:
    """Positions, (n,), of rows of (N, F): the one nearest to the mean, then always the one farthest from all chosen."""
    chosen = [(features - features.mean(0)).square().sum(1).argmin()]
    nearest = (features - features[chosen[0]]).square().sum(1)
    for _ in range(n - 1):
        chosen.append(nearest.argmax())
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).square().sum(1))
    return torch.stack(chosen)
