"""Distribution matching of all moments: the maximum mean discrepancy of a Gaussian kernel.

Zhang, Li, Wang, Zeng & Ge, "M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy", AAAI 2024,
arXiv 2312.15927.
"""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import DistributionMatchingSettings, match_distributions
from ddbench.families.network_sources import FreshNetworks
from ddbench.families.synthetic_set import Parametrisation


@register_method("maximum_mean_discrepancy", aliases=["m3d", "mmd"])
@dataclass(frozen=True)
class MaximumMeanDiscrepancy(DistributionMatchingSettings):
    """Maximum mean discrepancy (M3D). Zhang et al., AAAI 2024.

    As distribution matching, with the kernel's distance of whole distributions in place of that of means, several
    steps with each network, and several small images in the storage of one. An outer step
    costs what one of distribution matching on all the small images costs; the kernel adds the distances of all pairs
    of features, small beside the forward pass.

    Differences: one step on all classes together, where the authors' code steps class by class and momentum acts
    during the other classes' steps; augmentation is one operation a draw, where theirs always changes colours; images
    are not clamped; all tiles of a class are matched, at most 200 there, and start as averages of pixels. `lr_images`
    is what a repository that builds on theirs takes at ipc 1; theirs could not be read.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2312.15927"
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 8, "uses": 2}

    iterations: PositiveInt = 10_000
    """outer steps"""
    lr_images: PositiveFloat = 24.8
    """of SGD with momentum 0.5 on normalised images: 1 at ipc 1 in [0, 1], over the variance of CIFAR-10's pixels"""
    batch_real: PositiveInt = 128
    """real images of each class a step; as many as the smallest class has, if that is less"""
    decoder: Parametrisation = "multi_formation"
    """how images are stored"""
    uses: PositiveInt = 5
    """steps with each network"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        kernel = DISCREPANCIES["mmd_rbf"]
        return match_distributions(task, meter, self, discrepancy=kernel, source=FreshNetworks(task, self.uses))
