"""Gradient matching: real and synthetic images push a network's weights in the same direction.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, arXiv 2006.05929, Algorithm 1 (DC).
Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, arXiv 2102.08259 (DSA).
"""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.gradient_matching import Matcher, TrainedOnSyntheticSettings, layerwise_cosine, match_gradients
from ddbench.families.synthetic_set import Init


@register_method("gradient_matching", aliases=["dc", "dsa"])
@dataclass(frozen=True)
class GradientMatching(TrainedOnSyntheticSettings):
    """Gradient matching (DC; with `augment`, DSA). Zhao et al., ICLR 2021, Algorithm 1.

    A fresh network is matched and trained on the synthetic images in turns; every matching and every training epoch
    is one step of the meter. A matching step costs a forward and backward pass over `batch_real` real images of each
    class and a second-order pass through the synthetic ones.

    Differences: networks and augmentation are drawn from the task's generators, where the authors' code seeds them from
    the clock; batch normalisation has the statistics of the batch at hand, theirs those of 16 real images a class.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2006.05929"
    tiny: ClassVar[dict[str, object]] = {"iterations": 3, "matchings": 2, "epochs": 1, "batch_real": 8}

    init: Init = "noise"
    """images start as `noise` (DC) or `real` (DSA)"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        matcher = Matcher(task, self, layerwise_cosine)
        return match_gradients(
            task, meter, self,
            loops=self.loops(task.ipc), match=lambda network, matching: matcher.by_class, train=self.train(task),
        )  # fmt: skip
