"""A training that keeps the state before each step alone, and computes each step once more going back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ddbench.compute.compiling import Weights


@dataclass(frozen=True)
class LazyBatch:
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


Step = tuple[Tensor | LazyBatch, Tensor, Tensor]
"""images (N, C, H, W), labels and a step size ()"""


def made(images: Tensor | LazyBatch) -> Tensor:
    """The images of a step."""
    return images() if isinstance(images, LazyBatch) else images


Plain = Callable[[Weights, Tensor, Tensor, Tensor], Weights]
"""(state, images, labels, step size) -> the state after a step that nothing is differentiated through"""
VectorJacobian = Callable[[tuple[Any, ...], Tensor | None, Weights], tuple[Any, Tensor]]
"""((state, images, step size and, if learned, labels), other labels, cotangent) -> the vector-Jacobian product of the
state after the step with the cotangent, for each of the first, and their inner product"""
BEFORE = 5
"""what the operation takes before its tensors"""


def recomputed(
    state: Weights, steps: Iterable[Step], plain: Plain, vjp: VectorJacobian, *, chained: bool = True
) -> Weights:
    """The state after the steps, differentiable in their tensors and in what `LazyBatch` images share.

    Args:
        chained: whether going back follows how each step moves the state that later steps start from
    """
    walk = StepSequence(steps)
    return dict(zip(state, _Recomputed.apply(state, walk, plain, vjp, chained, *walk.shared), strict=True))


@dataclass(frozen=True)
class _Place:
    """Where the tensors of a step stand among the shared ones, and how its images are made of theirs."""

    images: int
    labels: int
    lr: int
    make: Callable[[Tensor], Tensor]


class StepSequence:
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
            source, make = (images.shared, images.make) if isinstance(images, LazyBatch) else (images, _as_it_is)
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


class _Recomputed(torch.autograd.Function):
    """The whole walk as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any, state: Weights, walk: StepSequence, plain: Plain, vjp: VectorJacobian, chained: bool, *shared: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.places, ctx.shared = walk.places, [each.detach() for each in shared]
        ctx.vjp, ctx.chained = vjp, chained
        ctx.passed = _States(state, len(ctx.places))
        for step, place in enumerate(ctx.places):
            ctx.passed.keep(step, state)
            images = place.make(ctx.shared[place.images])
            state = plain(state, images, ctx.shared[place.labels], ctx.shared[place.lr])
        return tuple(value.clone() for value in state.values())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        cotangent = dict(zip(ctx.passed.names, cotangents, strict=True))
        slopes: list[Tensor | None] = [None] * len(ctx.shared)

        def add(position: int, slope: Tensor) -> None:
            known = slopes[position]
            slopes[position] = slope if known is None else known + slope

        for step, place in reversed(list(enumerate(ctx.places))):
            state = ctx.passed.at(step)
            source, labels, lr = (ctx.shared[position] for position in (place.images, place.labels, place.lr))
            learned = ctx.needs_input_grad[BEFORE + place.labels]
            with torch.enable_grad():
                source = source.detach().requires_grad_()
                images = place.make(source)
            point = (state, images.detach(), lr, *([labels] if learned else []))
            (before, of_images, of_lr, *of_labels), _ = ctx.vjp(point, None if learned else labels, cotangent)
            cotangent = before if ctx.chained else cotangent
            add(place.images, torch.autograd.grad(images, source, of_images)[0])
            add(place.lr, of_lr)
            if learned:
                add(place.labels, of_labels[0])
        return *(None,) * BEFORE, *slopes


def _aligned(count: int) -> int:
    """At least so many numbers, so that rows of them begin where compiled code expects tensors to."""
    return -(-count // 16) * 16


def _as_it_is(images: Tensor) -> Tensor:
    return images
