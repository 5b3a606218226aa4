"""Neural feature regression: real images are predicted by regression on the features of synthetic ones.

Zhou, Nezhadarya & Ba, "Dataset Distillation using Neural Feature Regression", NeurIPS 2022, arXiv 2206.00719,
Algorithm 1.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch.optim.lr_scheduler import CosineAnnealingLR

from ddbench import DistilledDataset, Meter, State, Task, Weights, register_method
from ddbench.families.kernels.features import label_margin, mirrors, predictions, with_mirrored
from ddbench.families.kernels.regression import centred, learned_targets, targets_of
from ddbench.families.network_pool import OnlinePool
from ddbench.families.optimizers import Lamb
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet


@register_method("feature_regression", aliases=["frepo"])
@dataclass(frozen=True)
class FeatureRegression:
    """Neural feature regression with pooling (FRePo). Zhou et al., NeurIPS 2022, Algorithm 1.

    The features are those of a network of a pool, whose members train on the synthetic images by one step whenever they
    are used. The last layer is trained to the end in closed form, by kernel ridge regression, so that the loss of real
    images is differentiated through it and the features, and through no training. An outer step costs one forward pass
    over `batch_real` real images, and two forward and backward passes over the synthetic ones.

    Differences: networks are the cell's, with its initial weights; the authors' grow twice as wide with each block,
    start from LeCun's distribution, and have batch norm with running averages while they distil and none when they are
    scored, for which a cell with `norm: none` is nearest. A network is replaced at `lifetime` steps, theirs is used
    once at the 101st. Initial labels of more than ten classes are scaled down as theirs, those of fewer not up. They
    mirror colour images where a class has few; the set of the last step is returned, where theirs is chosen by test
    accuracies.
    """

    family: ClassVar[str] = "kernel regression"
    paper: ClassVar[str] = "https://arxiv.org/abs/2206.00719"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 24, "networks": 2, "lifetime": 2}

    iterations: PositiveInt = 500_000
    """outer steps, over which the step size falls along a cosine to a tenth"""
    batch_real: PositiveInt = 1024
    """real images in the outer loss"""
    optimizer: Literal["lamb", "adam"] = "lamb"
    """optimiser of images and labels: `lamb`, as published, or `adam`"""
    lr: PositiveFloat = 3e-4
    """its step size"""
    learn_labels: bool = True
    """labels are learned, too, as targets; otherwise they stay classes"""
    mirror: bool | None = None
    """mirrored copies of the synthetic images stand beside them in the regression; None for colour images alone"""
    regulariser: PositiveFloat = 1e-6
    """ridge, as a share of the mean eigenvalue of the synthetic images' kernel"""
    networks: PositiveInt = 10
    """networks in the pool"""
    lifetime: PositiveInt = 100
    """training steps at which a network of the pool is replaced"""
    lr_network: PositiveFloat = 3e-4
    """step size of Adam on the networks"""
    batch_train: PositiveInt = 1000
    """synthetic images in a training step of a network; all where there are fewer"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """initial images: `real` or `noise`"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticSet(task, self.decoder, self.init)
        learned = synthetic.learned
        if self.learn_labels:
            learned.append(learned_targets(synthetic, task.classes))  # (n, K)
            learned[-1].data.mul_(min(1.0, 10 / task.classes) ** 0.5)
        optimizer = (Lamb if self.optimizer == "lamb" else torch.optim.Adam)(learned, lr=self.lr)
        schedule = CosineAnnealingLR(optimizer, self.iterations, eta_min=self.lr / 10)
        pool = OnlinePool(task, self.networks, self.lifetime, self.lr_network, staggered=True)
        state = State(synthetic=synthetic, optimizer=optimizer, schedule=schedule, pool=pool)
        embed = task.compiler.function(task.first_order.embed)
        gradient = task.compiler.gradient(partial(self.objective, task))
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            weights = state.pool.next()
            real, classes = task.real.batch(self.batch_real, task.generator("real"))  # (N, C, H, W), (N,)
            known = task.chunks.map(partial(embed, weights), real)  # (N, F)
            images, labels = synthetic.images()  # (n, C, H, W), (n,) or (n, K)
            made = {"images": images, "targets": targets_of(labels, task.classes)}
            slopes, loss = gradient(made, weights, known, centred(classes, task.classes))
            reached = [name for name, part in made.items() if part.requires_grad]
            state.optimizer.zero_grad()
            torch.autograd.backward([made[name] for name in reached], [slopes[name] for name in reached])
            state.optimizer.step()
            state.schedule.step()
            with torch.no_grad():
                images, labels = synthetic.images()
            order = torch.randperm(len(images), generator=task.generator("order"), device=task.device)
            chosen = order[: self.batch_train]
            state.pool.train(images[chosen], targets_of(labels, task.classes)[chosen])
            meter.log(loss=loss)
        return synthetic.artifact()

    def objective(
        self, task: Task, made: Weights, weights: Weights, known: torch.Tensor, answers: torch.Tensor
    ) -> torch.Tensor:
        """Return half the squared error of real images, summed over classes, less the margin of the labels; ().

        Args:
            made: synthetic `images`, (n, C, H, W), and their `targets`, (n, K)
            weights: a network's
            known: its features of the real images, (N, F)
            answers: centred one-hot targets of these, (N, K)
        """
        images, targets = made["images"], made["targets"]
        margin = label_margin(targets, 1 / task.classes)
        if mirrors(self.mirror, task.shape[0]):
            images, targets = with_mirrored(images, targets)
        predicted = predictions(known, task.first_order.embed(weights, images), targets, self.regulariser)
        return (predicted - answers).square().sum(1).mean() / 2 - margin
