"""Herding: real images whose running mean stays closest to the class mean.

Welling, "Herding dynamical weights to learn", ICML 2009; as a coreset Chen, Welling & Smola, "Super-samples from kernel
herding", UAI 2010, arXiv 1203.3472; a baseline of Zhao et al., ICLR 2021.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.coresets import CoresetSettings, choose_per_class


@register_method("herding")
@dataclass(frozen=True)
class Herding(CoresetSettings):
    """Herding in feature space. Chen et al., UAI 2010.

    It costs the training of the feature network, a forward pass over the training data, and a distance from every image
    of a class for each one chosen.

    Differences: the feature network is trained inside the budget, for a stated number of steps.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1203.3472"

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        images, labels = choose_per_class(task, self.features(task, meter), herd)
        return DistilledDataset.pixels(images, task.wanted(labels), initial=task.fixed_initial)


def herd(features: torch.Tensor, n: int) -> torch.Tensor:
    """Positions, (n,), of the rows of (N, F) whose running mean follows the mean of all rows, without repeats."""
    mean, total = features.mean(0), torch.zeros_like(features[0])
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen = []
    for count in range(1, n + 1):
        distance = (mean - (total + features) / count).square().sum(1).masked_fill(~free, torch.inf)
        best = distance.argmin()
        chosen.append(best)
        free[best] = False
        total = total + features[best]
    return torch.stack(chosen)
