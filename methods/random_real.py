"""Random real images: the control that every method must beat.

A baseline of Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, section 4.
"""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.label_sources import Labels, labelled
from ddbench.families.synthetic_set import Parametrisation, SyntheticSet


@register_method("random_real", aliases=["random"])
@dataclass(frozen=True)
class RandomReal:
    """Random real images of each class. Wang et al. 2018, section 4 ("random real").

    It takes the images from which every method with the same decoder starts at the same seed, if that is initialised
    with real images, so that differences to it can be paired. It costs nothing, or the training of an expert.

    Differences: none known.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1811.10959"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {}

    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, or one that lets more, smaller ones fit, `multi_formation`, ..."""
    labels: Labels = "hard"
    """`hard`, the class of each image; or `expert,epochs=20,lr=0.1`, what a network answers that is trained for it"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder)
        labels = task.target_labels(synthetic.parts["labels"])
        artifact = synthetic.artifact(parts={"labels": labels}, initial=task.fixed_initial)
        return labelled(task, meter, self.labels, artifact)
