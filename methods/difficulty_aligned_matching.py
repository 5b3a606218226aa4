"""Trajectory matching from the stage of training that suits the number of images, with learned soft labels.

Guo, Wang, Cazenavette, Li, Zhang & You, "Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory
Matching", ICLR 2024, arXiv 2310.05773 (DATM).
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, UserError, register_method
from ddbench.families.experts import experts
from ddbench.families.synthetic_set import SyntheticSet
from ddbench.families.trajectory_matching import FlatExpertSettings, match_trajectories
from ddbench.networks.flatten import unflatten


@register_method("difficulty_aligned_matching", aliases=["datm"])
@dataclass(frozen=True)
class DifficultyAlignedMatching(FlatExpertSettings):
    """Difficulty-aligned trajectory matching (DATM). Guo et al., ICLR 2024.

    Students start at expert epochs from `min_start` to a bound that grows from `current_start` to `max_start`; images
    begin as real ones that an expert classifies rightly, and labels as the mean logits of the experts that do, which
    are learned. Choosing them costs a forward pass of `candidates` real images a class through every expert. An outer
    step costs what one of trajectory matching costs; experts cost two passes a step.

    Differences: images are chosen among `candidates` of each class, by the first expert that is right about them and,
    where too few are, by the probability of their class; where no expert is right, the largest of the mean logits
    changes places with the class's own; learned step sizes stay above 1e-4; a step that changes nothing costs no
    backward pass here. Settings that all trajectory methods have keep the defaults of trajectory matching at ipc 1;
    the authors' for CIFAR-10 at ipc 10 are 10,000 iterations, `lr_lr` 1e-5 and 100 expert epochs.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2310.05773"
    tiny: ClassVar[dict[str, object]] = {
        **FlatExpertSettings.tiny, "current_start": 1, "growing": 2, "candidates": 4,
    }  # fmt: skip

    student_steps: PositiveInt = 80
    """steps on the synthetic images"""
    max_start: PositiveInt = 20
    """the student starts at an expert epoch below this in the end"""
    min_start: NonNegativeInt = 0
    """and at this or above"""
    current_start: PositiveInt = 10
    """the bound at first"""
    growing: PositiveInt = 1000
    """outer steps until the bound is `max_start`"""
    candidates: PositiveInt = 256
    """real images of a class to choose the first from; as many as the smallest class has, if that is less"""
    lr_labels: PositiveFloat = 2.0
    """of SGD with momentum 0.9 on the logits"""
    largest: PositiveFloat = 1.0
    """a step with a larger distance changes nothing"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.min_start < self.current_start <= self.max_start:
            raise UserError(
                f"min_start {self.min_start}, current_start {self.current_start} and max_start {self.max_start} of "
                "difficulty_aligned_matching must ascend; only the last two may be equal"
            )
        if (self.decoder, self.init) != ("pixels", "real"):
            raise UserError(
                f"difficulty_aligned_matching begins with chosen real images; decoder {self.decoder!r} and init "
                f"{self.init!r} must stay pixels and real"
            )

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        trajectories = experts(task, meter, self.expert())
        with meter.phase("labels"):
            images, logits = self._begin(task, trajectories[:, -1])
        synthetic = SyntheticSet(task, parts={"images": images, "labels": logits})
        return match_trajectories(
            task, meter, self, trajectories, synthetic=synthetic, reach=self._reach,
            lr_labels=self.lr_labels, largest=self.largest,
        )  # fmt: skip

    def _reach(self, step: int) -> tuple[int, int]:
        grown = (self.max_start - self.current_start) * min(step, self.growing) // self.growing
        return self.min_start, self.current_start + grown

    def _begin(self, task: Task, trained: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images, (K * ipc, C, H, W), and logits, (K * ipc, K), to begin with, from experts (E, P)."""
        generator = task.generator("real_init")
        images, labels = task.real.batch(max(self.candidates, task.ipc), generator, of=range(task.classes))
        forward = task.compiler.function(task.forward)
        logits = torch.stack(
            [task.chunks.map(partial(forward, unflatten(expert, task.like)), images) for expert in trained]
        )  # (E, N, K)
        order = choose(logits, labels, task.ipc)
        return images[order], mean_of_right(logits[:, order], labels[order])


def choose(logits: torch.Tensor, labels: torch.Tensor, ipc: int) -> torch.Tensor:
    """Positions, (K * ipc,), of `ipc` images of each class: by the first expert that is right, then by probability.

    Args:
        logits: (E, N, K), of images that lie class by class
        labels: (N,)
    """
    right = logits.argmax(2) == labels  # (E, N)
    first = torch.where(right.any(0), right.float().argmax(0), len(logits))
    sure = logits.softmax(2).mean(0).gather(1, labels[:, None])[:, 0]
    rank = torch.where(first < len(logits), first.float(), len(logits) + 1 - sure).view(logits.shape[2], -1)
    within = rank.argsort(dim=1, stable=True)[:, :ipc]
    return (within + torch.arange(len(rank), device=rank.device)[:, None] * rank.shape[1]).flatten()


def mean_of_right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean logits, (N, K), over the experts that are right; over all where none is, its class put first.

    Args:
        logits: (E, N, K)
        labels: (N,)
    """
    right = (logits.argmax(2) == labels).to(logits.dtype)  # (E, N)
    shares = torch.where(right.any(0), right, torch.ones_like(right))
    mean = (shares[:, :, None] * logits).sum(0) / shares.sum(0)[:, None]
    rows, top = torch.arange(len(labels), device=labels.device), mean.argmax(1)
    highest, own = mean[rows, top], mean[rows, labels]
    mean[rows, top] = own
    mean[rows, labels] = highest
    return mean
