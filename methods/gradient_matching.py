"""Gradient matching: real and synthetic images push a network's weights in the same direction.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, arXiv 2006.05929, Algorithm 1 (DC).
Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, arXiv 2102.08259 (DSA).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, UserError, register_method
from ddbench.compiling import Weights, gradient
from ddbench.matching.gradients import layerwise_cosine
from ddbench.matching.siamese import siamese

Gradient = Callable[..., tuple[Any, torch.Tensor]]

LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""matching steps a network and epochs between them, by images per class, as published"""


@register_method("gradient_matching", aliases=["dc", "dsa"])
@dataclass(frozen=True)
class GradientMatching:
    """Gradient matching (DC; with `augment`, DSA). Zhao et al., ICLR 2021, Algorithm 1.

    A fresh network is matched and trained on the synthetic images in turns; every matching and every training epoch
    is one step of the meter. A matching step costs a forward and backward pass over `batch_real` real images of each
    class and a second-order pass through the synthetic ones.

    Differences: none in the algorithm; networks and augmentation are drawn from the task's generators, where the
    authors' code seeds them from the clock.
    """

    family: ClassVar[str] = "gradient matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2006.05929"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 3, "matchings": 2, "epochs": 1, "batch_real": 8}

    iterations: PositiveInt = 1000
    """fresh networks"""
    matchings: PositiveInt | None = None
    """matching steps with each network; None takes the published number for the task's ipc"""
    epochs: NonNegativeInt | None = None
    """training epochs on the synthetic images between two matchings; None takes the published number"""
    lr_images: PositiveFloat = 0.1
    """of SGD with momentum 0.5 on the images"""
    lr_network: PositiveFloat = 0.01
    """of plain SGD on the network"""
    batch_real: PositiveInt = 256
    """real images of each class in a matching"""
    batch_train: PositiveInt = 256
    """synthetic images in a training step of the network"""
    augment: bool = False
    """differentiable siamese augmentation: DSA"""
    init: Literal["noise", "real"] = "noise"
    """images start as `noise` (DC) or `real` (DSA)"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        matchings, epochs = self._loops(task.ipc)
        images, labels = task.real_init() if self.init == "real" else task.noise_init()
        images.requires_grad_()
        state = State(images=images, weights=task.initial())
        state.optimizer = torch.optim.SGD([images], lr=self.lr_images, momentum=0.5)

        def result() -> DistilledDataset:
            return DistilledDataset.pixels(state.images, labels)

        slopes = task.compiler.gradient(task.loss), task.compiler.gradient(partial(distance, task))
        period = matchings + (matchings - 1) * epochs
        for step in meter.steps(self.iterations * period, state, result):
            position = step % period
            if position == 0:
                state.weights = task.initial()
            if position % (1 + epochs) == 0:
                meter.log(loss=self._match(task, state, labels, *slopes))
            else:
                state.weights = self._train(task, state.weights, state.images.detach(), labels, slopes[0])
        return result()

    def check_ipc(self, ipc: int) -> None:
        self._loops(ipc)

    def _loops(self, ipc: int) -> tuple[int, int]:
        if ipc not in LOOPS and None in (self.matchings, self.epochs):
            raise UserError(
                f"gradient_matching has no published loops for ipc {ipc}; set matchings and epochs, "
                f"or use an ipc of {', '.join(map(str, LOOPS))}"
            )
        matchings, epochs = LOOPS.get(ipc, (0, 0))
        return self.matchings or matchings, epochs if self.epochs is None else self.epochs

    def _match(
        self, task: Task, state: State, labels: torch.Tensor, of_loss: Gradient, of_distance: Gradient
    ) -> torch.Tensor:
        """One step on the images; returns the distance summed over classes, ()."""
        real, real_labels = task.real.batch(self.batch_real, task.generator("real"), of=range(task.classes))
        state.optimizer.zero_grad()
        total = torch.zeros((), device=task.device)
        parts = (tensor.chunk(task.classes) for tensor in (real, real_labels, state.images, labels))
        for real_class, real_label, synthetic, label in zip(*parts, strict=True):
            if self.augment:
                real_class, synthetic = siamese(task, real_class, synthetic, task.generator("augment", device="cpu"))
            target, _ = task.chunks.gradient(of_loss, state.weights, real_class, real_label)
            slope, value = of_distance(synthetic.detach(), state.weights, target, label)
            synthetic.backward(slope)
            total += value
        state.optimizer.step()
        return total

    def _train(
        self, task: Task, weights: Weights, images: torch.Tensor, labels: torch.Tensor, of_loss: Gradient
    ) -> Weights:
        """One epoch of the network on the synthetic images."""
        order = torch.randperm(len(labels), generator=task.generator("order"), device=task.device)
        for chosen in order.split(self.batch_train):
            batch = images[chosen]
            if self.augment:
                batch = task.augmentation(batch, task.generator("augment", device="cpu"))
            slope, _ = task.chunks.gradient(of_loss, weights, batch, labels[chosen])
            weights = {name: weight - self.lr_network * slope[name] for name, weight in weights.items()}
        return weights


def distance(task: Task, images: torch.Tensor, weights: Weights, target: Weights, labels: torch.Tensor) -> torch.Tensor:
    """How far the gradient that synthetic images (n, C, H, W) give a network is from `target`."""
    return layerwise_cosine(target, gradient(task.loss, weights, images, labels))
