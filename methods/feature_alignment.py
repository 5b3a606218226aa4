"""Distribution matching in every layer of networks trained on the images, whose features must discriminate classes.

Wang, Zhao, Peng, Zhu, Yang, Wang, Huang, Bilen, Wang & You, "CAFE: Learning to Condense Dataset by Aligning Features",
CVPR 2022, arXiv 2203.01531.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import Choice, DistilledDataset, LogRange, Meter, State, Task, UserError, Weights, register_method
from ddbench.families.network_sources import Stability, TrainedUntilStable
from ddbench.families.siamese import siamese_by_class
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet
from ddbench.families.training import OnSynthetic, Trainer

SHALLOW = 0.1
"""weight of all activations but the last; the last weighs 1, and what the classifier reads 2"""


@register_method("feature_alignment", aliases=["cafe"])
@dataclass(frozen=True)
class FeatureAlignment:
    """Feature alignment (CAFE; with `augment`, CAFE+DSA). Wang et al., CVPR 2022.

    Class means are matched after every activation, and real features are classified by the synthetic class means.
    A network is trained on the images between two steps until its accuracy on real images has changed by
    `changed`, and replaced when it varies less than `settled`. A step costs what one of distribution matching costs,
    and epochs on the synthetic images with a probe of `probe` real images a class after each.

    Differences: at most `epochs` between two steps, where the authors' loop has no bound; accuracies are those of the
    moment, where their code carries a tenth of the last one along; their term on the real images alone, which no
    synthetic image enters, is left out; a constant step size. `iterations` counts
    steps on the images, where they count networks, each with many steps.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2203.01531"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 4, "batch_real": 8, "probe": 4, "epochs": 3, "window": 2}

    iterations: PositiveInt = 20_000
    """steps on the images"""
    lr_images: Annotated[PositiveFloat, LogRange(0.01, 1.0)] = 0.1
    """step size of SGD with momentum 0.5 on the images"""
    batch_real: Annotated[PositiveInt, LogRange(32, 512)] = 256
    """real images of each class a step; all of a class that has fewer"""
    augment: bool = False
    """differentiable siamese augmentation, with one draw for each class, and augmented training"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Annotated[Init, Choice("noise", "real")] = "noise"
    """initial images: `noise` or `real`"""
    discrimination: Annotated[NonNegativeFloat, LogRange(0.001, 0.1)] = 0.01
    """weight of the cross-entropy, summed over real images"""
    settled: PositiveFloat = 0.04
    """a network is replaced when its accuracy at `window` steps on the images varied less"""
    changed: PositiveFloat = 0.03
    """a training ends when the network's accuracy varied more in `window` epochs"""
    window: PositiveInt = 10
    """accuracies that are compared"""
    epochs: Annotated[PositiveInt, LogRange(5, 100)] = 50
    """training epochs on the synthetic images between two steps, at most"""
    probe: PositiveInt = 128
    """real images of each class to measure accuracy on"""
    lr_network: PositiveFloat = 0.01
    """step size of plain SGD on the network"""
    batch_train: PositiveInt = 256
    """synthetic images in a training step of the network"""

    def __post_init__(self) -> None:
        if self.epochs < self.window:
            raise UserError(
                f"epochs {self.epochs} of feature_alignment are fewer than the window of {self.window} that a training "
                "is judged by; raise epochs or lower window"
            )

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        optimizer = torch.optim.SGD(synthetic.learned, lr=self.lr_images, momentum=0.5)
        trainer = Trainer(task, self.lr_network)
        train = OnSynthetic(task, trainer, self.batch_train, self.augment)
        stability = Stability(self.window, settled=self.settled, changed=self.changed)
        source = TrainedUntilStable(task, trainer, train, stability, self.epochs, self.probe)
        state = State(synthetic=synthetic, optimizer=optimizer, source=source)
        alignment = Alignment(task, self.discrimination)
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            images, labels = synthetic.images()  # (K * m, C, H, W), (K * m,), class by class
            weights = state.source.next(images.detach(), labels)  # the last network, trained, or a fresh one
            real = task.real.by_class(self.batch_real, task.generator("real"))  # (n_c, C, H, W) of each class
            if self.augment:
                real, images = siamese_by_class(task, real, images)
            target = alignment.target(weights, real)  # of the real features of all layers
            gradient, loss = alignment.gradient(images.detach(), weights, target)  # (K * m, C, H, W), ()
            state.optimizer.zero_grad()
            images.backward(gradient)  # into the decoder's parts
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()


class Target(NamedTuple):
    """What the alignment needs of the real images: class means of all layers, and the last features of each image."""

    means: torch.Tensor
    """class means of `layers`, (K, F)"""
    last: torch.Tensor
    """what the classifier reads, (N, width)"""
    labels: torch.Tensor
    """(N,)"""


class Alignment:
    """The distance of class means in all layers, and the loss of real features against the synthetic class means.

    The layers of an image have hundreds of times its numbers: class means are added up chunk by chunk, and of each
    image only the last features stay.
    """

    def __init__(self, task: Task, discrimination: float) -> None:
        self._task, self._discrimination = task, discrimination
        self._read = task.compiler.function(self._shares_of_means)
        self.gradient = task.compiler.gradient(self.objective)
        """(images, weights, target) -> the gradient in the images, and the objective"""

    def target(self, weights: Weights, real: Sequence[torch.Tensor]) -> Target:
        """Read the real images of each class, (n_c, C, H, W)."""
        counts = torch.tensor([len(own) for own in real])
        labels = torch.arange(len(real)).repeat_interleave(counts)
        shares = F.one_hot(labels, len(real)).float() / counts  # (N, K), one column sums to 1
        shares = shares.to(self._task.device, non_blocking=True)
        read = self._task.chunks.each(partial(self._read, weights), torch.cat(list(real)), shares)
        means, features = next(read)
        last = [features]
        for part, features in read:
            means = means + part
            last.append(features)
        return Target(means, torch.cat(last), labels.to(self._task.device, non_blocking=True))

    def objective(self, images: torch.Tensor, weights: Weights, target: Target) -> torch.Tensor:
        """Return the objective for images (K * m, C, H, W), class by class: a pure function, differentiable; ()."""
        found, last = layers(self._task, weights, images)
        centres = last.unflatten(0, (self._task.classes, -1)).mean(1)  # (K, width)
        means = found.unflatten(0, (self._task.classes, -1)).mean(1)  # (K, F)
        return alignment(target, means, centres, self._discrimination)

    def _shares_of_means(
        self, weights: Weights, images: torch.Tensor, shares: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        found, last = layers(self._task, weights, images)
        return shares.T @ found, last


def alignment(target: Target, means: torch.Tensor, centres: torch.Tensor, discrimination: float) -> torch.Tensor:
    """Squared distance of class means, (K, F), and cross-entropy of real features against synthetic `centres`; ().

    Args:
        centres: class means of what the classifier reads, (K, width)
        discrimination: weight of the cross-entropy, summed over real images
    """
    distance = (target.means - means).square().sum()
    return distance + discrimination * F.cross_entropy(target.last @ centres.T, target.labels, reduction="sum")


def layers(task: Task, weights: Weights, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the activations of all layers and what the classifier reads, weighted, (N, F), and the latter, (N, width).

    Squared distances of the former are weighted as published.
    """
    *shallow, deep, last = task.first_order.activations(weights, images)  # (N, C, H, W) each, and (N, width)
    maps = [SHALLOW**0.5 * found.flatten(1) for found in shallow]
    return torch.cat([*maps, deep.flatten(1), 2**0.5 * last], 1), last
