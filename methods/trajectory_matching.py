"""Trajectory matching: a few steps on the synthetic images lead where many steps on the real data lead.

Cazenavette, Wang, Torralba, Efros & Zhu, "Dataset Distillation by Matching Training Trajectories", CVPR 2022,
arXiv 2203.11932, Algorithm 1 (MTT).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, IntegerRange, LogRange, Meter, Recipe, State, Task, register_method
from ddbench.families.experts import Expert, expert_trajectories
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.trajectory_matching import (
    check_segments,
    descend,
    keep_positive,
    last_epoch,
    learned_step_size,
    minibatches,
    random_segment,
    squared_distance,
)
from ddbench.families.unrolling.unroll import Unroll
from ddbench.networks.flatten import flatten, unflatten


@register_method("trajectory_matching", aliases=["mtt"])
@dataclass(frozen=True)
class TrajectoryMatching:
    """Trajectory matching (MTT). Cazenavette et al., CVPR 2022, Algorithm 1.

    Experts are trained inside the budget and shared through the cache, charged in full to every run. An outer step
    costs a forward, a backward and a second-order pass over `batch_synthetic` images for every student step, and, where
    steps are recomputed, as compiled ones are, that forward and backward pass once more.

    Differences: the learned step size is kept at 1e-4 or above (in the authors' code it can turn negative); experts
    are drawn with replacement for each step, where the authors walk through a shuffled file; `epoch_batches` can make
    an expert's epoch shorter than a pass over the data.
    """

    family: ClassVar[str] = "trajectory matching"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2203.11932"
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 4, "experts": 2, "expert_epochs": 3, "epoch_batches": 2, "batch_real": 16,
        "student_steps": 2, "match_epochs": 1, "max_start": 1, "lr_images": 1.0,
    }  # fmt: skip

    iterations: PositiveInt = 5000
    """outer steps"""
    student_steps: Annotated[PositiveInt, LogRange(10, 100)] = 50
    """training steps of a student on the synthetic images"""
    match_epochs: PositiveInt = 2
    """expert epochs that the student's steps are to match"""
    max_start: Annotated[PositiveInt, IntegerRange(1, 8)] = 2
    """the student starts at an expert epoch below this"""
    batch_synthetic: PositiveInt | None = None
    """synthetic images of a student step; None takes all"""
    augment: Annotated[bool, Choice(True, False)] = True
    """differentiable augmentation of the images of experts and students"""
    lr_images: Annotated[PositiveFloat, LogRange(10.0, 1000.0)] = 100.0
    """step size of SGD with momentum 0.5 on the images"""
    lr_student: Annotated[PositiveFloat, LogRange(0.003, 0.03)] = 0.01
    """initial value of the student's learned step size"""
    lr_lr: NonNegativeFloat = 1e-7
    """step size of SGD with momentum 0.5 on the student's step size"""
    decoder: Parametrisation = "pixels"
    """what is learned in place of pixels: `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """images start as `real` or `noise`"""
    experts: Annotated[PositiveInt, LogRange(2, 100)] = 100
    """networks trained on the real data"""
    expert_epochs: PositiveInt = 50
    """epochs of an expert, of which only those are trained that a student can reach; weights are kept after each"""
    epoch_batches: Annotated[PositiveInt | None, Choice(None, 10, 50)] = None
    """batches of an expert's epoch; None takes as many as a pass over the training data"""
    lr_expert: PositiveFloat = 0.01
    """step size of the experts' SGD, without momentum"""
    batch_real: PositiveInt = 256
    """real images of an expert's batch"""

    def __post_init__(self) -> None:
        check_segments("trajectory_matching", self.max_start, self.match_epochs, self.expert_epochs)

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        trajectories = expert_trajectories(task, meter, self.expert())  # (its epochs + 1, P) of each expert
        synthetic = SyntheticSet(task, self.decoder, self.init)
        lr = learned_step_size(task, self.lr_student)  # ()
        groups = [{"params": synthetic.learned, "lr": self.lr_images}, {"params": [lr], "lr": self.lr_lr}]
        state = State(synthetic=synthetic, lr=lr, optimizer=torch.optim.SGD(groups, momentum=0.5))
        unroll = Unroll(task.loss, task.compiler)

        def result() -> DistilledDataset:
            return synthetic.artifact(Recipe(lr=state.lr))

        for _ in meter.steps(self.iterations, state, result):
            start, target = random_segment(task, trajectories, self.match_epochs, range(self.max_start))  # (P,) each
            batches = minibatches(task, synthetic, state.lr, self.student_steps, self.batch_synthetic, self.augment)
            student = flatten(unroll(unflatten(start, task.like), batches))  # (P,)
            loss = squared_distance(student, target) / squared_distance(start, target)
            meter.log(loss=loss, lr=state.lr)
            descend(state.optimizer, loss)
            keep_positive(state.lr)
            del student, loss  # frees their graph before the next student's is built
        return result()

    def expert(self) -> Expert:
        """Return how the experts are trained."""
        return Expert(
            count=self.experts, epochs=last_epoch(self.max_start, self.match_epochs),
            epoch_batches=self.epoch_batches, batch=self.batch_real, lr=self.lr_expert, augment=self.augment,
        )  # fmt: skip
