"""Random real images with the soft labels of a network: the control of every method that stores soft labels.

Qin, Deng & Alvarez-Melis, "A Label is Worth a Thousand Images in Dataset Distillation", NeurIPS 2024, arXiv 2406.10485.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.experts import Expert, expert_trajectories
from ddbench.networks.flatten import unflatten


@register_method("random_soft_labels")
@dataclass(frozen=True)
class RandomSoftLabels:
    """Random real images, labelled once by an expert that stopped early. Qin et al., NeurIPS 2024.

    It takes the images of `random_real`, so that the difference to it is that of the labels. It costs the training of
    one network.

    Differences: the expert's epochs are a hyper-parameter, where the authors choose them for each number of images.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/2406.10485"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"expert_epochs": 1, "epoch_batches": 2, "batch_real": 16}

    augment: bool = True
    """differentiable augmentation of the expert's images"""
    expert_epochs: PositiveInt = 20
    """epochs after which the expert labels; the authors' at ipc 1 on CIFAR-10, 44 at ipc 10"""
    epoch_batches: PositiveInt | None = None
    """batches of an expert's epoch; None takes as many as a pass over the training data"""
    lr_expert: PositiveFloat = 1e-3
    """step size of the expert's SGD, without momentum"""
    batch_real: PositiveInt = 256
    """real images of an expert's batch"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        expert = Expert(
            count=1, epochs=self.expert_epochs, epoch_batches=self.epoch_batches,
            batch=self.batch_real, lr=self.lr_expert, augment=self.augment,
        )  # fmt: skip
        (trajectory,) = expert_trajectories(task, meter, expert)  # (expert_epochs + 1, P)
        forward = partial(task.forward, unflatten(trajectory[-1].to(task.device), task.like))
        images, _ = task.real_init()  # (K * ipc, C, H, W)
        labels = task.chunks.map(lambda chunk: forward(chunk).softmax(1), images)  # (K * ipc, K)
        return DistilledDataset.pixels(images, labels, label_kind="probabilities")
