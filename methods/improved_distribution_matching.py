"""Distribution matching in networks that train between steps, of several small images in the storage of one.

Zhao, Li, Qin & Yu, "Improved Distribution Matching for Dataset Condensation", CVPR 2023, arXiv 2307.09742 (IDM).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, IntegerRange, LogRange, Meter, State, Task, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching, Guide
from ddbench.families.network_sources import NetworkQueue
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.training import Trainer


@register_method("improved_distribution_matching", aliases=["idm"])
@dataclass(frozen=True)
class ImprovedDistributionMatching:
    """Improved distribution matching (IDM). Zhao et al., CVPR 2023.

    Networks come from a queue whose members train on the real data, and the better the chosen one is, the more its own
    loss on the synthetic images counts. An outer step costs what one of distribution matching costs, a forward
    and backward pass of the synthetic images for that loss, and `train` * `train_steps` training steps.

    Differences: one step on all classes together, where the authors' code steps class by class, so that momentum acts
    at once, during the other classes' steps, and here over later ones; a network's accuracy is that on its last
    training batch, where they average over all since the last evaluation.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2307.09742"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 6, "batch_real": 8, "begin": 2, "every": 2, "train_steps": 1, "batch_train": 8,
    }  # fmt: skip

    iterations: PositiveInt = 20_000
    """outer steps"""
    lr_images: Annotated[PositiveFloat, LogRange(0.02, 10.0)] = 0.2
    """step size of SGD with momentum 0.5 on the stored images"""
    batch_real: Annotated[PositiveInt, LogRange(32, 512)] = 256
    """real images of each class a step; all of a class that has fewer"""
    augment: bool = True
    """differentiable siamese augmentation, with one draw for each class"""
    decoder: Parametrisation = "multi_formation"
    """parametrisation of the images: `multi_formation`, `pixels`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """initial images: `real` or `noise`"""
    begin: Annotated[PositiveInt, IntegerRange(2, 10)] = 4
    """networks in the queue at first: the authors' three and one that joins at once"""
    most: PositiveInt = 100
    """networks in the queue at most"""
    every: Annotated[PositiveInt, LogRange(5, 60)] = 30
    """outer steps after which a fresh network joins; the authors take 5 at ipc 1"""
    train: PositiveInt = 2
    """networks that train at an outer step"""
    train_steps: Annotated[PositiveInt, LogRange(1, 20)] = 10
    """training steps of each"""
    batch_train: PositiveInt = 256
    """real images in a training step"""
    guidance: Annotated[NonNegativeFloat, LogRange(0.05, 5.0)] = 0.5
    """weight of a network's loss on the synthetic images, for each percent of its accuracy"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        queue = NetworkQueue(task, initial_size=self.begin, max_size=self.most, every=self.every)
        state = State(synthetic=synthetic, optimizer=optimizer, source=queue)
        trainer = Trainer(task, lr=0.01, momentum=0.9, weight_decay=5e-4)
        matching = FeatureMatching(task, task.first_order.embed, DISCREPANCIES["mean"])
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            network = state.source.next()  # a random one of the queue
            guide = Guide(network.weights, strength=100 * self.guidance * network.accuracy)
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), several for each stored image
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            target = matching.target(network.weights, real)  # (K, 1, F), class means of the real features
            gradient, loss = matching.gradient(images, labels, network.weights, target, guide=guide)  # as images, ()
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the stored images
            state.optimizer.step()
            state.source.train(trainer, networks=self.train, steps=self.train_steps, batch=self.batch_train)
            meter.log(loss=loss)
        return synthetic.artifact()
