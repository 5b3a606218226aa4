"""Distribution matching in networks that train meanwhile, of several small images in the storage of one.

Zhao, Li, Qin & Yu, "Improved Distribution Matching for Dataset Condensation", CVPR 2023, arXiv 2307.09742 (IDM).
"""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.distribution_matching import DistributionMatchingSettings, match_distributions
from ddbench.families.network_sources import Queue
from ddbench.families.synthetic_set import Parametrisation
from ddbench.families.training import Trainer


@register_method("improved_distribution_matching", aliases=["idm"])
@dataclass(frozen=True)
class ImprovedDistributionMatching(DistributionMatchingSettings):
    """Improved distribution matching (IDM). Zhao et al., CVPR 2023.

    Networks come from a queue whose members train on the real data, and the better the chosen one is, the more its own
    loss on the synthetic images counts. An outer step costs what one of distribution matching costs, a forward
    and backward pass of the synthetic images for that loss, and `train` * `train_steps` training steps.

    Differences: one step on all classes together, where the authors' code steps class by class, so that momentum acts
    at once, during the other classes' steps, and here over later ones; a network's accuracy is that on its last
    training batch, where they average over all since the last evaluation.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2307.09742"
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 6, "batch_real": 8, "begin": 2, "every": 2, "train_steps": 1, "batch_train": 8,
    }  # fmt: skip

    lr_images: PositiveFloat = 0.2
    """of SGD with momentum 0.5 on the stored images"""
    decoder: Parametrisation = "multi_formation"
    """how images are stored"""
    begin: PositiveInt = 4
    """networks in the queue at first: the authors' three and one that joins at once"""
    most: PositiveInt = 100
    """and at most"""
    every: PositiveInt = 30
    """outer steps after which a fresh one joins; the authors take 5 at ipc 1"""
    train: PositiveInt = 2
    """networks that train at an outer step"""
    train_steps: PositiveInt = 10
    """of each"""
    batch_train: PositiveInt = 256
    """real images of a training step"""
    guidance: NonNegativeFloat = 0.5
    """of the loss on the synthetic images, for each percent of the network's accuracy"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        queue = Queue(
            task, Trainer(task, lr=0.01, momentum=0.9, weight_decay=5e-4), begin=self.begin, most=self.most,
            every=self.every, train=self.train, train_steps=self.train_steps, batch=self.batch_train,
            guidance=self.guidance,
        )  # fmt: skip
        return match_distributions(task, meter, self, source=queue)
