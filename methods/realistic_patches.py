"""Realistic patches: crops of real images that a teacher recognises best, labelled by the teacher.

Sun, Shi, Yu & Lin, "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm"
(RDED), CVPR 2024, arXiv 2312.03526, Algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor

from ddbench import DistilledDataset, Meter, Task, UserError, Weights, register_method
from ddbench.families.difficulty import Share
from ddbench.families.label_sources import ExpertLabels, Labels, expert_weights, labelled_by, parse_labels
from ddbench.families.patches import random_resized_crops, stitched
from ddbench.networks.flatten import unflatten


@register_method("realistic_patches", aliases=["rded"])
@dataclass(frozen=True)
class RealisticPatches:
    """Patches of real images with the lowest loss in a teacher (RDED). Sun et al., CVPR 2024, Algorithm 1.

    Of each candidate image, several random crops are made, and the one with the lowest cross-entropy is kept; the
    patches with the lowest of all make the images, `factor` x `factor` to an image. It costs the training of the
    teacher, which also labels, and a forward pass over all crops; nothing is optimised.

    Differences: the teacher is the cell's network, trained within the budget, and sees each crop at the size of an
    image; a crop whose sides would be longer than the image's has the image's, where the authors' library draws
    again; images are kept as they are, and not as JPEG.
    """

    family: ClassVar[str] = "decoupled"
    paper: ClassVar[str] = "https://arxiv.org/abs/2312.03526"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"candidates": 10, "labels": "teacher,epochs=1,epoch_batches=2,batch=16"}

    candidates: PositiveInt = 300
    """random real images of each class that are cropped"""
    crops: PositiveInt = 5
    """random crops of an image, of which one is kept"""
    smallest: Share = 0.08
    """smallest area of a crop, as a share of its image's"""
    factor: PositiveInt = 1
    """patches on each side of an image; 1 for images of 32 pixels, as the authors have it"""
    labels: Labels = "teacher"
    """`teacher`, `stored`, `expert`, with the teacher's settings as in `teacher,epochs=20`; or `hard`, the classes"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        if any(side % self.factor for side in task.shape[1:]):
            height, width = task.shape[1:]
            raise UserError(f"factor {self.factor} does not divide images of {height} x {width}; choose one that does")
        soft = parse_labels(self.labels)
        teacher = unflatten(expert_weights(task, meter, soft.expert if soft else ExpertLabels()), task.like)
        patches = [self._best_patches(task, teacher, c) for c in range(task.classes)]  # K of (ipc * factor^2, C, H, W)
        images = torch.cat([stitched(own, self.factor) for own in patches])  # (K * ipc, C, H, W)
        artifact = DistilledDataset.pixels(images, task.target_labels(task.labels()))
        return artifact if soft is None else labelled_by(task, teacher, soft, artifact)

    def _best_patches(self, task: Task, teacher: Weights, c: int) -> Tensor:
        """Return a class's patches of the lowest loss, at the size of images; fewer candidates are repeated."""
        generator = task.generator("patches", device="cpu")
        order = torch.randperm(task.real.counts[c], generator=generator)[: self.candidates]
        images, labels = task.real.take(task.real.class_indices(c)[order.to(task.device, non_blocking=True)])
        made = [random_resized_crops(images, self.smallest, generator) for _ in range(self.crops)]
        crops = torch.stack(made)  # (crops, M, C, H, W)
        logits = task.chunks.map(lambda part: task.first_order.forward(teacher, part), crops.flatten(0, 1))
        targets = task.target_labels(labels).repeat(self.crops)
        losses = F.cross_entropy(logits.float(), targets, reduction="none").unflatten(0, (self.crops, -1))  # (crops, M)
        lowest, which = losses.min(0)  # (M,), (M,)
        best = crops[which, torch.arange(len(which), device=which.device)]
        needed = torch.arange(task.ipc * self.factor**2, device=which.device) % len(which)
        return best[lowest.argsort(stable=True)[needed]]
