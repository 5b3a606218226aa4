"""Trajectory matching in constant memory, with soft labels from the experts.

Cui, Wang, Si & Hsieh, "Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory", ICML 2023,
arXiv 2211.10586 (TESLA).
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import (
    Choice,
    DistilledDataset,
    IntegerRange,
    LogRange,
    Meter,
    Recipe,
    State,
    Task,
    UserError,
    register_method,
)
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


@register_method("scalable_trajectory_matching", aliases=["tesla"])
@dataclass(frozen=True)
class ScalableTrajectoryMatching:
    """Trajectory matching in constant memory (TESLA). Cui et al., ICML 2023.

    The backward pass computes each student step, its augmented batch too, a second time from the weights before it, so
    that no graph outlives its step: memory grows with `student_steps` by one set of weights each. An outer step costs
    what a recomputed one of trajectory matching costs.

    The published gradient, `approximate`, takes the weights of every step for constants: it leaves out how a change of
    an early image moves all later steps. `exact` recomputation gives the gradient of trajectory matching itself.

    Differences: the authors' code loses a factor of 2 in its gradient; here it is whole. Soft labels in the artefact
    are those of the last expert to be reached, as there; the learned step size is kept at 1e-4 or above.
    """

    family: ClassVar[str] = "trajectory matching"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2211.10586"
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
    gradient: Literal["exact", "approximate"] = "approximate"
    """gradient of the distance: `approximate` as published, or `exact` as in trajectory matching"""
    soft_labels: bool = False
    """label the images at every outer step by the probabilities of the expert to be reached"""
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
        check_segments("scalable_trajectory_matching", self.max_start, self.match_epochs, self.expert_epochs)
        if self.soft_labels and self.decoder != "pixels":
            raise UserError(
                f"soft_labels of scalable_trajectory_matching are one for each stored image and decoder is "
                f"{self.decoder!r}; choose decoder pixels, or no soft labels"
            )

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        trajectories = expert_trajectories(task, meter, self.expert())  # (its epochs + 1, P) of each expert
        synthetic = SyntheticSet(task, self.decoder, self.init, soft=self.soft_labels)
        lr = learned_step_size(task, self.lr_student)  # ()
        groups = [{"params": synthetic.learned, "lr": self.lr_images}, {"params": [lr], "lr": self.lr_lr}]
        state = State(synthetic=synthetic, lr=lr, optimizer=torch.optim.SGD(groups, momentum=0.5))
        unroll = Unroll(task.loss, task.compiler, recompute=True, chained=self.gradient == "exact")

        def result() -> DistilledDataset:
            return synthetic.artifact(Recipe(lr=state.lr))

        for _ in meter.steps(self.iterations, state, result):
            start, target = random_segment(task, trajectories, self.match_epochs, range(self.max_start))  # (P,) each
            if self.soft_labels:
                synthetic.parts["labels"].copy_(probabilities(task, target, synthetic.images()[0]))
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


def probabilities(task: Task, expert: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return the class probabilities, (N, K), of the images by the network with an expert's weights, (P,)."""
    forward = partial(task.forward, unflatten(expert, task.like))
    return task.chunks.map(lambda chunk: forward(chunk).softmax(1), images)
