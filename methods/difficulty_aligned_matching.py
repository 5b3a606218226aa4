"""Trajectory matching from the stage of training that suits the number of images, with learned soft labels.

Guo, Wang, Cazenavette, Li, Zhang & You, "Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory
Matching", ICLR 2024, arXiv 2310.05773 (DATM).
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

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
    descend_unless,
    keep_positive,
    learned_step_size,
    minibatches,
    random_segment,
    squared_distance,
)
from ddbench.families.unrolling.unroll import Unroll
from ddbench.networks.flatten import flatten, unflatten


@register_method("difficulty_aligned_matching", aliases=["datm"])
@dataclass(frozen=True)
class DifficultyAlignedMatching:
    """Difficulty-aligned trajectory matching (DATM). Guo et al., ICLR 2024.

    Students start at expert epochs from `min_start` to a bound that grows from `current_start` to `max_start`. Images
    are initialised with real ones that an expert classifies correctly, and their labels, which are learned too, with
    the mean logits of the experts that do. Choosing them costs a forward pass of `candidates` real images a class
    through every expert. An outer step costs what one of trajectory matching costs; experts cost two passes a step.

    Differences: images are chosen among `candidates` of each class, by the first expert that is right about them and,
    where too few are, by the probability of their class; where no expert is right, the largest of the mean logits
    changes places with the class's own; the learned step size is kept at 1e-4 or above; the loss of a step that changes
    nothing is shown as `largest`. Settings that all trajectory methods have keep the defaults of trajectory matching at
    ipc 1; the authors' for CIFAR-10 at ipc 10 are 10,000 iterations, `lr_lr` 1e-5 and 100 expert epochs.
    """

    family: ClassVar[str] = "trajectory matching"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.05773"
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 4, "experts": 2, "expert_epochs": 3, "epoch_batches": 2, "batch_real": 16,
        "student_steps": 2, "match_epochs": 1, "max_start": 1, "lr_images": 1.0,
        "current_start": 1, "growing": 2, "candidates": 4,
    }  # fmt: skip

    iterations: PositiveInt = 5000
    """outer steps"""
    student_steps: Annotated[PositiveInt, LogRange(10, 100)] = 80
    """training steps of a student on the synthetic images"""
    match_epochs: PositiveInt = 2
    """expert epochs that the student's steps are to match"""
    min_start: NonNegativeInt = 0
    """lowest expert epoch at which a student starts"""
    current_start: Annotated[PositiveInt, IntegerRange(1, 20)] = 10
    """a student starts at an expert epoch below this at first"""
    max_start: Annotated[PositiveInt, IntegerRange(2, 40)] = 20
    """a student starts at an expert epoch below this in the end"""
    growing: PositiveInt = 1000
    """outer steps in which the bound grows from `current_start` to `max_start`"""
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
    candidates: PositiveInt = 256
    """real images of each class to choose the initial ones from; all of a class that has fewer"""
    lr_labels: Annotated[PositiveFloat, LogRange(0.2, 20.0)] = 2.0
    """step size of SGD with momentum 0.9 on the logits"""
    largest: PositiveFloat = 1.0
    """an outer step with a larger distance changes nothing"""
    experts: Annotated[PositiveInt, LogRange(2, 100)] = 100
    """networks trained on the real data"""
    expert_epochs: PositiveInt = 50
    """epochs of an expert; its weights are kept after each"""
    epoch_batches: Annotated[PositiveInt | None, Choice(None, 10, 50)] = None
    """batches of an expert's epoch; None takes as many as a pass over the training data"""
    lr_expert: PositiveFloat = 0.01
    """step size of the experts' SGD, without momentum"""
    batch_real: PositiveInt = 256
    """real images of an expert's batch"""
    radius: PositiveFloat = 0.01
    """radius of the neighbourhood, relative to the weights, in which an expert looks for the largest loss (rho)"""
    surrogate: NonNegativeFloat = 0.3
    """weight of the surrogate gap, between that loss and the loss of the weights themselves (alpha)"""

    def __post_init__(self) -> None:
        check_segments("difficulty_aligned_matching", self.max_start, self.match_epochs, self.expert_epochs)
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
        trajectories = expert_trajectories(task, meter, self.expert())  # (its epochs + 1, P) of each expert
        with meter.phase("labels"):
            images, logits = self._initial(task, [expert[-1].to(task.device) for expert in trajectories])
        synthetic = SyntheticSet(task, parts={"images": images, "labels": logits})
        labels = synthetic.parts["labels"].requires_grad_()
        lr = learned_step_size(task, self.lr_student)  # ()
        groups = [
            {"params": synthetic.learned, "lr": self.lr_images},
            {"params": [lr], "lr": self.lr_lr},
            {"params": [labels], "lr": self.lr_labels, "momentum": 0.9},
        ]
        state = State(synthetic=synthetic, lr=lr, optimizer=torch.optim.SGD(groups, momentum=0.5))
        unroll = Unroll(task.loss, task.compiler)

        def result() -> DistilledDataset:
            return synthetic.artifact(Recipe(lr=state.lr))

        for step in meter.steps(self.iterations, state, result):
            start, target = random_segment(task, trajectories, self.match_epochs, self._start_epochs(step))
            batches = minibatches(task, synthetic, state.lr, self.student_steps, self.batch_synthetic, self.augment)
            student = flatten(unroll(unflatten(start, task.like), batches))  # (P,)
            loss = squared_distance(student, target) / squared_distance(start, target)
            skipped = ~(loss.detach() <= self.largest)  # also where it is not a number; the host does not know
            meter.log(loss=torch.where(skipped, self.largest, loss), skipped=skipped.float(), lr=state.lr)
            descend_unless(skipped, state.optimizer, loss)
            keep_positive(state.lr)
            del student, loss  # frees their graph before the next student's is built
        return result()

    def expert(self) -> Expert:
        """Return how the experts are trained."""
        return Expert(
            count=self.experts, epochs=self.expert_epochs, epoch_batches=self.epoch_batches,
            batch=self.batch_real, lr=self.lr_expert, augment=self.augment,
            sharpness=(self.radius, self.surrogate),
        )  # fmt: skip

    def _start_epochs(self, step: int) -> range:
        """Return the expert epochs at which a student may start in this outer step."""
        grown = (self.max_start - self.current_start) * min(step, self.growing) // self.growing
        return range(self.min_start, self.current_start + grown)

    def _initial(self, task: Task, trained: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the initial images, (K * ipc, C, H, W), and logits, (K * ipc, K), by trained experts, (P,) each."""
        generator = task.generator("real_init")
        images, labels = task.real.batch(max(self.candidates, task.ipc), generator, of=range(task.classes))
        forward = task.compiler.function(task.forward)
        logits = torch.stack(
            [task.chunks.map(partial(forward, unflatten(expert, task.like)), images) for expert in trained]
        )  # (E, N, K)
        order = choose(logits, labels, task.ipc)
        return images[order], mean_of_right(logits[:, order], labels[order])


def choose(logits: torch.Tensor, labels: torch.Tensor, ipc: int) -> torch.Tensor:
    """Return the positions, (K * ipc,), of `ipc` images of each class, by the first expert that is right about them.

    Those that none is right about come last, by the probability of their class.

    Args:
        logits: of the experts, (E, N, K)
        labels: (N,)
    """
    right = logits.argmax(2) == labels  # (E, N)
    first = torch.where(right.any(0), right.float().argmax(0), len(logits))
    sure = logits.softmax(2).mean(0).gather(1, labels[:, None])[:, 0]
    rank = torch.where(first < len(logits), first.float(), len(logits) + 1 - sure)
    order = rank.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]  # class by class, by rank in each
    classes = torch.arange(logits.shape[2], device=labels.device)
    starts = torch.searchsorted(labels[order], classes)  # (K,)
    return order[starts[:, None] + torch.arange(ipc, device=labels.device)].flatten()


def mean_of_right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean logits, (N, K), of the experts that are right; of all where none is, the class made the largest.

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
