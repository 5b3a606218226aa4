"""Trajectory matching: a few steps on the synthetic images lead where many steps on the real data lead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset, Recipe
from ddbench.errors import UserError
from ddbench.families.experts import Expert, ExpertSettings, experts
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.unrolling.recompute import LazyBatch, Step
from ddbench.families.unrolling.unroll import Unroll
from ddbench.meter.checkpoint import State
from ddbench.networks.flatten import flatten, unflatten

if TYPE_CHECKING:
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

SMALLEST_LR = 1e-4
Reach = Callable[[int], tuple[int, int]]
"""outer step -> the expert epochs [first, last) at one of which the student starts"""
Relabel = Callable[[Tensor], Tensor]
"""weights that the student is to reach, (P,) -> soft labels of the synthetic images, (N, K)"""


@dataclass(frozen=True)
class TrajectoryMatchingSettings(ExpertSettings):
    """What the methods of the family have in common."""

    name: ClassVar[str]
    family: ClassVar[str] = "trajectory matching"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 4, "experts": 2, "expert_epochs": 3, "epoch_batches": 2, "batch_real": 16,
        "student_steps": 2, "match_epochs": 1, "max_start": 1, "lr_images": 1.0,
    }  # fmt: skip

    iterations: PositiveInt = 5000
    """outer steps"""
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
    decoder: Parametrisation = "pixels"
    """what is learned in place of pixels: `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """images start as `real` or `noise`"""

    def __post_init__(self) -> None:
        reach = self.max_start + self.match_epochs - 1
        if reach > self.expert_epochs:
            raise UserError(
                f"max_start {self.max_start} and match_epochs {self.match_epochs} of {self.name} need "
                f"expert_epochs of {reach}, got {self.expert_epochs}; raise it"
            )

    def expert(self) -> Expert:
        """How this method's experts are trained."""
        return Expert(
            count=self.experts,
            epochs=self.expert_epochs,
            batch=self.batch_real,
            lr=self.lr_expert,
            epoch_batches=self.epoch_batches,
            augment=self.augment,
        )


@dataclass(frozen=True)
class FlatExpertSettings(TrajectoryMatchingSettings):
    """Of the methods whose experts seek flat minima, see `experts.sharpness_aware`."""

    radius: PositiveFloat = 0.01
    """of the neighbourhood in which an expert looks for the largest loss (rho)"""
    surrogate: NonNegativeFloat = 0.3
    """weight of closing the gap to that loss (alpha)"""

    def expert(self) -> Expert:
        return replace(super().expert(), sharpness=(self.radius, self.surrogate))


def match_trajectories(
    task: Task,
    meter: Meter,
    settings: TrajectoryMatchingSettings,
    trajectories: Tensor | None = None,
    *,
    synthetic: SyntheticSet | None = None,
    unroll: Unroll | None = None,
    reach: Reach | None = None,
    relabel: Relabel | None = None,
    lr_labels: float = 0.0,
    largest: float = math.inf,
    averaging: float = 0.0,
) -> DistilledDataset:
    """Learn images on which a student ends where an expert ends.

    Args:
        trajectories: of the experts, (experts, epochs + 1, P); by default those of the settings
        synthetic: what is learned; by default random real images
        unroll: the student's training; by default exact
        reach: where students start; by default below `max_start`
        relabel: new labels at each step
        lr_labels: of SGD with momentum 0.9 on soft labels; 0 leaves them
        largest: a step with a distance above this changes nothing
        averaging: decay of a running average of the parts, which is returned in their place; 0 is none
    """
    if trajectories is None:
        trajectories = experts(task, meter, settings.expert())
    synthetic = synthetic or SyntheticSet(task, settings.decoder, settings.init)
    state = _state(task, settings, synthetic, lr_labels, averaging)
    student = _Student(task, settings, synthetic, unroll or Unroll(task.loss, task.compiler))

    def result() -> DistilledDataset:
        return synthetic.artifact(Recipe(lr=state.lr), state.average)

    for step in meter.steps(settings.iterations, state, result):
        start, target = _stretch(task, trajectories, *(reach(step) if reach else (0, settings.max_start)), settings)
        if relabel is not None:
            synthetic.parts["labels"].copy_(relabel(target))
        loss = student.distance(state.lr, start, target)
        if largest < math.inf:
            skips = not loss.item() <= largest  # also where it is not a number
            meter.log(skipped=float(skips))
            if skips:
                continue
        meter.log(loss=loss, lr=state.lr)
        state.optimizer.zero_grad()
        loss.backward()
        del loss  # and what it was computed from, before the next student's is kept
        state.optimizer.step()
        with torch.no_grad():
            state.lr.clamp_(min=SMALLEST_LR)
            for name, average in state.average.items():
                average.lerp_(synthetic.parts[name], 1 - averaging)
    return result()


def _state(
    task: Task, settings: TrajectoryMatchingSettings, synthetic: SyntheticSet, lr_labels: float, averaging: float
) -> State:
    lr = torch.tensor(settings.lr_student, device=task.device, requires_grad=True)
    groups = [{"params": synthetic.learned, "lr": settings.lr_images}, {"params": [lr], "lr": settings.lr_lr}]
    if lr_labels:
        labels = synthetic.parts["labels"].requires_grad_()
        groups.append({"params": [labels], "lr": lr_labels, "momentum": 0.9})
    averaged = synthetic.parts.items() if averaging else ()
    return State(
        synthetic=synthetic,
        lr=lr,
        optimizer=torch.optim.SGD(groups, lr=0.0, momentum=0.5),
        average={name: part.detach().clone() for name, part in averaged if part.is_floating_point()},
    )


def _stretch(
    task: Task, trajectories: Tensor, first: int, last: int, settings: TrajectoryMatchingSettings
) -> tuple[Tensor, Tensor]:
    """Weights where a random expert starts and where it is `match_epochs` later, (P,) each."""
    generator = task.generator("stretch", device="cpu")
    expert = int(torch.randint(len(trajectories), (), generator=generator))
    epoch = int(torch.randint(first, last, (), generator=generator))
    return trajectories[expert, epoch], trajectories[expert, epoch + settings.match_epochs]


class _Student:
    """Trains on the synthetic images from where an expert was."""

    def __init__(
        self, task: Task, settings: TrajectoryMatchingSettings, synthetic: SyntheticSet, unroll: Unroll
    ) -> None:
        self._task, self._settings, self._synthetic, self._unroll = task, settings, synthetic, unroll

    def distance(self, lr: Tensor, start: Tensor, target: Tensor) -> Tensor:
        """How far the student ends from the expert, as a share of how far the expert went; 1 for one that stays."""
        generator = self._task.generator("student", device="cpu")
        student = self._unroll(unflatten(start, self._task.like), self._steps(lr, generator))
        return (flatten(student) - target).square().sum() / (start - target).square().sum()

    def _steps(self, lr: Tensor, generator: torch.Generator) -> Iterator[Step]:
        images, labels = self._images()
        for number, chosen in enumerate(self._batches(len(images), generator)):
            if number and self._synthetic.decoder.fresh:
                images, labels = self._images()
            chosen = chosen.to(images.device, non_blocking=True)
            view = self._view(chosen, generator)
            yield (view(images) if self._synthetic.decoder.fresh else LazyBatch(images, view)), labels[chosen], lr

    def _view(self, chosen: Tensor, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
        if not self._settings.augment:
            return itemgetter(chosen)
        augmentation = self._task.augmentation
        draw = augmentation.draw(tuple(chosen.shape), generator, shared=False)
        return lambda images: augmentation.apply(images[chosen], draw)

    def _images(self) -> tuple[Tensor, Tensor]:
        images, labels = self._synthetic.images()
        return images, labels.softmax(1) if self._synthetic.label_kind == "logits" else labels

    def _batches(self, count: int, generator: torch.Generator) -> list[Tensor]:
        size = self._settings.batch_synthetic or count
        batches: list[Tensor] = []
        while len(batches) < self._settings.student_steps:
            batches.extend(torch.randperm(count, generator=generator).split(size))
        return batches[: self._settings.student_steps]
