"""Random real images: the control that every method must beat.

A baseline of Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, section 4.
"""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import DistilledDataset, Meter, Task, register_method


@register_method("random_real", aliases=["random"])
@dataclass(frozen=True)
class RandomReal:
    """Random real images of each class. Wang et al. 2018, section 4 ("random real").

    It takes the images from which every method initialised with real images starts at the same seed, so that
    differences to it can be paired. It costs nothing.

    Differences: none known.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1811.10959"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {}

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        images, labels = task.real_init()  # (K * ipc, C, H, W), (K * ipc,)
        return DistilledDataset.pixels(images, task.target_labels(labels), initial=task.fixed_initial)
