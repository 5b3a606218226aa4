"""Backprop through a training with momentum, of images that are combinations of shared bases.

Deng & Russakovsky, "Remember the Past: Distilling Datasets into Addressable Memories for Neural Networks", NeurIPS
2022, arXiv 2206.02916.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, register_method
from ddbench.families.backprop import BackpropSettings, OuterLoss, balanced_batch
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.unrolling.recompute import LazyBatch, Step
from ddbench.families.unrolling.unroll import Unroll
from ddbench.families.unrolling.update_rules import Momentum


@register_method("addressable_memories", aliases=["remember_the_past", "linba"])
@dataclass(frozen=True)
class AddressableMemories(BackpropSettings):
    """Addressable memories (Remember the Past). Deng & Russakovsky, NeurIPS 2022.

    A fresh network trains by SGD with momentum on random batches of combinations of learned bases, and everything goes
    back through all steps; with decoder `pixels`, the authors' plain variant. An outer step costs three forward and
    backward passes over the batch for every training step, with a second-order pass, and one over `batch_real` real
    images; where steps are recomputed, memory holds one set of weights and velocities for each, and all images once.

    Differences: real images are drawn from all classes together; the authors' penalty on coefficients, whose gradient
    in the network's weights is 0, is left out; unless `init` is `noise`, what is learned starts as real images or the
    best approximation of them, some forty times the scale of theirs, at which the same step size and clipping move it
    less; the decoder holds at most `images` of each class, 100 unless set, where theirs fill the storage; no
    augmentation.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2206.02916"
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 4, "steps": 3, "images_per_step": 2, "batch_real": 16, "decoder": "linear_bases,bases=2",
    }  # fmt: skip

    iterations: PositiveInt = 500_000
    """outer steps"""
    steps: PositiveInt = 150
    """of a training"""
    images_per_step: PositiveInt = 32
    """images of each class in a training step, drawn anew; all where there are fewer"""
    lr_network: PositiveFloat = 0.01
    """of SGD on the network"""
    momentum: NonNegativeFloat = 0.9
    """of that"""
    lr_images: PositiveFloat = 0.1
    """of SGD with momentum 0.5 on bases and coefficients"""
    largest: PositiveFloat = 2.0
    """norm to which the gradient of all parts is clipped"""
    batch_real: PositiveInt = 640
    """real images the trained network is tested on in an outer step"""
    decoder: Parametrisation = "linear_bases"
    """what is learned: `linear_bases` with so many `bases` at this `scale`, or `pixels`"""
    init: Init = "real"
    """images start as `real`, or all that is learned as `noise`, Xavier's uniform one as published"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        if self.init == "noise":
            for part in synthetic.learned:
                torch.nn.init.xavier_uniform_(part.detach().flatten(1), generator=task.generator("noise"))
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer)
        rule, outer = Momentum(self.momentum), OuterLoss(task, self.batch_real)
        unroll = Unroll(task.loss, task.compiler, recompute=self.recompute, rule=rule)
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            state.optimizer.zero_grad()
            loss = outer.backward(rule.weights(unroll(rule.begin(task.initial()), self._walk(task, synthetic))))
            meter.log(loss=loss)
            torch.nn.utils.clip_grad_norm_(synthetic.learned, self.largest)
            state.optimizer.step()
        return synthetic.artifact()

    def _walk(self, task: Task, synthetic: SyntheticSet) -> Iterator[Step]:
        lr, generator = torch.full((), self.lr_network, device=task.device), task.generator("training", device="cpu")
        images, labels = synthetic.images()
        for _ in range(self.steps):
            chosen = balanced_batch(labels, task.classes, self.images_per_step, generator)
            yield LazyBatch(images, itemgetter(chosen)), labels[chosen], lr
