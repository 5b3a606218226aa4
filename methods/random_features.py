"""Random feature approximation: regression with the kernel of random networks, drawn anew for every step.

Loo, Hasani, Amini & Rus, "Efficient Dataset Distillation using Random Feature Approximation", NeurIPS 2022,
arXiv 2210.12067, Algorithm 1.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, Weights, register_method
from ddbench.families.kernels.random_features import gaussian_weights, joined, random_kernel
from ddbench.families.kernels.regression import centred, coefficients, for_kernels, learned_targets, targets_of
from ddbench.families.optimizers import AdaBelief
from ddbench.families.synthetic_set import Init, SyntheticSet


@register_method("random_features", aliases=["rfad"])
@dataclass(frozen=True)
class RandomFeatures:
    """Random feature approximation (RFAD). Loo et al., NeurIPS 2022, Algorithm 1.

    Kernel inducing points with the covariance of outputs of random networks, as of infinitely many, in place of the
    tangent kernel of infinitely wide ones: the features of `networks` fresh networks approximate it, at a cost that
    grows with the number of images and not of their pairs. An outer step costs, for each network, one forward pass over
    `batch_real` real images and a forward and backward pass over the synthetic ones. A linear map of the pixels that
    all images share is learned beside them, and applied to what is stored.

    Differences: networks are the cell's with Gaussian weights, the authors' have twice the usual width and no
    normalisation, as a cell with `width: 256` and `norm: none` has. The set of the last step is returned, theirs is the
    best on images that they distil, too, after which they stop. They score by the exact kernel, or by networks with
    settings that were chosen for each data set.
    """

    family: ClassVar[str] = "kernel regression"
    paper: ClassVar[str] = "https://arxiv.org/abs/2210.12067"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 24, "networks": 2}

    iterations: PositiveInt = 100_000
    """outer steps; the authors take as many at most"""
    batch_real: PositiveInt = 5120
    """real images in the outer loss"""
    networks: PositiveInt = 8
    """random networks of a step"""
    loss: Literal["platt", "squared"] = "platt"
    """outer loss: `platt`, the cross-entropy of predictions times a learned factor, or the `squared` error"""
    learn_labels: bool = True
    """labels are learned, too, as targets; otherwise they stay classes"""
    lr: PositiveFloat = 1e-3
    """step size of AdaBelief on images and labels"""
    lr_map: NonNegativeFloat = 5e-5
    """its step size on the linear map of pixels; 0 leaves the map out"""
    lr_scale: PositiveFloat = 0.01
    """its step size on the logarithm of the factor of predictions"""
    regulariser: PositiveFloat = 5e-3
    """ridge, as a share of the mean eigenvalue of the synthetic images' kernel"""
    init: Init = "real"
    """initial images: `real` or `noise`"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic, device = SyntheticSet(task, init=self.init), task.device
        images = synthetic.parts["images"]  # (n, C, H, W)
        learned = [images, *([learned_targets(synthetic, task.classes)] if self.learn_labels else [])]
        groups: list[dict[str, object]] = [{"params": learned}]
        pixels = torch.eye(images[0].numel(), device=device).requires_grad_() if self.lr_map else None  # (D, D)
        if pixels is not None:
            groups.append({"params": [pixels], "lr": self.lr_map})
        log_scale = torch.zeros((), device=device).requires_grad_()
        groups.append({"params": [log_scale], "lr": self.lr_scale})
        optimizer = AdaBelief(groups, lr=self.lr)
        state = State(synthetic=synthetic, pixels=pixels, log_scale=log_scale, optimizer=optimizer)

        def mapped() -> torch.Tensor:
            return images if pixels is None else (images.flatten(1) @ pixels).view_as(images)

        def result() -> DistilledDataset:
            return synthetic.artifact(parts={"images": mapped().detach()})

        embed = task.compiler.function(task.first_order.embed)
        gradient = task.compiler.gradient(partial(self.objective, task))
        for _ in meter.steps(self.iterations, state, result):
            networks = [gaussian_weights(task, task.generator("networks")) for _ in range(self.networks)]
            real, classes = task.real.batch(self.batch_real, task.generator("real"))  # (N, C, H, W), (N,)
            known = joined([task.chunks.map(partial(embed, weights), real) for weights in networks])  # (N, F)
            targets = targets_of(synthetic.parts["labels"], task.classes)  # (n, K)
            made = {"images": mapped(), "targets": targets, "log_scale": log_scale}
            slopes, loss = gradient(made, networks, known, classes)
            reached = [name for name, part in made.items() if part.requires_grad]
            state.optimizer.zero_grad()
            torch.autograd.backward([made[name] for name in reached], [slopes[name] for name in reached])
            state.optimizer.step()
            meter.log(loss=loss)
        return result()

    def objective(
        self, task: Task, made: Weights, networks: list[Weights], known: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of real images under kernel ridge regression on synthetic ones; ().

        Args:
            made: synthetic `images`, (n, C, H, W), their `targets`, (n, K), and `log_scale`, ()
            networks: weights of each
            known: joined features of the real images, (N, F)
            classes: of these, (N,)
        """
        features = joined([task.first_order.embed(weights, made["images"]) for weights in networks])  # (n, F)
        known, features = for_kernels(known), for_kernels(features)
        solved = coefficients(random_kernel(features, features), made["targets"], self.regulariser)  # (n, K)
        predicted = (random_kernel(known, features) @ solved).to(made["images"])  # (N, K)
        if self.loss == "squared":
            unused = 0 * made["log_scale"]
            return (predicted - centred(classes, task.classes)).square().mean() / 2 + unused
        return F.cross_entropy(made["log_scale"].exp() * predicted, classes)
