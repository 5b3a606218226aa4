"""Gradient matching: real and synthetic images give a network's weights similar gradients.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, arXiv 2006.05929, Algorithm 1 (DC).
Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, arXiv 2102.08259 (DSA).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, State, Task, register_method
from ddbench.families.gradient_matching import GradientDistance, Turns, layerwise_cosine, published_loops
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.training import OnSynthetic, Trained, Trainer


@register_method("gradient_matching", aliases=["dc", "dsa"])
@dataclass(frozen=True)
class GradientMatching:
    """Gradient matching (DC; with `augment`, DSA). Zhao et al., ICLR 2021, Algorithm 1.

    A fresh network is matched and trained on the synthetic images in turns; every matching and every training epoch
    is one step of the meter. A matching step costs a forward and backward pass over `batch_real` real images of each
    class and a second-order pass through the synthetic ones.

    Differences: networks and augmentation are drawn from the task's generators, where the authors' code seeds them from
    the clock; batch normalisation has the statistics of the batch at hand, theirs those of 16 real images a class.
    """

    name: ClassVar[str]
    family: ClassVar[str] = "gradient matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2006.05929"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 3, "matchings": 2, "epochs": 1, "batch_real": 8}

    iterations: PositiveInt = 1000
    """fresh networks"""
    lr_images: Annotated[PositiveFloat, LogRange(0.01, 1.0)] = 0.1
    """step size of SGD with momentum 0.5 on the images"""
    batch_real: Annotated[PositiveInt, LogRange(16, 512)] = 256
    """real images of each class in a matching; all of a class that has fewer"""
    augment: Annotated[bool, Choice(True, False)] = False
    """differentiable siamese augmentation, with one draw for each class"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Annotated[Init, Choice("noise", "real")] = "noise"
    """initial images: `noise` (DC) or `real` (DSA)"""
    matchings: PositiveInt | None = None
    """matching steps with each network; None takes the published number for the task's ipc"""
    epochs: NonNegativeInt | None = None
    """training epochs on the synthetic images between two matchings; None takes the published number"""
    lr_network: PositiveFloat = 0.01
    """step size of plain SGD on the network"""
    batch_train: PositiveInt = 256
    """synthetic images in a training step of the network"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer, network=Trained.begin(task.initial()))
        distance = GradientDistance(task, layerwise_cosine)
        train = OnSynthetic(task, Trainer(task, self.lr_network), self.batch_train, self.augment)
        turns = Turns(*self.loops(task.ipc))
        for step in meter.steps(self.iterations * turns.per_network, state, synthetic.artifact):
            _, matching, training = turns.at(step)
            if matching == training == 0:  # a network's first step
                state.network = Trained.begin(task.initial())
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), class by class
            if training:
                state.network = train(state.network, images.detach(), labels)
                continue
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            gradient, loss = distance.by_class(state.network.weights, real, (images, labels))
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the decoder's parts
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()

    def check_ipc(self, ipc: int) -> None:
        self.loops(ipc)

    def loops(self, ipc: int) -> tuple[int, int]:
        """Return matchings and epochs: those given, else those published for this ipc."""
        if self.matchings is not None and self.epochs is not None:
            return self.matchings, self.epochs
        matchings, epochs = published_loops(self.name, ipc)
        return self.matchings or matchings, epochs if self.epochs is None else self.epochs
