"""Contrastive gradient matching: the gradients of all classes together agree, so that differences of classes count.

Lee, Chun, Jung, Yun & Yoon, "Dataset Condensation with Contrastive Signals", ICML 2022, arXiv 2202.02916 (DCC).
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


@register_method("contrastive_gradient_matching", aliases=["dcc"])
@dataclass(frozen=True)
class ContrastiveGradientMatching:
    """Dataset condensation with contrastive signals (DCC; with `augment`, DSAC). Lee et al., ICML 2022.

    As gradient matching, and after a warm-up one distance between the gradients that all real and all synthetic
    images give, in place of the sum over classes: the same real passes and a single second-order one.

    Differences: those of gradient matching; the loops and the warm-up are those of the authors' code, where either of
    its two conditions ends it.
    """

    name: ClassVar[str]
    family: ClassVar[str] = "gradient matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2202.02916"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 3, "matchings": 2, "epochs": 1, "batch_real": 8, "warmup_networks": 1,
    }  # fmt: skip

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
    init: Init = "real"
    """initial images: `real` or `noise`"""
    matchings: PositiveInt | None = None
    """matching steps with each network; None takes the published number for the task's ipc"""
    epochs: NonNegativeInt | None = None
    """training epochs on the synthetic images between two matchings; None takes the published number"""
    lr_network: PositiveFloat = 0.01
    """step size of plain SGD on the network"""
    batch_train: PositiveInt = 256
    """synthetic images in a training step of the network"""
    warmup_networks: Annotated[NonNegativeInt, LogRange(1, 500)] = 250
    """networks after which the gradients of all classes are compared together"""
    warmup_matchings: NonNegativeInt = 10
    """matchings with one network after which they are, too"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer, network=Trained.begin(task.initial()))
        distance = GradientDistance(task, layerwise_cosine)
        train = OnSynthetic(task, Trainer(task, self.lr_network), self.batch_train, self.augment)
        turns = Turns(*self.loops(task.ipc))
        for step in meter.steps(self.iterations * turns.per_network, state, synthetic.artifact):
            network, matching, training = turns.at(step)
            if matching == training == 0:  # a network's first step
                state.network = Trained.begin(task.initial())
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), class by class
            if training:
                state.network = train(state.network, images.detach(), labels)
                continue
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            contrastive = network >= self.warmup_networks or matching >= self.warmup_matchings
            compare = distance.of_all if contrastive else distance.by_class
            gradient, loss = compare(state.network.weights, real, (images, labels))
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the decoder's parts
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()

    def check_ipc(self, ipc: int) -> None:
        self.loops(ipc)

    def loops(self, ipc: int) -> tuple[int, int]:
        """Return matchings and epochs: those given, else those of gradient matching, but ten and five at ipc 1."""
        if self.matchings is not None and self.epochs is not None:
            return self.matchings, self.epochs
        matchings, epochs = (10, 5) if ipc == 1 else published_loops(self.name, ipc)
        return self.matchings or matchings, epochs if self.epochs is None else self.epochs
