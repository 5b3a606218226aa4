"""Trajectory matching to experts that sought flat minima.

Du, Jiang, Tan, Zhou & Li, "Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation", CVPR 2023,
arXiv 2211.11004 (FTD).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.trajectory_matching import FlatExpertSettings, match_trajectories


@register_method("flat_trajectory_matching", aliases=["ftd"])
@dataclass(frozen=True)
class FlatTrajectoryMatching(FlatExpertSettings):
    """Flat trajectory distillation (FTD). Du et al., CVPR 2023.

    As trajectory matching, with experts trained by adaptive GSAM, which costs two passes a step, and a running average
    of the images, which is what comes out. An outer step costs what one of trajectory matching costs.

    Differences: the average is scored on networks of its own, where the authors' code goes on training those of the
    images; those of trajectory matching.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2211.11004"

    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.9995
    """decay of the running average of the images at an outer step"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        return match_trajectories(task, meter, self, averaging=self.averaging)
