"""Training a network step by step in a way that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ddbench.compute.compiling import Compiler, Weights, gradient
from ddbench.families.unrolling.recompute import Step, made, recomputed
from ddbench.families.unrolling.update_rules import GradientDescent, Rule

Loss = Callable[[Weights, Tensor, Tensor], Tensor]


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
            each step's weights count as constants: the approximation of Cui et al., "Scaling
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

        def inner_product(point: tuple[Any, ...], labels: Tensor | None, cotangent: Weights) -> Tensor:
            """How far the state after a step lies in the direction `cotangent`."""
            state, images, lr, *learned = point
            after = step(state, images, learned[0] if labels is None else labels, lr)
            return torch.stack([(after[name] * cotangent[name]).sum() for name in after]).sum()

        self._chained = chained
        self.recompute = not chained or (compiler.enabled if recompute is None else recompute)
        self.step = step
        self._vjp: Callable[..., tuple[Any, Tensor]] = compiler.gradient(inner_product)
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
            return recomputed(current, steps, self.plain, self._vjp, chained=self._chained)
        for images, labels, lr in steps:
            current = self.step(current, made(images), labels, lr)
        return current

    def ahead(self, state: Mapping[str, Tensor], steps: Iterable[Step]) -> Weights:
        """The state after steps that nothing is differentiated through."""
        current = {name: value.detach() for name, value in state.items()}
        for images, labels, lr in steps:
            with torch.no_grad():
                batch = made(images)
            current = self.plain(current, batch.detach(), labels.detach(), lr.detach())
        return {name: value.detach() for name, value in current.items()}
