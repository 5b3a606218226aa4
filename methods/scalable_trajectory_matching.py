"""Trajectory matching in constant memory, with soft labels from the experts.

Cui, Wang, Si & Hsieh, "Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory", ICML 2023,
arXiv 2211.10586 (TESLA).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ddbench import DistilledDataset, Meter, Task, UserError, register_method
from ddbench.families.synthetic_set import SyntheticSet
from ddbench.families.trajectory_matching import TrajectoryMatchingSettings, match_trajectories
from ddbench.families.unrolling.unroll import Unroll
from ddbench.networks.flatten import unflatten


@register_method("scalable_trajectory_matching", aliases=["tesla"])
@dataclass(frozen=True)
class ScalableTrajectoryMatching(TrajectoryMatchingSettings):
    """Trajectory matching in constant memory (TESLA). Cui et al., ICML 2023.

    Going back, each student step is computed once more from the weights before it, its augmented batch too, so that no
    graph outlives its step: memory does not grow with `student_steps` but for one set of weights each. An outer step
    costs what a recomputed one of trajectory matching costs.

    Differences: `exact` recomputation gives the gradient of trajectory matching itself and is the default. The
    published gradient, `approximate`, takes the weights of every step for constants: it leaves out how a change of an
    early image moves all later steps. The authors' code in addition loses a factor of 2 in it; here it is whole. Soft
    labels are those of the expert that the last student was to reach, as there; learned step sizes stay above 1e-4.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2211.10586"

    gradient: Literal["exact", "approximate"] = "exact"
    """of the distance: that of trajectory matching, or as published"""
    soft_labels: bool = False
    """probabilities that the expert to be reached gives the images, new at every outer step"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.soft_labels and self.decoder != "pixels":
            raise UserError(
                f"soft_labels of scalable_trajectory_matching are one for each stored image and decoder is "
                f"{self.decoder!r}; choose decoder pixels, or no soft labels"
            )

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        unroll = Unroll(task.loss, task.compiler, recompute=True, chained=self.gradient == "exact")
        if not self.soft_labels:
            return match_trajectories(task, meter, self, unroll=unroll)
        synthetic = SyntheticSet(task, self.decoder, self.init, soft=True)

        def relabel(target: torch.Tensor) -> torch.Tensor:
            weights = unflatten(target, task.like)
            return task.chunks.map(lambda images: task.forward(weights, images).softmax(1), synthetic.images()[0])

        return match_trajectories(task, meter, self, synthetic=synthetic, unroll=unroll, relabel=relabel)
