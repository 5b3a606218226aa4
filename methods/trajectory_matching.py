"""Trajectory matching: a few steps on the synthetic images lead where many steps on the real data lead.

Cazenavette, Wang, Torralba, Efros & Zhu, "Dataset Distillation by Matching Training Trajectories", CVPR 2022,
arXiv 2203.11932, Algorithm 1 (MTT).
"""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.trajectory_matching import TrajectoryMatchingSettings, match_trajectories


@register_method("trajectory_matching", aliases=["mtt"])
@dataclass(frozen=True)
class TrajectoryMatching(TrajectoryMatchingSettings):
    """Trajectory matching (MTT). Cazenavette et al., CVPR 2022, Algorithm 1.

    Experts are trained inside the budget and shared through the cache, charged in full to every run. An outer step
    costs a forward, a backward and a second-order pass over `batch_synthetic` images for every student step, and, where
    steps are recomputed, as compiled ones are, that forward and backward pass once more.

    Differences: the learned step size is kept at 1e-4 or above (in the authors' code it can turn negative); experts
    are drawn with replacement for each step, where the authors walk through a shuffled file; `epoch_batches` can make
    an expert's epoch shorter than a pass over the data.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2203.11932"

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        return match_trajectories(task, meter, self)
