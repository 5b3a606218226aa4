"""Label Solve: the labels with which kernel ridge regression on given images predicts real ones best.

Nguyen, Chen & Lee, "Dataset Meta-Learning from Kernel Ridge-Regression", ICLR 2021, arXiv 2011.00050.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, LogRange, Meter, State, Task, register_method
from ddbench.families.kernels.least_squares import no_rows, residual, solution, with_rows
from ddbench.families.kernels.named import KERNELS, KernelName
from ddbench.families.kernels.regression import centred, coefficients, exact, learned_targets
from ddbench.families.synthetic_set import Init, SyntheticSet


@register_method("label_solve", aliases=["ls"])
@dataclass(frozen=True)
class LabelSolve:
    """Label Solve (LS). Nguyen et al., ICLR 2021.

    The images stay what they start from. Predictions are linear in the labels, A y with A = K_ts (K_ss + ridge)^-1, so
    that the best ones are A+ y_t, in closed form; they are what kernel inducing points with labels alone converge to.
    A step adds a batch of real images to the rows of A, of which a triangle of as many rows as there are synthetic
    images and classes is kept.

    Differences: targets come in batches, in which an image may come twice, and are solved for together; the authors'
    number of targets is not known to us.
    """

    family: ClassVar[str] = "kernel regression"
    paper: ClassVar[str] = "https://arxiv.org/abs/2011.00050"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 4, "batch_target": 24}

    kernel: KernelName = "fc"
    """kernel: `fc`, `convnet` with pooling, `convnet3`, which is one convolution shallower, or `unpooled`"""
    iterations: PositiveInt = 10
    """outer steps, each on a batch of real images that labels are solved for"""
    batch_target: PositiveInt = 5000
    """real images of a batch, equally many of each class; all of a class that has fewer"""
    regulariser: Annotated[PositiveFloat, LogRange(1e-7, 1e-3)] = 1e-6
    """ridge, as a share of the mean eigenvalue of the synthetic images' kernel"""
    init: Init = "real"
    """the images: random `real` ones, or `noise`"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        kernel, synthetic = KERNELS[self.kernel], SyntheticSet(task, init=self.init)
        targets = learned_targets(synthetic, task.classes)  # (n, K), what the labels are before the first step
        images = exact(synthetic.parts["images"].detach())  # (n, C, H, W)
        within, n = kernel(images, images), len(images)  # (n, n)
        state = State(triangle=no_rows(n, task.classes, images.device), steps=0)

        def result() -> DistilledDataset:
            solved = solution(state.triangle, n) if state.steps else targets  # (n, K)
            return synthetic.artifact(parts={"labels": solved.float()})

        per_class = max(1, self.batch_target // task.classes)
        for _ in meter.steps(self.iterations, state, result):
            real, classes = task.real.batch(per_class, task.generator("real"), of=range(task.classes))
            across = kernel(exact(real), images)  # (N, n), K_ts
            design = coefficients(within, across.T, self.regulariser).T  # (N, n), A
            state.triangle = with_rows(state.triangle, design, exact(centred(classes, task.classes)))
            state.steps += 1
            meter.log(loss=residual(state.triangle, n) / (2 * state.steps * classes.numel() * task.classes))
        return result()
