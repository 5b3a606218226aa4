"""Distribution matching of all moments: the maximum mean discrepancy of a Gaussian kernel.

Zhang, Li, Wang, Zeng & Ge, "M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy", AAAI 2024,
arXiv 2312.15927.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, IntegerRange, LogRange, Meter, State, Task, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching
from ddbench.families.network_sources import FreshNetworks
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet


@register_method("maximum_mean_discrepancy", aliases=["m3d", "mmd"])
@dataclass(frozen=True)
class MaximumMeanDiscrepancy:
    """Maximum mean discrepancy (M3D). Zhang et al., AAAI 2024.

    As distribution matching, with the kernel's distance of whole distributions in place of that of means, several
    steps with each network, and several small images in the storage of one. An outer step
    costs what one of distribution matching on all the small images costs; the kernel adds the distances of all pairs
    of features, small beside the forward pass.

    Differences: one step on all classes together, where the authors' code steps class by class and momentum acts
    during the other classes' steps; augmentation is one operation a draw, where theirs always changes colours; images
    are not clamped; all tiles of a class are matched, at most 200 there, and start as averages of pixels. `lr_images`
    is what a repository that builds on theirs takes at ipc 1; theirs could not be read.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2312.15927"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 8, "uses": 2}

    iterations: PositiveInt = 10_000
    """outer steps"""
    lr_images: Annotated[PositiveFloat, LogRange(2.5, 250.0)] = 24.8
    """step size of SGD with momentum 0.5 on normalised images: 1 at ipc 1 in [0, 1], over the variance of CIFAR-10's
    pixels"""
    batch_real: Annotated[PositiveInt, LogRange(32, 512)] = 128
    """real images of each class a step; all of a class that has fewer"""
    augment: Annotated[bool, Choice(True, False)] = True
    """differentiable siamese augmentation, with one draw for each class"""
    decoder: Parametrisation = "multi_formation"
    """parametrisation of the images: `multi_formation`, `pixels`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """initial images: `real` or `noise`"""
    uses: Annotated[PositiveInt, IntegerRange(1, 10)] = 5
    """steps with each network"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer, source=FreshNetworks(task, self.uses))
        matching = FeatureMatching(task, task.first_order.embed, DISCREPANCIES["mmd_rbf"])
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            weights = state.source.next()  # a fresh network, or once more the last one
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), several for each stored image
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            target = matching.target(weights, real)  # (K, n, F), the real features
            gradient, loss = matching.gradient(images, labels, weights, target)  # (K * m, C, H, W), ()
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the stored images
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()
