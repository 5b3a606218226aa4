"""Distribution matching by characteristic functions, in networks between their initial and their trained weights.

Wang, Yang, Liu, Sun, Hu, He & Zhang, "Dataset Distillation with Neural Characteristic Function: A Minmax
Perspective", CVPR 2025, arXiv 2502.20653 (NCFM).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, State, Task, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching, Guide, unit_features
from ddbench.families.experts import Expert, expert_trajectories
from ddbench.families.network_sources import InterpolatedExperts
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet


@register_method("characteristic_matching", aliases=["ncfm"])
@dataclass(frozen=True)
class CharacteristicMatching:
    """Neural characteristic function matching (NCFM). Wang et al., CVPR 2025.

    Networks are trained inside the budget first. An outer step costs what one of distribution matching costs, a
    forward and backward pass of the synthetic images through a trained network, and the characteristic functions of
    all features at `frequencies` points.

    Differences: as in every configuration that the authors released, frequencies are drawn from the normal distribution
    and not by a network that is trained against the images; their table of what that network adds says 0.7 to 3.3
    points on CIFAR, and up to 10 on Tiny ImageNet. As many frequencies as these configurations have, where the paper
    says 1024, and the same for all classes of a step, where theirs are drawn for each. One step on both terms and all
    classes, where theirs is one for each class on the images of all, which moves them 4.5 to 5.2 times as far in an
    iteration (ten classes; 13 to 16 times for a hundred): hence the step size, their 1e-3 in [0, 1] over CIFAR-10's
    deviation, times as much; fresh random real images, where their loader always takes the first of a class;
    augmentation is one operation a draw, the same for both terms; images are not clamped; tiles start as averages of
    pixels; constant step sizes, and networks trained without CutMix.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2502.20653"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 6, "batch_real": 8, "experts": 2, "expert_steps": 2, "batch_expert": 8, "frequencies": 16,
    }  # fmt: skip

    iterations: PositiveInt = 20_000
    """outer steps"""
    lr_images: Annotated[PositiveFloat, LogRange(0.002, 0.2)] = 2.2e-2
    """step size of AdamW with weight decay 5e-4 on normalised images, for ten classes; 5e-2 for a hundred"""
    batch_real: Annotated[PositiveInt, LogRange(64, 2048)] = 1024
    """real images of each class a step; all of a class that has fewer"""
    augment: Annotated[bool, Choice(True, False)] = True
    """differentiable siamese augmentation, with one draw for each class, and augmented training"""
    decoder: Parametrisation = "multi_formation"
    """parametrisation of the images: `multi_formation`, `pixels`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """initial images: `real` or `noise`"""
    frequencies: PositiveInt = 4096
    """points at which characteristic functions are compared, drawn anew for each step"""
    guidance: NonNegativeFloat = 1 / 300
    """weight of a trained network's loss on the synthetic images, to 1 of the distance"""
    experts: Annotated[PositiveInt, LogRange(2, 40)] = 20
    """networks trained on the real data"""
    expert_steps: Annotated[PositiveInt, LogRange(50, 50_000)] = 23_400
    """training steps of each; 60 passes over 50,000 images"""
    lr_expert: PositiveFloat = 0.01
    """step size of SGD with momentum 0.9 and weight decay 5e-4 on the networks"""
    batch_expert: PositiveInt = 128
    """real images of a training step"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        expert = Expert(
            count=self.experts, epochs=1, epoch_batches=self.expert_steps, batch=self.batch_expert,
            lr=self.lr_expert, momentum=0.9, weight_decay=5e-4, augment=self.augment,
        )  # fmt: skip
        trajectories = expert_trajectories(task, meter, expert)  # (2, P) of each, first and last weights
        experts = InterpolatedExperts(task, trajectories)
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.AdamW(synthetic.learned, lr=self.lr_images, weight_decay=5e-4)
        state = State(synthetic=synthetic, optimizer=optimizer)
        discrepancy, strength = DISCREPANCIES["characteristic"], torch.tensor(self.guidance, device=task.device)
        matching = FeatureMatching(task, unit_features(task), discrepancy)
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            weights, trained = experts.next()  # between an expert's first and last weights, and the last
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), several for each stored image
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            target = matching.target(weights, real)  # (K, n, F), the real features
            frequencies = discrepancy.draw(target[0].shape[-1], self.frequencies, task.generator("draws"))  # (R, F)
            guide = Guide(trained, strength)
            gradient, loss = matching.gradient(images, labels, weights, target, frequencies, guide)  # as images, ()
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the stored images
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()
