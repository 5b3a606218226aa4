"""Trajectory matching: a few steps on the synthetic images lead where many steps on the real data lead.

Cazenavette, Wang, Torralba, Efros & Zhu, "Dataset Distillation by Matching Training Trajectories", CVPR 2022,
arXiv 2203.11932, Algorithm 1 (MTT).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Recipe, State, Task, UserError, register_method
from ddbench.matching.experts import flatten, train_experts, unflatten
from ddbench.matching.unroll import Unroll

SMALLEST_LR = 1e-4


@register_method("trajectory_matching", aliases=["mtt"])
@dataclass(frozen=True)
class TrajectoryMatching:
    """Trajectory matching (MTT). Cazenavette et al., CVPR 2022, Algorithm 1.

    Experts are trained inside the budget and shared through the cache, charged in full to every run. An outer step
    costs `student_steps` training steps on `batch_synthetic` images twice, and a second-order pass through each.

    Differences: the learned step size is kept at 1e-4 or above (in the authors' code it can turn negative); experts
    are drawn with replacement for each step, where the authors walk through a shuffled file; `epoch_batches` can make
    an expert's epoch shorter than a pass over the data.
    """

    family: ClassVar[str] = "trajectory matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2203.11932"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 4, "experts": 2, "expert_epochs": 3, "epoch_batches": 2, "batch_real": 16,
        "student_steps": 2, "match_epochs": 1, "max_start": 1, "lr_images": 1.0,
    }  # fmt: skip

    iterations: PositiveInt = 5000
    """outer steps"""
    experts: PositiveInt = 100
    """networks trained on the real data"""
    expert_epochs: PositiveInt = 50
    """positions kept of each"""
    epoch_batches: PositiveInt | None = None
    """batches of an expert's epoch; None is a pass over the training data"""
    lr_expert: PositiveFloat = 0.01
    """of the experts' SGD, without momentum"""
    batch_real: PositiveInt = 256
    student_steps: PositiveInt = 50
    """steps on the synthetic images"""
    match_epochs: PositiveInt = 2
    """expert epochs they are to equal"""
    max_start: PositiveInt = 2
    """the student starts at an expert epoch below this"""
    lr_images: PositiveFloat = 100.0
    """of SGD with momentum 0.5 on the images"""
    lr_lr: NonNegativeFloat = 1e-7
    """of SGD with momentum 0.5 on the learned step size"""
    lr_student: PositiveFloat = 0.01
    """initial learned step size"""
    batch_synthetic: PositiveInt | None = None
    """synthetic images a student step; None takes all"""
    augment: bool = True
    """differentiable augmentation of experts and students"""

    def __post_init__(self) -> None:
        reach = self.max_start + self.match_epochs - 1
        if reach > self.expert_epochs:
            raise UserError(
                f"trajectory_matching's max_start {self.max_start} and match_epochs {self.match_epochs} need "
                f"expert_epochs of {reach}, got {self.expert_epochs}; raise it"
            )

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        experts = self._experts(task, meter)  # (experts, expert_epochs + 1, P)
        images, labels = task.real_init()
        lr = torch.tensor(self.lr_student, device=task.device, requires_grad=True)
        images.requires_grad_()
        groups = [{"params": [images], "lr": self.lr_images}, {"params": [lr], "lr": self.lr_lr}]
        state = State(images=images, lr=lr, optimizer=torch.optim.SGD(groups, lr=0.0, momentum=0.5))

        def result() -> DistilledDataset:
            return DistilledDataset.pixels(state.images, labels, recipe=Recipe(lr=state.lr))

        unroll = Unroll(task.loss, task.compiler)
        for _ in meter.steps(self.iterations, state, result):
            start, target = self._stretch(task, experts)
            loss = self._distance(task, state, labels, start, target, unroll)
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()
            with torch.no_grad():
                state.lr.clamp_(min=SMALLEST_LR)
            meter.log(loss=loss, lr=state.lr)
        return result()

    def _experts(self, task: Task, meter: Meter) -> torch.Tensor:
        settings = {
            "experts": self.experts,
            "epochs": self.expert_epochs,
            "epoch_batches": self.epoch_batches,
            "batch": self.batch_real,
            "lr": self.lr_expert,
            "augment": self.augment,
        }

        def make(generator: torch.Generator) -> dict[str, torch.Tensor]:
            return {"trajectories": train_experts(task, meter, generator, **settings)}

        return meter.cached("experts", settings, make)["trajectories"]

    def _stretch(self, task: Task, experts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights where a random expert starts and where it is `match_epochs` later, (P,) each."""
        generator = task.generator("stretch", device="cpu")
        expert = int(torch.randint(len(experts), (), generator=generator))
        epoch = int(torch.randint(self.max_start, (), generator=generator))
        return experts[expert, epoch], experts[expert, epoch + self.match_epochs]

    def _distance(
        self,
        task: Task,
        state: State,
        labels: torch.Tensor,
        start: torch.Tensor,
        target: torch.Tensor,
        unroll: Unroll,
    ) -> torch.Tensor:
        """How far the student ends from the expert, as a share of how far the expert went; 1 for one that stays."""
        generator = task.generator("student", device="cpu")
        batches = ((state.images[chosen], labels[chosen]) for chosen in self._batches(len(labels), generator))
        steps = ((self._augmented(task, images, generator), labels, state.lr) for images, labels in batches)
        student = unroll(unflatten(start, task.initial(generator)), steps)
        return (flatten(student) - target).square().sum() / (start - target).square().sum()

    def _augmented(self, task: Task, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return task.augmentation(images, generator) if self.augment else images

    def _batches(self, count: int, generator: torch.Generator) -> list[torch.Tensor]:
        size = self.batch_synthetic or count
        batches: list[torch.Tensor] = []
        while len(batches) < self.student_steps:
            batches.extend(torch.randperm(count, generator=generator).split(size))
        return batches[: self.student_steps]
