"""Several small images in the storage of one, matched in networks that train on the real data.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022, arXiv 2205.14959 (IDC).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, State, Task, UserError, register_method
from ddbench.families.gradient_matching import GradientDistance, Turns, absolute, squared
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.training import OnReal, Trained, Trainer

DISTANCES = {"squared": squared, "absolute": absolute}


@register_method("efficient_parameterization", aliases=["idc"])
@dataclass(frozen=True)
class EfficientParameterization:
    """Efficient synthetic-data parameterization (IDC). Kim et al., ICML 2022, Algorithm 1.

    Gradients of convolutions alone are matched, in networks that train on real images between matchings, and each
    stored image is enlarged into several. A matching costs a forward and backward pass over `batch_real` real images
    of each class, a second-order pass through factor x factor times the stored ones, and `train_steps` training steps
    on `batch_train` real images.

    Differences: one step on all classes together, where the authors' code steps class by class and momentum acts during
    the other classes' steps; all tiles of a class are matched, at most 128 there; augmentation is one of DSA's
    operations a batch, where theirs changes colours, crops and cuts out in every batch and never flips, scales or
    rotates (no cut-outs for MNIST in several tiles, nor where networks train with CutMix); images are not clamped;
    tiles start as averages of random images, where theirs take every other pixel of the first of a class.
    """

    family: ClassVar[str] = "gradient matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2205.14959"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 2, "matchings": 2, "batch_real": 8, "train_steps": 1}

    iterations: PositiveInt = 2000
    """fresh networks"""
    lr_images: Annotated[PositiveFloat, LogRange(0.01, 1.0)] = 0.124
    """step size of SGD with momentum 0.5 on normalised images: the authors' 5e-3 for CIFAR-10 at ipc 10 in [0, 1], over
    the variance of a pixel; they scale it with ipc / 10"""
    batch_real: Annotated[PositiveInt, LogRange(16, 128)] = 64
    """real images of each class in a matching; all of a class that has fewer"""
    augment: Annotated[bool, Choice(True, False)] = True
    """differentiable siamese augmentation, and augmented training"""
    decoder: Parametrisation = "multi_formation"
    """parametrisation of the images: `multi_formation`, `pixels`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """initial images: `real` or `noise`"""
    matchings: Annotated[PositiveInt, LogRange(10, 200)] = 100
    """matching steps with each network"""
    distance: Annotated[Literal["squared", "absolute"], Choice("squared", "absolute")] = "squared"
    """distance between gradients; the authors take `absolute` for MNIST and Fashion-MNIST"""
    train_steps: Annotated[PositiveInt, LogRange(1, 64)] = 32
    """training steps on real images between two matchings"""
    batch_train: PositiveInt = 64
    """real images in a training step"""
    cutmix: bool = True
    """CutMix in half of the training steps; the authors do without for MNIST in several tiles"""
    lr_network: PositiveFloat = 0.01
    """step size of SGD with momentum 0.9 and weight decay 5e-4 on the network"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        if not any(weight.ndim == 4 for weight in task.like.values()):
            raise UserError(
                "efficient_parameterization compares gradients of convolutions, and this network has none; "
                "choose one that has, such as convnet"
            )
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        state = State(synthetic=synthetic, optimizer=optimizer, network=Trained.begin(task.initial()))
        distance = GradientDistance(task, DISTANCES[self.distance])
        trainer = Trainer(task, self.lr_network, momentum=0.9, weight_decay=5e-4)
        train = OnReal(task, trainer, self.train_steps, self.batch_train, self.augment, self.cutmix)
        turns = Turns(self.matchings, trainings=1)
        for step in meter.steps(self.iterations * turns.per_network, state, synthetic.artifact):
            _, matching, training = turns.at(step)
            if matching == training == 0:  # a network's first step
                state.network = Trained.begin(task.initial())
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), several for each stored image
            if training:
                state.network = train(state.network)
                continue
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            gradient, loss = distance.by_class(state.network.weights, real, (images, labels))
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the stored images
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()
