"""Dataset distillation by back-propagation through a short training on the synthetic images.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, Algorithm 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch.optim.lr_scheduler import LRScheduler

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
    Weights,
    register_method,
)
from ddbench.families.backprop import OuterLoss
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.unrolling.recompute import LazyBatch, Step
from ddbench.families.unrolling.unroll import Unroll


@register_method("backprop", aliases=["dd", "bptt"])
@dataclass(frozen=True)
class Backprop:
    """Dataset distillation by back-propagation through training. Wang et al. 2018, Algorithm 1.

    A network trains on batches of the synthetic images, in a fixed order and for some epochs, and each of its steps has
    a learned step size. Setting `random` draws fresh initial weights for each outer step, `fixed` keeps one set and
    stores it, `pretrained` draws a trained network of a pool, and `attack` does so to make such networks take one class
    for another. An outer step costs, for each of `networks_per_step`, three forward and backward passes over the batch
    for every training step, with a second-order pass, and one over `batch_real` real images. Memory holds the graphs of
    all training steps, or one set of weights for each where they are recomputed.

    Differences: initial weights are those of the cell's network, PyTorch's by default, where the authors use Xavier's,
    which `lenet,init=xavier` has. Real images are not augmented, where the authors pad, crop and flip CIFAR-10's.
    Networks of a pool are drawn with replacement, theirs without. Each of `networks_per_step` is tested on other real
    images, theirs on the same.
    """

    family: ClassVar[str] = "backprop through optimisation"
    paper: ClassVar[str] = "https://arxiv.org/abs/1811.10959"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"iterations": 5, "epochs": 2, "batch_real": 16}

    iterations: PositiveInt = 24_000
    """outer steps (the authors' 400 epochs over MNIST)"""
    images_per_step: PositiveInt = 1
    """images of each class in a training step; ipc / images_per_step steps make an epoch"""
    epochs: Annotated[PositiveInt, IntegerRange(1, 10)] = 3
    """passes over the images, in the same order"""
    batch_real: Annotated[PositiveInt, LogRange(128, 2048)] = 1024
    """real images in the outer loss"""
    lr_images: Annotated[PositiveFloat, LogRange(0.001, 0.1)] = 0.01
    """step size of Adam (0.5, 0.999) on images and step sizes, which are learned before a softplus"""
    schedule: Literal["halved", "cosine"] = "halved"
    """decay of `lr_images`: `halved` every `decay_every` outer steps, as published, or a `cosine` to 0 over all"""
    decay_every: PositiveInt = 2400
    """outer steps between two halvings"""
    largest: Annotated[PositiveFloat | None, Choice(None, 0.3)] = None
    """norm to which the gradient of images and step sizes is clipped; None, as published, does not clip"""
    lr_initial: Annotated[PositiveFloat, LogRange(0.002, 0.2)] = 0.02
    """initial value of each learned step size"""
    jitter: PositiveFloat | None = None
    """noise on the initial weights of each training, in standard deviations of each parameter, decaying as `lr_images`
    does; None, as published, adds none, and images for a `fixed` start then overfit even the rounding of its weights"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Annotated[Init, Choice("noise", "real")] = "noise"
    """initial images: `noise`, as published, or `real`"""
    networks_per_step: PositiveInt = 1
    """networks trained in an outer step, whose gradients are averaged; 4 as published for those of a pool"""
    recompute: bool | None = None
    """compute each training step a second time in the backward pass, so that hundreds fit into memory; None does where
    steps are compiled, which is faster, and otherwise stores their graphs"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        order = self._order(synthetic.images()[1], task.classes)  # (batches, K * images_per_step)
        raw = torch.full((self.epochs * len(order),), self.lr_initial, device=task.device).expm1().log()
        learned = [*synthetic.learned, raw.requires_grad_()]  # softplus(raw) are the step sizes
        optimizer = torch.optim.Adam(learned, lr=self.lr_images, betas=(0.5, 0.999))
        schedule = self._schedule(optimizer)
        state = State(synthetic=synthetic, raw=raw, optimizer=optimizer, schedule=schedule)

        def result() -> DistilledDataset:
            recipe = Recipe(lr=F.softplus(state.raw), order=order, epochs=self.epochs)
            return synthetic.artifact(recipe, initial=task.fixed_initial)

        unroll = Unroll(task.loss, task.compiler, recompute=self.recompute)
        outer_loss, share = OuterLoss(task, self.batch_real), 1 / self.networks_per_step
        for _ in meter.steps(self.iterations, state, result):
            first_lr = F.softplus(state.raw[0].detach())
            state.optimizer.zero_grad()
            loss = torch.zeros((), device=task.device)
            for _ in range(self.networks_per_step):
                start = self._start(task, state.schedule)
                steps = self._training_steps(synthetic, state.raw, order)
                loss = loss + outer_loss.backward(unroll(start, steps), share)
            if self.largest is not None:
                torch.nn.utils.clip_grad_norm_(learned, self.largest)
            state.optimizer.step()
            state.schedule.step()
            meter.log(loss=loss, first_lr=first_lr)
        return result()

    def _training_steps(self, synthetic: SyntheticSet, raw: torch.Tensor, order: torch.Tensor) -> Iterator[Step]:
        """Yield the steps of a training: the batches of every epoch, each with its own step size."""
        (images, labels), lrs = synthetic.images(), iter(F.softplus(raw))
        for epoch in range(self.epochs):
            if epoch and synthetic.decoder.fresh:
                images, labels = synthetic.images()
            for chosen in order:
                yield LazyBatch(images, itemgetter(chosen)), labels[chosen], next(lrs)

    def _start(self, task: Task, schedule: LRScheduler) -> Weights:
        """Draw the initial weights of a training, with `jitter`."""
        weights = task.initial()
        if self.jitter is None:
            return weights
        share, generator = self.jitter * schedule.get_last_lr()[0] / self.lr_images, task.generator("jitter")
        for weight in weights.values():
            noise = torch.randn(weight.shape, generator=generator, device=weight.device)
            weight.add_(share * weight.std(correction=0) * noise)
        return weights

    def _schedule(self, optimizer: torch.optim.Adam) -> LRScheduler:
        if self.schedule == "cosine":
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.iterations)
        return torch.optim.lr_scheduler.StepLR(optimizer, self.decay_every, 0.5)

    def check_ipc(self, ipc: int) -> None:
        if self.decoder == "pixels":
            self._check_divides(f"ipc {ipc}", ipc)

    def _check_divides(self, what: str, count: int) -> None:
        if count % self.images_per_step:
            raise UserError(
                f"images_per_step {self.images_per_step} of backprop does not divide {what}; "
                "choose a divisor, such as 1"
            )

    def _order(self, labels: torch.Tensor, classes: int) -> torch.Tensor:
        """Return the images of each step of an epoch, (batches, K * images_per_step)."""
        positions = torch.arange(len(labels), device=labels.device).view(classes, -1)
        self._check_divides(f"the {positions.shape[1]} images of a class", positions.shape[1])
        return torch.stack([chunk.flatten() for chunk in positions.split(self.images_per_step, dim=1)])
