"""Backprop through a training with momentum, for images that are linear combinations of shared bases.

Deng & Russakovsky, "Remember the Past: Distilling Datasets into Addressable Memories for Neural Networks", NeurIPS
2022, arXiv 2206.02916.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, LogRange, Meter, State, Task, register_method
from ddbench.families.backprop import OuterLoss, balanced_batch
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.unrolling.recompute import LazyBatch, Step
from ddbench.families.unrolling.unroll import Unroll
from ddbench.families.unrolling.update_rules import Momentum


@register_method("addressable_memories", aliases=["remember_the_past", "linba"])
@dataclass(frozen=True)
class AddressableMemories:
    """Addressable memories (Remember the Past). Deng & Russakovsky, NeurIPS 2022.

    A fresh network trains by SGD with momentum on random batches of linear combinations of learned bases, and the outer
    loss is back-propagated through all steps. Decoder `pixels` gives the authors' variant without bases. An outer step
    costs three forward and backward passes over the batch for every training step, with a second-order pass, and one
    over `batch_real` real images; where steps are recomputed, memory holds one set of weights and velocities for each,
    and all images once.

    Differences: real images are drawn from all classes together; the authors' penalty on coefficients, whose gradient
    in the network's weights is 0, is left out; `init` may be `real`, the best approximation of real images, which is
    some forty times the scale of the noise, so that the same step size and clipping change it less; the decoder holds
    at most `images` of each class, 100 unless set, where theirs fill the storage; no augmentation.
    """

    family: ClassVar[str] = "backprop through optimisation"
    paper: ClassVar[str] = "https://arxiv.org/abs/2206.02916"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 4, "steps": 3, "images_per_step": 2, "batch_real": 16, "decoder": "linear_bases,bases=2",
    }  # fmt: skip

    iterations: PositiveInt = 500_000
    """outer steps"""
    steps: Annotated[PositiveInt, LogRange(10, 300)] = 150
    """steps of a training"""
    images_per_step: Annotated[PositiveInt, LogRange(2, 64)] = 32
    """images of each class in a training step, drawn anew; all where there are fewer"""
    lr_network: Annotated[PositiveFloat, LogRange(0.003, 0.03)] = 0.01
    """step size of SGD on the network"""
    momentum: NonNegativeFloat = 0.9
    """momentum of SGD on the network"""
    lr_images: Annotated[PositiveFloat, LogRange(0.01, 10.0)] = 0.1
    """step size of SGD with momentum 0.5 on bases and coefficients"""
    largest: PositiveFloat = 2.0
    """norm to which the gradient of bases and coefficients is clipped"""
    batch_real: PositiveInt = 640
    """real images in the outer loss"""
    decoder: Parametrisation = "linear_bases"
    """parametrisation of the images: `linear_bases`, with its `bases` and `scale`, `pixels`, ..."""
    init: Init = "noise"
    """`noise`: bases and coefficients start as Xavier's uniform noise, as published; or `real` initial images"""
    recompute: bool | None = None
    """compute each training step a second time in the backward pass, so that hundreds fit into memory; None does where
    steps are compiled, which is faster, and otherwise stores their graphs"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        if self.init == "noise":
            for part in synthetic.learned:
                if part.ndim > 1:  # biases of hallucinators have no fan
                    torch.nn.init.xavier_uniform_(part.detach().flatten(1), generator=task.generator("noise"))
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer)
        rule, outer_loss = Momentum(self.momentum), OuterLoss(task, self.batch_real)
        unroll = Unroll(task.loss, task.compiler, recompute=self.recompute, rule=rule)
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            state.optimizer.zero_grad()
            start = rule.begin(task.initial())
            loss = outer_loss.backward(rule.weights(unroll(start, self._training_steps(task, synthetic))))
            meter.log(loss=loss)
            torch.nn.utils.clip_grad_norm_(synthetic.learned, self.largest)
            state.optimizer.step()
        return synthetic.artifact()

    def _training_steps(self, task: Task, synthetic: SyntheticSet) -> Iterator[Step]:
        lr, generator = torch.full((), self.lr_network, device=task.device), task.generator("training", device="cpu")
        images, labels = synthetic.images()
        for _ in range(self.steps):
            chosen = balanced_batch(labels, task.classes, self.images_per_step, generator)
            yield LazyBatch(images, itemgetter(chosen)), labels[chosen], lr
