"""Gradient matching: real and synthetic images push a network's weights in the same direction.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, arXiv 2006.05929, Algorithm 1 (DC).
Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, arXiv 2102.08259 (DSA).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, UserError, register_method
from ddbench.matching.gradients import layerwise_cosine
from ddbench.matching.siamese import siamese
from ddbench.matching.unroll import Weights, gradient

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

        period = matchings + (matchings - 1) * epochs
        for step in meter.steps(self.iterations * period, state, result):
            position = step % period
            if position == 0:
                state.weights = task.initial()
            if position % (1 + epochs) == 0:
                meter.log(loss=self._match(task, state))
            else:
                state.weights = self._train(task, state.weights, state.images.detach(), labels)
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

    def _match(self, task: Task, state: State) -> torch.Tensor:
        """One step on the images; returns the distance summed over classes, ()."""
        weights = {name: weight.detach().requires_grad_() for name, weight in state.weights.items()}
        real, _ = task.real.batch(self.batch_real, task.generator("real"), of=range(task.classes))
        slope = torch.zeros_like(state.images)
        total = torch.zeros((), device=task.device)
        for c, real_class in enumerate(real.chunk(task.classes)):
            synthetic = state.images[c * task.ipc : (c + 1) * task.ipc]
            if self.augment:
                real_class, synthetic = siamese(task, real_class, synthetic, task.generator("augment", device="cpu"))
            target = gradient(_class_loss(task, weights, real_class, c), weights)
            ours = gradient(_class_loss(task, weights, synthetic, c), weights, create_graph=True)
            distance = layerwise_cosine(target, ours)
            slope += torch.autograd.grad(distance, state.images)[0]  # class by class keeps one graph at a time
            total += distance.detach()
        state.images.grad = slope
        state.optimizer.step()
        return total

    def _train(self, task: Task, weights: Weights, images: torch.Tensor, labels: torch.Tensor) -> Weights:
        """One epoch of the network on the synthetic images."""
        order = torch.randperm(len(labels), generator=task.generator("order"), device=task.device)
        for chosen in order.split(self.batch_train):
            batch = images[chosen]
            if self.augment:
                batch = task.augmentation(batch, task.generator("augment", device="cpu"))
            leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
            slope = gradient(F.cross_entropy(task.forward(leaves, batch), labels[chosen]), leaves)
            weights = {name: weight.detach() - self.lr_network * slope[name] for name, weight in leaves.items()}
        return weights


def _class_loss(task: Task, weights: Weights, images: torch.Tensor, c: int) -> torch.Tensor:
    return F.cross_entropy(task.forward(weights, images), torch.full((len(images),), c, device=images.device))
