"""Characteristic functions of several small images in the storage of one, in fresh networks: not published before.

The discrepancy of Wang et al., CVPR 2025, arXiv 2502.20653 (NCFM), and the storage of Kim et al., ICML 2022,
arXiv 2205.14959 (IDC), without any trained network.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, State, Task, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching, unit_features
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet

FREQUENCIES = 1024
"""points at which characteristic functions are compared, drawn anew for each step"""


@register_method("characteristic_formations")
@dataclass(frozen=True)
class CharacteristicFormations:
    """Characteristic-function matching of multi-formation images: an example of a new combination.

    A step costs what one of distribution matching on all the small images costs.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2502.20653"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 8}

    iterations: PositiveInt = 20_000
    """outer steps"""
    lr_images: Annotated[PositiveFloat, LogRange(0.1, 100.0)] = 1.0
    """step size of SGD with momentum 0.5 on the images"""
    batch_real: Annotated[PositiveInt, LogRange(32, 512)] = 256
    """real images of each class a step; all of a class that has fewer"""
    augment: Annotated[bool, Choice(True, False)] = True
    """differentiable siamese augmentation, with one draw for each class"""
    decoder: Parametrisation = "multi_formation"
    """parametrisation of the images: `multi_formation`, `pixels`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """initial images: `real` or `noise`"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer)
        discrepancy = DISCREPANCIES["characteristic"]
        matching = FeatureMatching(task, unit_features(task), discrepancy)
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            weights = task.initial()  # a fresh network
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), several for each stored image
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            target = matching.target(weights, real)  # (K, n, F), the real features
            frequencies = discrepancy.draw(target[0].shape[-1], FREQUENCIES, task.generator("draws"))  # (R, F)
            gradient, loss = matching.gradient(images, labels, weights, target, frequencies)  # (K * m, C, H, W), ()
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the stored images
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()
