"""Training a network step by step in a way that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ddbench.compiling import Compiler, Weights, gradient
from ddbench.matching.rules import GradientDescent, Rule

Loss = Callable[[Weights, Tensor, Tensor], Tensor]
Step = tuple[Tensor, Tensor, Tensor]
"""images (N, C, H, W), labels and a step size ()"""


class Unroll:
    """Training as a differentiable function of its images, labels and step sizes; made once for a run.

    By default a step is w <- w - lr * dloss/dw, as in Wang et al. 2018, Algorithm 1.

    Args:
        loss: pure, of weights, images and labels, a scalar
        compiler: of the task
        recompute: going back, compute each step once more from what was before it, exactly; then only that is kept.
            Otherwise autograd keeps what every step computed. None recomputes compiled steps, which is faster for
            them, and keeps eager ones.
        chained: whether going back follows how each step moves the weights that later steps start from. Without,
            every step's gradient is pulled as if its weights were constants: the approximation of Cui et al., "Scaling
            Up Dataset Distillation to ImageNet-1K with Constant Memory", ICML 2023, arXiv 2211.10586. It recomputes.
        rule: what a step makes of the gradient, and what it remembers from step to step
    """

    def __init__(
        self,
        loss: Loss,
        compiler: Compiler,
        recompute: bool | None = None,
        chained: bool = True,
        rule: Rule | None = None,
    ) -> None:
        self.rule = rule or GradientDescent()
        follow = self.rule

        def step(state: Weights, images: Tensor, labels: Tensor, lr: Tensor) -> Weights:
            return follow.after(state, gradient(loss, follow.weights(state), images, labels), lr)

        def pulled(point: tuple[Any, ...], labels: Tensor | None, pull: Weights) -> Tensor:
            """How far the state after a step lies in the direction `pull`."""
            state, images, lr, *learned = point
            after = step(state, images, learned[0] if labels is None else labels, lr)
            return torch.stack([(after[name] * pull[name]).sum() for name in after]).sum()

        self.chained = chained
        self.recompute = not chained or (compiler.enabled if recompute is None else recompute)
        self.step = step
        self.pullback: Callable[..., tuple[Any, Tensor]] = compiler.gradient(pulled)
        of_loss = compiler.gradient(loss)

        def first_order(state: Weights, images: Tensor, labels: Tensor, lr: Tensor) -> Weights:
            with torch.no_grad():
                return follow.after(state, of_loss(follow.weights(state), images, labels)[0], lr)

        self.plain = compiler.function(step) if compiler.enabled else first_order
        """a step that nothing is differentiated through"""

    def __call__(self, state: Mapping[str, Tensor], steps: Iterable[Step]) -> Weights:
        """The state after the steps; by the default rule a state is the weights themselves.

        Args:
            state: where training starts, `rule.begin(weights)`; steps before it are not differentiated through
        """
        current = {name: value.detach() for name, value in state.items()}
        if self.recompute:
            walk = [tensor for step in steps for tensor in step]
            return dict(zip(current, _Unrolled.apply(self, current, *walk), strict=True))
        for images, labels, lr in steps:
            current = self.step(current, images, labels, lr)
        return current

    def ahead(self, state: Mapping[str, Tensor], steps: Iterable[Step]) -> Weights:
        """The state after steps that nothing is differentiated through."""
        current = {name: value.detach() for name, value in state.items()}
        for images, labels, lr in steps:
            current = self.plain(current, images.detach(), labels.detach(), lr.detach())
        return {name: value.detach() for name, value in current.items()}


class _Unrolled(torch.autograd.Function):
    """The whole walk as one operation of autograd, which keeps the state before each step."""

    @staticmethod
    def forward(ctx: Any, unroll: Unroll, state: Weights, *walk: Tensor) -> tuple[Tensor, ...]:
        ctx.unroll, ctx.walk, ctx.passed = unroll, [tensor.detach() for tensor in walk], []
        for images, labels, lr in _by_step(ctx.walk):
            ctx.passed.append(state)
            state = unroll.plain(state, images, labels, lr)
        return tuple(value.clone() for value in state.values())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *pulls: Tensor) -> tuple[Tensor | None, ...]:
        names = list(ctx.passed[0]) if ctx.passed else []
        pull = dict(zip(names, pulls, strict=False))
        slopes: list[tuple[Tensor | None, ...]] = []
        wanted = ctx.needs_input_grad[3::3]  # of the labels
        back = reversed(list(zip(ctx.passed, _by_step(ctx.walk), wanted, strict=True)))
        for state, (images, labels, lr), learned in back:
            point = (state, images, lr, *([labels] if learned else []))
            (before, of_images, of_lr, *of_labels), _ = ctx.unroll.pullback(point, None if learned else labels, pull)
            pull = before if ctx.unroll.chained else pull
            slopes.append((of_images, of_labels[0] if learned else None, of_lr))
        return None, None, *(slope for step in reversed(slopes) for slope in step)


def _by_step(walk: list[Tensor]) -> list[Step]:
    return list(zip(walk[0::3], walk[1::3], walk[2::3], strict=True))
