"""Training a network as a function that can be differentiated."""

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
    """Training, differentiable in its images, labels and step sizes; made once for a run.

    By default a step is w <- w - lr * dloss/dw, as in Wang et al. 2018, Algorithm 1.

    Args:
        loss: a pure function of weights, images and labels to a scalar
        compiler: the task's
        recompute: store the state before each step alone, and compute the step a second time in the backward pass, with
            the same gradient. Otherwise autograd stores the graph of every step. None recomputes compiled steps, where
            it is faster, and stores the graphs of eager ones.
        chained: differentiate through the state that each step passes on to the next. Without, the state before every
            step counts as a constant: the approximation of Cui et al., "Scaling Up Dataset Distillation to ImageNet-1K
            with Constant Memory", ICML 2023, arXiv 2211.10586, which always recomputes.
        rule: the optimiser's update; gradient descent by default
    """

    def __init__(
        self,
        loss: Loss,
        compiler: Compiler,
        recompute: bool | None = None,
        chained: bool = True,
        rule: Rule | None = None,
    ) -> None:
        update = rule or GradientDescent()

        def step(state: Weights, images: Tensor, labels: Tensor, lr: Tensor) -> Weights:
            return update.after(state, gradient(loss, update.weights(state), images, labels), lr)

        def inner_product(inputs: tuple[Any, ...], labels: Tensor | None, cotangent: Weights) -> Tensor:
            """Return the inner product of the state after a step with `cotangent`; its gradient is the step's VJP."""
            state, images, lr, *learned = inputs
            after = step(state, images, learned[0] if labels is None else labels, lr)
            return torch.stack([(after[name] * cotangent[name]).sum() for name in after]).sum()

        loss_gradient = compiler.gradient(loss)

        def first_order(state: Weights, images: Tensor, labels: Tensor, lr: Tensor) -> Weights:
            with torch.no_grad():
                return update.after(state, loss_gradient(update.weights(state), images, labels)[0], lr)

        self._chained = chained
        self._recompute = not chained or (compiler.enabled if recompute is None else recompute)
        self._step = step
        self._plain = compiler.function(step) if compiler.enabled else first_order
        self._vjp: Callable[..., tuple[Any, Tensor]] = compiler.gradient(inner_product)

    def __call__(self, state: Mapping[str, Tensor], steps: Iterable[Step]) -> Weights:
        """Return the state after the steps; under the default rule a state is the weights themselves.

        Args:
            state: `rule.begin(weights)`, or the state after earlier steps; it counts as a constant
        """
        current = {name: value.detach() for name, value in state.items()}
        if self._recompute:
            return recomputed(current, steps, self._plain, self._vjp, chained=self._chained)
        for images, labels, lr in steps:
            current = self._step(current, made(images), labels, lr)
        return current

    def forward_only(self, state: Mapping[str, Tensor], steps: Iterable[Step]) -> Weights:
        """Return the state after the steps, without an autograd graph."""
        current = {name: value.detach() for name, value in state.items()}
        for images, labels, lr in steps:
            with torch.no_grad():
                batch = made(images)
            current = self._plain(current, batch.detach(), labels.detach(), lr.detach())
        return {name: value.detach() for name, value in current.items()}
