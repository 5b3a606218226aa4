"""Convexified implicit gradients: the loss after training to convergence, differentiated by the implicit function.

Loo, Hasani, Lechner & Rus, "Dataset Distillation with Convexified Implicit Gradients", ICML 2023, arXiv 2302.06755,
Algorithm 1.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, register_method
from ddbench.families.kernels.features import mirrors, with_mirrored
from ddbench.families.kernels.regression import learned_targets
from ddbench.families.linearised_training import LinearisedTraining, bounded
from ddbench.families.network_pool import OnlinePool
from ddbench.families.optimizers import AdaBelief
from ddbench.families.searched_step_size import SearchedStepSize
from ddbench.families.synthetic_set import Init, SyntheticSet

LONGEST = 15
"""training steps of a network between two uses, at most"""


@register_method("implicit_gradients", aliases=["rcig"])
@dataclass(frozen=True)
class ImplicitGradients:
    """Reparameterised convexified implicit gradients (RCIG). Loo et al., ICML 2023, Algorithm 1.

    Near the weights of a network of a pool, training on the synthetic images is made a quadratic problem: the network
    is linear in the change of its weights, and its last layer is solved for. The loss of real images depends on the
    images directly, by the last layer, and by way of the change, which the implicit function theorem differentiates:
    it needs the inverse Hessian times a gradient, found by steps of Adam as the change is. An outer step costs
    `inner_steps` + `inverse_steps` forward and backward passes over the synthetic images, each twice as dear as in
    training, and five forward passes over `batch_real` real images. The moving average of images and labels is kept.

    Differences: networks are the cell's, with its initial weights and activation; the authors' grow twice as wide with
    each block, start from LeCun's distribution, and have a softplus in place of ReLU while they distil up to a depth
    of three. Step sizes are searched for in the first outer steps, which learn already, where theirs are before; both
    adapt, where in their code the inner one does. They back-propagate through parts of large sets.
    """

    family: ClassVar[str] = "kernel regression"
    paper: ClassVar[str] = "https://arxiv.org/abs/2302.06755"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 4, "batch_real": 24, "networks": 2, "lifetime": 9, "inner_steps": 3, "inverse_steps": 2
    }  # fmt: skip

    iterations: PositiveInt = 10_000
    """outer steps; the authors take 15 000 for CIFAR-10 at one image a class"""
    batch_real: PositiveInt = 1024
    """real images in the outer loss"""
    lr: PositiveFloat = 3e-3
    """step size of AdaBelief on images and labels"""
    lr_scale: PositiveFloat = 0.03
    """its step size on the logarithm of the factor of predictions in the outer loss"""
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """decay, at an outer step, of the moving average of images and labels, whose start is corrected for"""
    mirror: bool | None = None
    """the set is trained on with its mirrored copies; None for colour images alone"""
    ridge: PositiveFloat = 5e-4
    """weight of the squared change of weights and of the squared last layer, for each synthetic image"""
    inner_steps: Annotated[int, Field(ge=2)] = 20
    """steps of Adam that find the change of weights"""
    inverse_steps: Annotated[int, Field(ge=2)] = 20
    """steps of Adam that find the inverse Hessian times the gradient in the change"""
    lr_inner: PositiveFloat = 1e-5
    """step size of the former from which the search begins"""
    lr_inverse: PositiveFloat = 5e-5
    """step size of the latter from which the search begins"""
    window: PositiveInt = 50
    """outer steps after which these step sizes adapt"""
    networks: PositiveInt = 30
    """networks in the pool"""
    lifetime: PositiveInt = 100
    """training steps at which a network of the pool is replaced"""
    lr_network: PositiveFloat = 5e-5
    """step size of Adam on the networks, which take 1 to 15 steps after each use"""
    init: Init = "real"
    """initial images: `real` or `noise`"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        synthetic, mirror = SyntheticSet(task, init=self.init), mirrors(self.mirror, task.shape[0])
        targets, images = learned_targets(synthetic, task.classes), synthetic.parts["images"]  # (n, K), (n, C, H, W)
        made = {"images": images, "targets": targets, "log_scale": torch.zeros((), device=task.device).requires_grad_()}
        groups = [{"params": [images, targets]}, {"params": [made["log_scale"]], "lr": self.lr_scale}]
        training = LinearisedTraining(task, self.ridge, mirror)
        state = State(
            made=made,
            optimizer=AdaBelief(groups, lr=self.lr),
            average={name: part.detach().clone() for name, part in synthetic.parts.items()},
            pool=OnlinePool(task, self.networks, self.lifetime, self.lr_network),
            inner=SearchedStepSize(self.lr_inner, self.window, task.device),
            inverse=SearchedStepSize(self.lr_inverse, self.window, task.device),
        )

        def result() -> DistilledDataset:
            return synthetic.artifact(parts=state.average)

        for step in meter.steps(self.iterations, state, result):
            weights = state.pool.next()
            real, classes = task.real.batch(self.batch_real, task.generator("real"))  # (N, C, H, W), (N,)
            change, losses = training.fit(weights, made, self.inner_steps, state.inner.value)
            outer = training.outer(weights, made, change, real, classes)
            lr = state.inverse.value
            product, residuals = training.inverse_product(weights, made, outer.change, self.inverse_steps, lr)
            implicit = training.implicit(weights, made, change, product)
            for name, part in made.items():
                direct = outer.direct[name]
                part.grad = direct + bounded(implicit[name], by=direct) if name in implicit else direct
            state.optimizer.step()
            state.inner.report(losses)
            state.inverse.report(residuals)
            self.update(state.average, synthetic, step)
            steps = int(torch.randint(1, LONGEST + 1, (), generator=task.generator("pool steps", device="cpu")))
            trained_on = (images.detach(), targets.detach())
            state.pool.train(*(with_mirrored(*trained_on) if mirror else trained_on), steps)
            meter.log(loss=outer.loss, lr_inner=state.inner.value, lr_inverse=state.inverse.value)
        return result()

    def update(self, average: dict[str, torch.Tensor], synthetic: SyntheticSet, step: int) -> None:
        """Take the set of an outer step into the moving average, so that what it started from has no weight."""
        share = (1 - self.averaging) / (1 - self.averaging ** (step + 1))
        for name, part in average.items():
            part.lerp_(synthetic.parts[name].detach(), share)
