"""Herding: real images whose running mean stays closest to the class mean.

Welling, "Herding dynamical weights to learn", ICML 2009; as a coreset Chen, Welling & Smola, "Super-samples from kernel
herding", UAI 2010, arXiv 1203.3472; a baseline of Zhao et al., ICLR 2021.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, Task, register_method
from ddbench.families.coresets import Space, choose_per_class, feature_space, stored
from ddbench.families.label_sources import Labels, labelled
from ddbench.families.synthetic_set import Parametrisation


@register_method("herding")
@dataclass(frozen=True)
class Herding:
    """Herding in feature space. Chen et al., UAI 2010.

    Each image is the one that brings the mean of the chosen ones closest to the class mean. It costs the training of
    the feature network, a forward pass over the training data, and a distance from every image of a class for each one
    chosen.

    Differences: the feature network is trained inside the budget, for a stated number of steps.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1203.3472"
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
    labels: Labels = "hard"
    """`hard`, the class of each image; or `expert,epochs=20,lr=0.1`, what a network answers that is trained for it"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        features = feature_space(task, meter, self.space, self.training_steps, self.batch_real)  # (N, F)
        chosen = stored(task, self.decoder, partial(choose_per_class, task, features, herd))
        return labelled(task, meter, self.labels, chosen)


def herd(features: torch.Tensor, n: int) -> torch.Tensor:
    """Choose n rows of (N, F), each to bring their mean closest to that of all; return their positions, (n,)."""
    mean, total = features.mean(0), torch.zeros_like(features[0])
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen = []
    for count in range(1, n + 1):
        distance = (mean - (total + features) / count).square().sum(1).masked_fill(~free, torch.inf)
        best = distance.argmin(0, keepdim=True)  # (1,), which an index of the host would have to wait for
        chosen.append(best)
        free.index_fill_(0, best, False)
        total = total + features.index_select(0, best)[0]
    return torch.cat(chosen)
