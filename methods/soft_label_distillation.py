"""Soft-label dataset distillation: labels are learned beside images and step sizes.

Sucholutsky & Schonlau, "Soft-Label Dataset Distillation and Text Dataset Distillation", IJCNN 2021, arXiv 1910.02551,
Algorithm 1.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt

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
from ddbench.families.backprop import OuterLoss
from ddbench.families.synthetic_set import Init, SyntheticSet
from ddbench.families.unrolling.unroll import Unroll


@register_method("soft_label_distillation", aliases=["sldd"])
@dataclass(frozen=True)
class SoftLabelDistillation:
    """Soft-label dataset distillation (SLDD). Sucholutsky & Schonlau, IJCNN 2021, Algorithm 1.

    A network trains for some epochs, each one step on all images, and the loss of real images is back-propagated to the
    images, the step sizes and the labels, which are numbers of either sign and begin as classes: the loss of a step is
    -sum of labels x log-probabilities. So an image may stand for several classes, and fewer images than classes may do.
    An outer step costs three forward and backward passes over all images for every epoch, with a second-order pass, and
    one over `batch_real` real images.

    Differences: an epoch is always one step, as where the authors train LeNet; fewer images than classes begin with the
    first classes; real images are not augmented.
    """

    family: ClassVar[str] = "backprop through optimisation"
    paper: ClassVar[str] = "https://arxiv.org/abs/1910.02551"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed")
    tiny: ClassVar[dict[str, object]] = {"iterations": 5, "epochs": 2, "batch_real": 16}

    iterations: PositiveInt = 20_650
    """outer steps (the authors' 350 epochs over MNIST)"""
    images: PositiveInt | None = None
    """synthetic images of all classes together, at most ipc for each; None takes as many"""
    epochs: Annotated[PositiveInt, IntegerRange(1, 10)] = 3
    """steps of a training, each on all images"""
    batch_real: Annotated[PositiveInt, LogRange(128, 2048)] = 1024
    """real images in the outer loss"""
    lr: Annotated[PositiveFloat, LogRange(0.001, 0.1)] = 0.01
    """step size of Adam (0.5, 0.999) on images, labels and step sizes, which are learned before a softplus"""
    decay_every: PositiveInt = 2065
    """outer steps between two halvings of `lr` (the authors' 35 epochs)"""
    lr_initial: Annotated[PositiveFloat, LogRange(0.001, 0.1)] = 0.01
    """initial value of each learned step size"""
    init: Annotated[Init, Choice("noise", "real")] = "noise"
    """initial images: `noise`, as published, or `real`"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = self._start(task)
        images, labels = synthetic.parts["images"], synthetic.parts["labels"].requires_grad_()  # (N, C, H, W), (N, K)
        raw = torch.full((self.epochs,), self.lr_initial, device=task.device).expm1().log().requires_grad_()
        optimizer = torch.optim.Adam([images, labels, raw], lr=self.lr, betas=(0.5, 0.999))
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, self.decay_every, 0.5)
        state = State(synthetic=synthetic, raw=raw, optimizer=optimizer, schedule=schedule)
        order = torch.arange(len(images))[None]  # (1, N)

        def result() -> DistilledDataset:
            recipe = Recipe(lr=F.softplus(state.raw), order=order, epochs=self.epochs)
            return synthetic.artifact(recipe, initial=task.fixed_initial)

        unroll, outer_loss = Unroll(task.loss, task.compiler), OuterLoss(task, self.batch_real)
        for _ in meter.steps(self.iterations, state, result):
            state.optimizer.zero_grad()
            trained = unroll(task.initial(), [(images, labels, lr) for lr in F.softplus(state.raw)])
            loss = outer_loss.backward(trained)
            state.optimizer.step()
            state.schedule.step()
            meter.log(loss=loss)
        return result()

    def _start(self, task: Task) -> SyntheticSet:
        """Return as many images as asked for, one of each class in turn, labelled with these classes."""
        most = task.classes * task.ipc
        if (self.images or 0) > most:
            raise UserError(
                f"images={self.images} of soft_label_distillation are more than {task.classes} classes x ipc "
                f"{task.ipc}; lower images or raise ipc"
            )
        turns = torch.arange(most, device=task.device).view(task.classes, task.ipc).T.flatten()[: self.images]
        parts = {name: part.detach()[turns] for name, part in SyntheticSet(task, init=self.init).parts.items()}
        synthetic = SyntheticSet(task, soft=True, parts=parts)
        synthetic.label_kind = "weights"
        return synthetic
