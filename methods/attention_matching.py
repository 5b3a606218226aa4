"""Distribution matching of attention: where in an image each layer looks.

Sajedi, Khaki, Amjadian, Liu, Lawryshyn & Plataniotis, "DataDAM: Efficient Dataset Distillation with Attention
Matching", ICCV 2023, arXiv 2310.00093.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, State, Task, UserError, Weights, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet

STRENGTH = 100.0
"""factor of both terms of the loss"""


@register_method("attention_matching", aliases=["datadam"])
@dataclass(frozen=True)
class AttentionMatching:
    """Attention matching (DataDAM). Sajedi et al., ICCV 2023.

    Class means of attention maps are matched: for all activations but the last, the sum over channels of |map| to the
    power `exponent`, as a unit vector; and class means of the last features. A step costs what one of distribution
    matching costs.

    The exponent is 4 in the paper and in the authors' table of hyper-parameters, and 1 in the code that they run; here
    it is the paper's.

    Differences: the network of the code that they run normalises batches, with the statistics of all classes of a step
    together, and it takes 20,000 steps; in their table it normalises instances, as here unless `network: {name:
    convnet, norm: batch}` is chosen, and takes 8,000.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.00093"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 8}

    iterations: PositiveInt = 20_000
    """outer steps"""
    lr_images: Annotated[PositiveFloat, LogRange(0.1, 10.0)] = 1.0
    """step size of SGD with momentum 0.5 on the images"""
    batch_real: Annotated[PositiveInt, LogRange(16, 256)] = 64
    """real images of each class a step; all of a class that has fewer"""
    augment: Annotated[bool, Choice(True, False)] = True
    """differentiable siamese augmentation, with one draw for each class"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """initial images: `real` or `noise`"""
    exponent: Annotated[PositiveFloat, Choice(1.0, 2.0, 4.0)] = 4.0
    """power of the absolute activations that are summed over channels"""
    balance: NonNegativeFloat = 0.01
    """weight of the last features relative to attention"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        def features(weights: Weights, images: torch.Tensor) -> torch.Tensor:
            *maps, _, last = task.first_order.activations(weights, images)  # (N, C, H, W) each, and (N, F)
            looks = [attention(found, self.exponent) for found in maps]  # (N, H * W) each
            return STRENGTH**0.5 * torch.cat([*looks, self.balance**0.5 * last], 1)

        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer)
        matching = FeatureMatching(task, features, DISCREPANCIES["mean"])
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            weights = task.initial()  # a fresh network
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), class by class
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            target = matching.target(weights, real)  # (K, 1, sum of H * W + F), class means
            gradient, loss = matching.gradient(images, labels, weights, target)  # (K * m, C, H, W), ()
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the decoder's parts
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()


def attention(maps: torch.Tensor, exponent: float) -> torch.Tensor:
    """Return where the maps, (N, C, H, W), are large, (N, H * W), each a unit vector."""
    if maps.ndim != 4:
        raise UserError(f"attention needs maps, (N, C, H, W), not {tuple(maps.shape)}; choose network convnet")
    return F.normalize(maps.abs().pow(exponent).sum(1).flatten(1), dim=1)
