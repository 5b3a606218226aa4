"""Training a network step by step in a way that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ddbench.compiling import Compiler, Weights, gradient
from ddbench.matching.rules import GradientDescent, Rule

Loss = Callable[[Weights, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Made:
    """Images that a step makes of those that all steps share, and makes again when it is computed again.

    So a training of many steps keeps the shared images alone, neither their batches nor how these were augmented.

    Args:
        shared: (M, C, H, W), differentiable
        make: pure, and differentiable: from the shared images, those of the step, (N, C, H, W)
    """

    shared: Tensor
    make: Callable[[Tensor], Tensor]

    def __call__(self) -> Tensor:
        return self.make(self.shared)


Step = tuple[Tensor | Made, Tensor, Tensor]
"""images (N, C, H, W), labels and a step size ()"""


def made(images: Tensor | Made) -> Tensor:
    """The images of a step."""
    return images() if isinstance(images, Made) else images


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
            walk = _Walk(steps)
            return dict(zip(current, _Unrolled.apply(self, current, walk, *walk.shared), strict=True))
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


@dataclass(frozen=True)
class _Place:
    """Where the tensors of a step stand among the shared ones, and how its images are made of theirs."""

    images: int
    labels: int
    lr: int
    make: Callable[[Tensor], Tensor]


class _Walk:
    """Steps, each of whose tensors is held once however many steps have it."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.shared: list[Tensor] = []
        self.places: list[_Place] = []
        known: dict[int, int] = {}

        def place(tensor: Tensor) -> int:
            if id(tensor) not in known:
                known[id(tensor)] = len(self.shared)
                self.shared.append(tensor)
            return known[id(tensor)]

        for images, labels, lr in steps:
            source, make = (images.shared, images.make) if isinstance(images, Made) else (images, _as_it_is)
            self.places.append(_Place(place(source), place(labels), place(lr), make))


class _States:
    """The state before each step, in memory that is taken at once: tensors that stay, among larger ones that come and
    go, would split the heap of a CPU until nothing large fits between them."""

    def __init__(self, like: Weights, steps: int) -> None:
        self._shapes = {name: value.shape for name, value in like.items()}
        self._rows = {name: value.new_empty(steps, _aligned(value.numel())) for name, value in like.items()}

    @property
    def names(self) -> list[str]:
        return list(self._shapes)

    def keep(self, step: int, state: Weights) -> None:
        for name, value in self.at(step).items():
            value.copy_(state[name])

    def at(self, step: int) -> Weights:
        return {name: self._rows[name][step, : shape.numel()].view(shape) for name, shape in self._shapes.items()}


class _Unrolled(torch.autograd.Function):
    """The whole walk as one operation of autograd, which keeps the state before each step."""

    @staticmethod
    def forward(ctx: Any, unroll: Unroll, state: Weights, walk: _Walk, *shared: Tensor) -> tuple[Tensor, ...]:
        ctx.unroll, ctx.places, ctx.shared = unroll, walk.places, [each.detach() for each in shared]
        ctx.passed = _States(state, len(ctx.places))
        for step, place in enumerate(ctx.places):
            ctx.passed.keep(step, state)
            images = place.make(ctx.shared[place.images])
            state = unroll.plain(state, images, ctx.shared[place.labels], ctx.shared[place.lr])
        return tuple(value.clone() for value in state.values())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *pulls: Tensor) -> tuple[Tensor | None, ...]:
        pull = dict(zip(ctx.passed.names, pulls, strict=True))
        slopes: list[Tensor | None] = [None] * len(ctx.shared)

        def add(position: int, slope: Tensor) -> None:
            known = slopes[position]
            slopes[position] = slope if known is None else known + slope

        for step, place in reversed(list(enumerate(ctx.places))):
            state = ctx.passed.at(step)
            source, labels, lr = (ctx.shared[position] for position in (place.images, place.labels, place.lr))
            learned = ctx.needs_input_grad[3 + place.labels]
            with torch.enable_grad():
                source = source.detach().requires_grad_()
                images = place.make(source)
            point = (state, images.detach(), lr, *([labels] if learned else []))
            (before, of_images, of_lr, *of_labels), _ = ctx.unroll.pullback(point, None if learned else labels, pull)
            pull = before if ctx.unroll.chained else pull
            add(place.images, torch.autograd.grad(images, source, of_images)[0])
            add(place.lr, of_lr)
            if learned:
                add(place.labels, of_labels[0])
        return None, None, None, *slopes


def _aligned(count: int) -> int:
    """At least so many numbers, so that rows of them begin where compiled code expects tensors to."""
    return -(-count // 16) * 16


def _as_it_is(images: Tensor) -> Tensor:
    return images
