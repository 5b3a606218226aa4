"""Dual-view alignment: features have the real means in networks half trained, and experts recognise the images.

Zhang, Li, Lin, Wang, Qian & Ge, "DANCE: Dual-View Distribution Alignment for Dataset Condensation", IJCAI 2024,
arXiv 2406.01063.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from ddbench import Choice, DistilledDataset, LogRange, Meter, State, Task, Weights, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching
from ddbench.families.experts import Expert, expert_trajectories
from ddbench.families.network_sources import InterpolatedExperts
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet


@register_method("dual_view_alignment", aliases=["dance"])
@dataclass(frozen=True)
class DualViewAlignment:
    """Dual-view distribution alignment (DANCE). Zhang et al., IJCAI 2024.

    An outer step has two steps of the images' optimiser. In the view within classes, mean features of real and
    synthetic images agree in a network whose weights lie between an expert's first and last ones; in the view between
    classes, that expert's last weights are to classify the synthetic images. Beside the training of experts, it costs
    what distribution matching does and a second pass over the synthetic images.

    Differences: each step is taken on all classes at once, where theirs is one for each class, whose momentum moves the
    images of all; of the second view's augmentation each image has a draw of its own; images are not clamped; tiles
    start as averages of pixels; experts are trained without CutMix and at a constant step size.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2406.01063"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 6, "batch_real": 8, "experts": 2, "expert_steps": 2, "batch_expert": 8,
    }  # fmt: skip

    iterations: PositiveInt = 10_000
    """outer steps"""
    lr_images: Annotated[PositiveFloat, LogRange(0.02, 5.0)] = 0.16
    """step size of SGD with momentum 0.5 on normalised images; the authors' 0.01 for each image of a class in [0, 1],
    over CIFAR-10's variance, at one image a class"""
    batch_real: Annotated[PositiveInt, LogRange(16, 512)] = 128
    """real images of each class a step; all of a class that has fewer"""
    augment: Annotated[bool, Choice(True, False)] = True
    """differentiable siamese augmentation, with one draw for each class, and augmented training of experts"""
    calibrate: bool = True
    """take the step of the view between classes too"""
    decoder: Parametrisation = "multi_formation"
    """parametrisation of the images: `multi_formation`, `pixels`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """initial images: `real` or `noise`"""
    experts: Annotated[PositiveInt, LogRange(2, 40)] = 20
    """networks trained on the real data"""
    expert_steps: Annotated[PositiveInt, LogRange(50, 50_000)] = 46_920
    """training steps of each; 60 passes over 50,000 images"""
    lr_expert: PositiveFloat = 0.01
    """step size of SGD with momentum 0.9 and weight decay 5e-4 on the networks"""
    batch_expert: PositiveInt = 64
    """real images of a training step"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        expert = Expert(
            count=self.experts, epochs=1, epoch_batches=self.expert_steps, batch=self.batch_expert,
            lr=self.lr_expert, momentum=0.9, weight_decay=5e-4, augment=self.augment,
        )  # fmt: skip
        experts = InterpolatedExperts(task, expert_trajectories(task, meter, expert))
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer)
        matching = FeatureMatching(task, task.first_order.embed, DISCREPANCIES["mean"])

        def class_losses(images: Tensor, labels: Tensor, trained: Weights) -> Tensor:
            return task.classes * task.first_order.loss(trained, images, labels)  # summed over classes, ()

        calibration = task.compiler.gradient(class_losses)
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            weights, trained = experts.next()  # between an expert's first and last weights, and the last
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), class by class
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            gradient, loss = matching.gradient(images, labels, weights, matching.target(weights, real))
            self._step(state, images, gradient)
            meter.log(loss=loss)
            if self.calibrate:
                images, labels = synthetic.images()
                if self.augment:
                    images = task.augmentation(images, task.generator("augment", device="cpu"))
                gradient, loss = calibration(images.detach(), labels, trained)
                self._step(state, images, gradient)
                meter.log(calibration=loss)
        return synthetic.artifact()

    @staticmethod
    def _step(state: State, images: Tensor, gradient: Tensor) -> None:
        """Move the stored images along a gradient in the training images, (K * m, C, H, W)."""
        state.optimizer.zero_grad()
        images.backward(gradient)
        state.optimizer.step()
