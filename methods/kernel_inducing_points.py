"""Kernel inducing points: real images are predicted well by kernel ridge regression on the synthetic ones.

Nguyen, Chen & Lee, "Dataset Meta-Learning from Kernel Ridge-Regression", ICLR 2021, arXiv 2011.00050, Algorithm 1;
Nguyen, Novak, Xiao & Lee, "Dataset Distillation with Infinitely Wide Convolutional Networks", NeurIPS 2021,
arXiv 2107.13034.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, LogRange, Meter, State, Task, register_method
from ddbench.families.kernels.named import KERNELS, KernelName
from ddbench.families.kernels.regression import centred, coefficients, for_kernels, learned_targets, targets_of
from ddbench.families.synthetic_set import Init, Parametrisation, SyntheticSet


@register_method("kernel_inducing_points", aliases=["kip"])
@dataclass(frozen=True)
class KernelInducingPoints:
    """Kernel inducing points (KIP). Nguyen et al., ICLR 2021, Algorithm 1, and NeurIPS 2021.

    No network is trained: the kernel is the tangent kernel of an infinitely wide one, and the outer loss is that of
    the regression in closed form. An outer step costs the kernel between `batch_target` real images and all synthetic
    ones, which is cheap for `fc` and grows with the fourth power of an image's side for `convnet`.

    Differences: the augmentation of the second paper is left out; on a CPU kernels are of float32, and only the
    regression is solved in float64, where theirs is of float64 throughout.
    """

    family: ClassVar[str] = "kernel regression"
    paper: ClassVar[str] = "https://arxiv.org/abs/2011.00050"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_target": 24}

    kernel: KernelName = "fc"
    """kernel: `fc`, `convnet` with pooling, `convnet3`, which is one convolution shallower, or `unpooled`"""
    learn: Literal["images", "labels", "both"] = "images"
    """what is learned: `images`, `labels`, or `both`"""
    iterations: PositiveInt = 300
    """outer steps; as many as the authors' notebook takes"""
    batch_target: PositiveInt = 5000
    """real images of a step, equally many of each class; all of a class that has fewer"""
    lr: Annotated[PositiveFloat, LogRange(0.004, 0.4)] = 0.04
    """step size of Adam, on images and labels"""
    regulariser: Annotated[PositiveFloat, LogRange(1e-7, 1e-3)] = 1e-6
    """ridge, as a share of the mean eigenvalue of the synthetic images' kernel"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, `multi_formation`, `linear_bases,scale=1`, ..."""
    init: Init = "real"
    """initial images: `real` or `noise`"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        kernel, synthetic = KERNELS[self.kernel], SyntheticSet(task, self.decoder, self.init)
        learned = [] if self.learn == "labels" else synthetic.learned
        for part in synthetic.learned:
            part.requires_grad_(self.learn != "labels")
        if self.learn != "images":
            learned.append(learned_targets(synthetic, task.classes))
        state = State(synthetic=synthetic, optimizer=torch.optim.Adam(learned, lr=self.lr))
        per_class = max(1, self.batch_target // task.classes)
        for _ in meter.steps(self.iterations, state, synthetic.artifact):
            real, classes = task.real.batch(per_class, task.generator("real"), of=range(task.classes))
            images, labels = synthetic.images()  # (n, C, H, W), (n,) or (n, K)
            real, images = for_kernels(real), for_kernels(images)
            targets = targets_of(labels, task.classes)  # (n, K)
            solved = coefficients(kernel(images, images), targets, self.regulariser)  # (n, K)
            errors = kernel(real, images) @ solved - centred(classes, task.classes)  # (N, K)
            loss = errors.square().mean() / 2
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()
            meter.log(loss=loss)
        return synthetic.artifact()
