"""Distribution matching of attention: where in an image each layer looks.

Sajedi, Khaki, Amjadian, Liu, Lawryshyn & Plataniotis, "DataDAM: Efficient Dataset Distillation with Attention
Matching", ICCV 2023, arXiv 2310.00093.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, UserError, Weights, register_method
from ddbench.families.distribution_matching import DistributionMatchingSettings, match_distributions

STRENGTH = 100.0
"""of both terms"""


@register_method("attention_matching", aliases=["datadam"])
@dataclass(frozen=True)
class AttentionMatching(DistributionMatchingSettings):
    """Attention matching (DataDAM). Sajedi et al., ICCV 2023.

    Class means of attention maps are matched: for all activations but the last, the sum over channels of |map| to the
    power `exponent`, as a unit vector; and class means of the last features. A step costs what one of distribution
    matching costs.

    The exponent is 4 in the paper and in the authors' table of hyper-parameters, and 1 in the code that they run; here
    it is the paper's.

    Differences: the network of the code that they run normalises batches, with the statistics of all classes of a step
    together, and it takes 20,000 steps; in their table it normalises instances, as here unless `network: {name:
    convnet, norm: batch}` is chosen, and takes 8,000.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2310.00093"
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 8}

    batch_real: PositiveInt = 64
    """real images of each class a step; as many as the smallest class has, if that is less"""
    exponent: PositiveFloat = 4.0
    """of absolute values before channels are added"""
    balance: NonNegativeFloat = 0.01
    """weight of the last features against attention"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        def features(weights: Weights, images: torch.Tensor) -> torch.Tensor:
            *maps, _, last = task.activations(weights, images)
            looks = [attention(found, self.exponent) for found in maps]
            return STRENGTH**0.5 * torch.cat([*looks, self.balance**0.5 * last], 1)

        return match_distributions(task, meter, self, features=features)


def attention(maps: torch.Tensor, exponent: float) -> torch.Tensor:
    """(N, C, H, W) -> (N, H * W), of Euclidean length 1."""
    if maps.ndim != 4:
        raise UserError(f"attention needs maps, (N, C, H, W), not {tuple(maps.shape)}; choose network convnet")
    return F.normalize(maps.abs().pow(exponent).sum(1).flatten(1), dim=1)
