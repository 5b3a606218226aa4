"""Training a network by gradient descent in a way that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ddbench.compiling import Compiler, Weights, gradient

Loss = Callable[[Weights, Tensor, Tensor], Tensor]
Step = tuple[Tensor, Tensor, Tensor]
"""images (N, C, H, W), labels and a step size ()"""


class Unroll:
    """Gradient descent as a differentiable function of its images, labels and step sizes; made once for a run.

    A step is w <- w - lr * dloss/dw, as in Wang et al. 2018, Algorithm 1.

    Args:
        loss: pure, of weights, images and labels, a scalar
        compiler: of the task
        recompute: going back, compute each step once more from the weights before it, exactly; then only weights are
            kept. Otherwise autograd keeps what every step computed. None recomputes compiled steps, which is faster
            for them, and keeps eager ones.
        chained: whether going back follows how each step moves the weights that later steps start from. Without,
            every step's gradient is pulled as if its weights were constants: the approximation of Cui et al., "Scaling
            Up Dataset Distillation to ImageNet-1K with Constant Memory", ICML 2023, arXiv 2211.10586. It recomputes.
    """

    def __init__(self, loss: Loss, compiler: Compiler, recompute: bool | None = None, chained: bool = True) -> None:
        def step(weights: Weights, images: Tensor, labels: Tensor, lr: Tensor) -> Weights:
            slope = gradient(loss, weights, images, labels)
            return {name: weight - lr * slope[name] for name, weight in weights.items()}

        def pulled(point: tuple[Any, ...], labels: Tensor | None, pull: Weights) -> Tensor:
            """How far the weights after a step lie in the direction `pull`."""
            weights, images, lr, *learned = point
            after = step(weights, images, learned[0] if labels is None else labels, lr)
            return torch.stack([(after[name] * pull[name]).sum() for name in after]).sum()

        self.chained = chained
        self.recompute = not chained or (compiler.enabled if recompute is None else recompute)
        self.step = compiler.function(step) if self.recompute else step
        self.pullback: Callable[..., tuple[Any, Tensor]] = compiler.gradient(pulled)

    def __call__(self, weights: Mapping[str, Tensor], steps: Iterable[Step]) -> Weights:
        """Weights after the steps.

        Args:
            weights: where training starts; steps before it are not differentiated through
        """
        current = {name: weight.detach() for name, weight in weights.items()}
        if self.recompute:
            walk = [tensor for step in steps for tensor in step]
            return dict(zip(current, _Unrolled.apply(self, current, *walk), strict=True))
        for images, labels, lr in steps:
            current = self.step(current, images, labels, lr)
        return current


class _Unrolled(torch.autograd.Function):
    """The whole walk as one operation of autograd, which keeps the weights before each step."""

    @staticmethod
    def forward(ctx: Any, unroll: Unroll, weights: Weights, *walk: Tensor) -> tuple[Tensor, ...]:
        ctx.unroll, ctx.walk, ctx.passed = unroll, [tensor.detach() for tensor in walk], []
        for images, labels, lr in _by_step(ctx.walk):
            ctx.passed.append(weights)
            weights = unroll.step(weights, images, labels, lr)
        return tuple(weight.clone() for weight in weights.values())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *pulls: Tensor) -> tuple[Tensor | None, ...]:
        names = list(ctx.passed[0]) if ctx.passed else []
        pull = dict(zip(names, pulls, strict=False))
        slopes: list[tuple[Tensor | None, ...]] = []
        wanted = ctx.needs_input_grad[3::3]  # of the labels
        back = reversed(list(zip(ctx.passed, _by_step(ctx.walk), wanted, strict=True)))
        for weights, (images, labels, lr), learned in back:
            point = (weights, images, lr, *([labels] if learned else []))
            (before, of_images, of_lr, *of_labels), _ = ctx.unroll.pullback(point, None if learned else labels, pull)
            pull = before if ctx.unroll.chained else pull
            slopes.append((of_images, of_labels[0] if learned else None, of_lr))
        return None, None, *(slope for step in reversed(slopes) for slope in step)


def _by_step(walk: list[Tensor]) -> list[Step]:
    return list(zip(walk[0::3], walk[1::3], walk[2::3], strict=True))
