"""Backprop through a window at a random place of a long training.

Feng, Vedantam & Kempe, "Embarrassingly Simple Dataset Distillation", ICLR 2024, arXiv 2311.07025 (RaT-BPTT).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, UserError, register_method
from ddbench.families.backprop import BackpropSettings, OuterLoss, balanced_batch
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.unrolling.recompute import LazyBatch, Step
from ddbench.families.unrolling.unroll import Unroll
from ddbench.families.unrolling.update_rules import Adam


@register_method("truncated_backprop", aliases=["rat_bptt"])
@dataclass(frozen=True)
class TruncatedBackprop(BackpropSettings):
    """Random truncated backprop through time (RaT-BPTT). Feng et al., ICLR 2024.

    A fresh network trains by Adam for a random number of steps that nothing goes back through, and then for `window`
    steps that everything does. An outer step costs a forward and backward pass over the batch for every step before
    the window, three for every step in it with a second-order pass, and one over `batch_real` real images. Memory does
    not grow with the training; where steps are recomputed, it holds one set of weights and moments for each step of
    the window, otherwise the graphs of all of them.

    Differences: the place of the window is drawn for every outer step, where the authors' default draws it for every
    epoch; the network's Adam has its epsilon inside the root; no boosting, no learned labels, no augmentation, and
    every class in every step; a sixth of their outer steps unless set.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2311.07025"
    tiny: ClassVar[dict[str, object]] = {"iterations": 4, "steps": 4, "window": 2, "batch_real": 16}

    iterations: PositiveInt = 100_000
    """outer steps"""
    steps: PositiveInt = 200
    """of the longest training"""
    window: PositiveInt = 60
    """steps, the last ones, that are differentiated through"""
    least: NonNegativeInt = 0
    """steps before the window at least"""
    images_per_step: PositiveInt | None = None
    """images of each class in a training step, drawn anew; None takes all"""
    lr_network: PositiveFloat = 1e-3
    """of Adam on the network"""
    lr_images: PositiveFloat = 1e-3
    """of Adam on the images"""
    batch_real: PositiveInt = 5000
    """real images the trained network is tested on in an outer step"""
    largest: PositiveFloat = 2.0
    """gradients are clipped to this many times their running mean norm"""
    decoder: Parametrisation = "pixels"
    """what is learned in place of pixels: `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Init = "noise"
    """images start as `noise`, with decoder `pixels` each of length 1 as published, or as `real` ones"""

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
        rule, outer = Adam(), OuterLoss(task, self.batch_real)
        unroll = Unroll(task.loss, task.compiler, recompute=self.recompute, rule=rule)
        for step in meter.steps(self.iterations, state, synthetic.artifact):
            generator = task.generator("training", device="cpu")
            before = int(torch.randint(self.least, self.steps - self.window + 1, (), generator=generator))
            begun = unroll.ahead(rule.begin(task.initial()), self._walk(task, synthetic, before, generator))
            state.optimizer.zero_grad()
            loss = outer.backward(rule.weights(unroll(begun, self._walk(task, synthetic, self.window, generator))))
            state.norm = clip(synthetic.learned, state.norm, self.largest, first=step == 0)
            state.optimizer.step()
            meter.log(loss=loss, mean_norm=state.norm)
        return synthetic.artifact()

    def _walk(self, task: Task, synthetic: SyntheticSet, count: int, generator: torch.Generator) -> Iterator[Step]:
        lr = torch.full((), self.lr_network, device=task.device)
        images, labels = synthetic.images()
        for _ in range(count):
            if self.images_per_step is None:
                yield images, labels, lr
            else:
                chosen = balanced_batch(labels, task.classes, self.images_per_step, generator)
                yield LazyBatch(images, itemgetter(chosen)), labels[chosen], lr


def unit(images: torch.Tensor) -> torch.Tensor:
    """Images, (N, C, H, W), scaled to Euclidean length 1 each."""
    return images / images.flatten(1).norm(dim=1)[:, None, None, None]


def clip(parts: list[torch.Tensor], mean: torch.Tensor, largest: float, *, first: bool) -> torch.Tensor:
    """Scale the gradients of all parts to at most `largest` times the running mean of their norm; that mean, ().

    The mean has decay 0.9 and counts this gradient too.
    """
    slopes = [part.grad for part in parts if part.grad is not None]
    norm = torch.stack([slope.norm() for slope in slopes]).norm()
    mean = norm if first else 0.9 * mean + 0.1 * norm
    for slope in slopes:
        slope.mul_((largest * mean / norm.clamp(min=1e-12)).clamp(max=1.0))
    return mean
