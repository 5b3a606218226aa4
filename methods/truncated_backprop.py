"""Backprop through a window of steps, at a random place of a long training.

Feng, Vedantam & Kempe, "Embarrassingly Simple Dataset Distillation", ICLR 2024, arXiv 2311.07025 (RaT-BPTT).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, State, Task, UserError, register_method
from ddbench.families.backprop import OuterLoss, balanced_batch
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.unrolling.recompute import LazyBatch, Step
from ddbench.families.unrolling.unroll import Unroll
from ddbench.families.unrolling.update_rules import Adam


@register_method("truncated_backprop", aliases=["rat_bptt"])
@dataclass(frozen=True)
class TruncatedBackprop:
    """Random truncated backprop through time (RaT-BPTT). Feng et al., ICLR 2024.

    A fresh network trains by Adam for a random number of steps without an autograd graph, and then for `window` steps
    through which the outer loss is back-propagated. An outer step costs a forward and backward pass over the batch for
    every step before the window, three for every step in it with a second-order pass, and one over `batch_real` real
    images. Memory does not grow with the training; where steps are recomputed, it holds one set of weights and moments
    for each step of the window, otherwise the graphs of all of them.

    Differences: the place of the window is drawn for every outer step, where the authors' default draws it for every
    epoch; real images are drawn anew for every outer step, where theirs walk the training set by epochs; the network's
    Adam has its epsilon inside the root; no boosting, no learned labels, no augmentation, and every class in every
    step; a sixth of their outer steps unless set.
    """

    family: ClassVar[str] = "backprop through optimisation"
    paper: ClassVar[str] = "https://arxiv.org/abs/2311.07025"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 4, "steps": 4, "window": 2, "batch_real": 16}

    iterations: PositiveInt = 100_000
    """outer steps"""
    steps: Annotated[PositiveInt, LogRange(20, 300)] = 200
    """steps of the longest training"""
    window: Annotated[PositiveInt, LogRange(5, 100)] = 60
    """last steps of a training, which are differentiated through"""
    least: NonNegativeInt = 0
    """fewest steps before the window"""
    images_per_step: PositiveInt | None = None
    """images of each class in a training step, drawn anew; None takes all"""
    lr_network: Annotated[PositiveFloat, LogRange(3e-4, 1e-2)] = 1e-3
    """step size of Adam on the network"""
    lr_images: Annotated[PositiveFloat, LogRange(1e-4, 1e-1)] = 1e-3
    """step size of Adam on the images"""
    batch_real: Annotated[PositiveInt, LogRange(128, 5000)] = 5000
    """real images in the outer loss"""
    largest: PositiveFloat = 2.0
    """ratio of a gradient's norm to its running mean above which the gradient is clipped"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Annotated[Init, Choice("noise", "real")] = "noise"
    """initial images: `noise`, with decoder `pixels` each of length 1 as published, or `real`"""
    recompute: bool | None = None
    """compute each step of the window a second time in the backward pass, so that hundreds fit into memory; None does
    where steps are compiled, which is faster, and otherwise stores their graphs"""

    def __post_init__(self) -> None:
        if self.steps - self.window < self.least:
            raise UserError(
                f"window {self.window} and least {self.least} of truncated_backprop do not fit into {self.steps} "
                "steps; raise steps"
            )

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        if self.init == "noise" and self.decoder == "pixels":
            synthetic.load_state_dict(synthetic.parts | {"images": unit(synthetic.parts["images"].detach())})
        state = State(
            synthetic=synthetic,
            optimizer=torch.optim.Adam(synthetic.learned, lr=self.lr_images),
            norm=torch.zeros((), device=task.device),
        )
        rule, outer_loss = Adam(), OuterLoss(task, self.batch_real)
        unroll = Unroll(task.loss, task.compiler, recompute=self.recompute, rule=rule)
        for step in meter.steps(self.iterations, state, synthetic.artifact):
            generator = task.generator("training", device="cpu")
            before = int(torch.randint(self.least, self.steps - self.window + 1, (), generator=generator))
            start = rule.begin(task.initial())
            start = unroll.forward_only(start, self._training_steps(task, synthetic, before, generator))
            window = self._training_steps(task, synthetic, self.window, generator)
            state.optimizer.zero_grad()
            loss = outer_loss.backward(rule.weights(unroll(start, window)))
            state.norm = clip_gradients(synthetic.learned, state.norm, self.largest, first=step == 0)
            state.optimizer.step()
            meter.log(loss=loss, mean_norm=state.norm)
        return synthetic.artifact()

    def _training_steps(
        self, task: Task, synthetic: SyntheticSet, count: int, generator: torch.Generator
    ) -> Iterator[Step]:
        lr = torch.full((), self.lr_network, device=task.device)
        images, labels = synthetic.images()
        for _ in range(count):
            if self.images_per_step is None:
                yield images, labels, lr
            else:
                chosen = balanced_batch(labels, task.classes, self.images_per_step, generator)
                yield LazyBatch(images, itemgetter(chosen)), labels[chosen], lr


def unit(images: torch.Tensor) -> torch.Tensor:
    """Scale each of the images, (N, C, H, W), to Euclidean length 1."""
    return images / images.flatten(1).norm(dim=1)[:, None, None, None]


def clip_gradients(
    parts: list[torch.Tensor], mean_norm: torch.Tensor, max_ratio: float, *, first: bool
) -> torch.Tensor:
    """Clip the gradient of all parts to `max_ratio` times the running mean of its norm; return that mean, ().

    The mean has decay 0.9 and includes the norm of this gradient, before it is clipped.
    """
    gradients = [part.grad for part in parts if part.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    mean_norm = norm if first else 0.9 * mean_norm + 0.1 * norm
    for gradient in gradients:
        gradient.mul_((max_ratio * mean_norm / norm.clamp(min=1e-12)).clamp(max=1.0))
    return mean_norm
