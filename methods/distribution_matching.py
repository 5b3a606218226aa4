"""Distribution matching: class means of real and synthetic features agree in randomly initialised networks.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, arXiv 2110.04181, Algorithm 1.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, State, Task, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet


@register_method("distribution_matching", aliases=["dm"])
@dataclass(frozen=True)
class DistributionMatching:
    """Distribution matching (DM). Zhao & Bilen, WACV 2023, Algorithm 1.

    Each outer step costs one forward pass over `batch_real` real images of each class and a first-order backward
    pass through the synthetic ones; no network is trained.

    Differences: none known.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2110.04181"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 8}

    iterations: PositiveInt = 20_000
    """outer steps"""
    lr_images: Annotated[PositiveFloat, LogRange(0.1, 10.0)] = 1.0
    """step size of SGD with momentum 0.5 on the images"""
    batch_real: Annotated[PositiveInt, LogRange(16, 512)] = 256
    """real images of each class a step; all of a class that has fewer"""
    augment: Annotated[bool, Choice(True, False)] = True
    """differentiable siamese augmentation, with one draw for each class"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Annotated[Init, Choice("real", "noise")] = "real"
    """initial images: `real` or `noise`"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer)
        matching = FeatureMatching(task, task.first_order.embed, DISCREPANCIES["mean"])
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            weights = task.initial()  # a fresh network
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), class by class
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            target = matching.target(weights, real)  # (K, 1, F), class means of the real features
            gradient, loss = matching.gradient(images, labels, weights, target)  # (K * m, C, H, W), ()
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the decoder's parts
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()
