"""Distribution matching: class means of real and synthetic features agree in randomly initialised networks.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, arXiv 2110.04181, Algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.distribution_matching import DistributionMatchingSettings, match_distributions


@register_method("distribution_matching", aliases=["dm"])
@dataclass(frozen=True)
class DistributionMatching(DistributionMatchingSettings):
    """Distribution matching (DM). Zhao & Bilen, WACV 2023, Algorithm 1.

    Each outer step costs one forward pass over `batch_real` real images of each class and a first-order backward
    pass through the synthetic ones; no network is trained.

    Differences: none known.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2110.04181"
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 8}

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        return match_distributions(task, meter, self)
