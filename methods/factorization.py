"""Distillation by factorisation: stored bases, and small networks that make images of them.

Liu, Wang, Yang, Ye & Wang, "Dataset Distillation via Factorization", NeurIPS 2022, arXiv 2210.16774 (HaBa).
"""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.synthetic_set import Parametrisation
from ddbench.families.trajectory_matching import TrajectoryMatchingSettings, match_trajectories


@register_method("factorization", aliases=["haba"])
@dataclass(frozen=True)
class Factorization(TrajectoryMatchingSettings):
    """Hallucinators and bases (HaBa), learned by trajectory matching. Liu et al., NeurIPS 2022.

    An outer step costs what one of trajectory matching on `batch_synthetic` decoded images costs, and the decoding.

    Differences: without the adversarial term that makes the hallucinators disagree; every basis goes through every
    hallucinator, where the authors draw one for each batch; hallucinators count as storage, so that fewer bases fit
    (the published figures store them on top: 0.9 images a class on CIFAR-10); batches are not standardised; momentum
    0.5, where they take 0.95 on images and 0.9 on the step size, which stays above 1e-4 here and 1e-3 there; 5,000
    iterations unless set, a third of theirs.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2210.16774"
    tiny: ClassVar[dict[str, object]] = {
        **TrajectoryMatchingSettings.tiny, "decoder": "hallucinators,count=1,channels=1",
    }  # fmt: skip

    decoder: Parametrisation = "hallucinators"
    """how many hallucinators (`count`), with how many `channels`, at which `scale`"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        return match_trajectories(task, meter, self)
