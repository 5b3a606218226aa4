"""The mean image of each class.

A baseline of Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, section 4.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ddbench import DistilledDataset, Meter, Task, register_method


@register_method("class_mean")
@dataclass(frozen=True)
class ClassMean:
    """Mean image of each class; with several images a class, the means of as many random parts of it.

    It costs one pass over the training images.

    Differences: the paper has one mean of the whole class.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1811.10959"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {}

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        generator, means = task.generator("parts", device="cpu"), []
        for c in range(task.classes):
            indices = task.real.class_indices(c)
            order = torch.randperm(len(indices), generator=generator)
            order = order.to(indices.device, non_blocking=True)
            for part in torch.tensor_split(indices[order], task.ipc):
                means.append(task.real.take(part)[0].mean(0))
        labels = task.target_labels(task.labels())
        return DistilledDataset.pixels(torch.stack(means), labels, initial=task.fixed_initial)
