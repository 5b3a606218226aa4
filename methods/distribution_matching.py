"""Distribution matching: class means of real and synthetic features agree in randomly initialised networks.

Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, arXiv 2110.04181, Algorithm 1.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, register_method
from ddbench.compiling import Weights
from ddbench.matching.siamese import siamese


@register_method("distribution_matching", aliases=["dm"])
@dataclass(frozen=True)
class DistributionMatching:
    """Distribution matching (DM). Zhao & Bilen, WACV 2023, Algorithm 1.

    Each outer step costs one forward pass over `batch_real` real images of each class and a first-order backward
    pass through the synthetic ones; no network is trained.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2110.04181"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 8}

    iterations: PositiveInt = 20_000
    """outer steps, each with a fresh network"""
    lr_images: PositiveFloat = 1.0
    """of SGD with momentum 0.5 on the images"""
    batch_real: PositiveInt = 256
    """real images of each class a step"""
    augment: bool = True
    """differentiable siamese augmentation, a draw for each class"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        images, labels = task.real_init()  # (K * ipc, C, H, W), (K * ipc,)
        images.requires_grad_()
        state = State(images=images, optimizer=torch.optim.SGD([images], lr=self.lr_images, momentum=0.5))

        def result() -> DistilledDataset:
            return DistilledDataset.pixels(state.images, labels)

        def distance(synthetic: torch.Tensor, weights: Weights, target: torch.Tensor) -> torch.Tensor:
            return (class_means(task.embed(weights, synthetic), task.classes) - target).square().sum()

        embed, slope_of = task.compiler.function(task.embed), task.compiler.gradient(distance)
        for _ in meter.steps(self.iterations, state, result):
            weights = task.initial()
            real, _ = task.real.batch(self.batch_real, task.generator("real"), of=range(task.classes))
            real, synthetic = self._augmented(task, real, state.images)
            target = class_means(task.chunks.map(partial(embed, weights), real), task.classes)
            slope, loss = slope_of(synthetic.detach(), weights, target)
            state.optimizer.zero_grad()
            synthetic.backward(slope)
            state.optimizer.step()
            meter.log(loss=loss)
        return result()

    def _augmented(self, task: Task, real: torch.Tensor, synthetic: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.augment:
            return real, synthetic
        generator = task.generator("augment", device="cpu")
        pairs = [
            siamese(task, real_class, synthetic_class, generator)
            for real_class, synthetic_class in zip(real.chunk(task.classes), synthetic.chunk(task.classes), strict=True)
        ]
        return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])


def class_means(features: torch.Tensor, classes: int) -> torch.Tensor:
    """Mean feature of each class, (K, F), of features (K * n, F) that lie class by class."""
    return features.unflatten(0, (classes, -1)).mean(1)
