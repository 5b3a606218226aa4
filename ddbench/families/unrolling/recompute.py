"""Training whose backward pass computes each step a second time, so that only the state before each step is stored."""

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
    """The images of one step, computed from images that all steps share, and again in the backward pass.

    A long training then stores the shared images once, and neither its batches nor their augmented copies.

    Args:
        shared: (M, C, H, W), differentiable
        make: a pure, differentiable function from the shared images to those of the step, (N, C, H, W)
    """

    shared: Tensor
    make: Callable[[Tensor], Tensor]

    def __call__(self) -> Tensor:
        return self.make(self.shared)


Step = tuple[Tensor | LazyBatch, Tensor, Tensor]
"""images (N, C, H, W), their labels and a step size ()"""


def made(images: Tensor | LazyBatch) -> Tensor:
    """Return the images of a step as a tensor."""
    return images() if isinstance(images, LazyBatch) else images


Plain = Callable[[Weights, Tensor, Tensor, Tensor], Weights]
"""A step without an autograd graph: (state, images, labels, step size) -> the state after the step."""
VectorJacobian = Callable[[tuple[Any, ...], Tensor | None, Weights], tuple[Any, Tensor]]
"""The vector-Jacobian product of a step: (inputs, constant labels, cotangent) -> (gradients, inner product).

`inputs` are (state, images, step size), and the labels as a fourth where they are learned; constant labels are the
second argument, None otherwise. `cotangent` is the gradient of the outer loss in the state after the step. The inner
product is that of this state and the cotangent; `gradients`, one for each of `inputs`, are those of the inner product,
and so of the outer loss.
"""
NOT_SHARED = 5
"""arguments of `_Recomputed.forward` before the shared tensors; they have no gradient"""


def recomputed(
    state: Weights, steps: Iterable[Step], plain: Plain, vjp: VectorJacobian, *, chained: bool = True
) -> Weights:
    """Return the state after the steps, differentiable in their tensors and in the shared images of a `LazyBatch`.

    Args:
        chained: differentiate through the state that a step passes on to the next; otherwise it counts as a constant
    """
    sequence = StepSequence(steps)
    return dict(zip(state, _Recomputed.apply(state, sequence, plain, vjp, chained, *sequence.shared), strict=True))


@dataclass(frozen=True)
class _Place:
    """The indices of a step's tensors among the shared ones, and the function that makes its images."""

    images: int
    labels: int
    lr: int
    make: Callable[[Tensor], Tensor]


class StepSequence:
    """The steps of a training; a tensor that several of them use is stored once."""

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
            source, make = (images.shared, images.make) if isinstance(images, LazyBatch) else (images, _unchanged)
            self.places.append(_Place(place(source), place(labels), place(lr), make))


class _States:
    """The state before each step, in memory that is allocated at once.

    Allocated one by one between the larger temporary tensors of the steps, they would fragment the heap of a CPU.
    """

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
    """The whole training as one operation of autograd.

    The forward pass runs plain steps and stores the state before each. The backward pass takes the steps in reverse:
    the vector-Jacobian product of a step turns the cotangent of the state after it into that of the state before it,
    which is passed on, and into a term of the gradient in each shared tensor that the step uses.
    """

    @staticmethod
    def forward(
        ctx: Any, state: Weights, steps: StepSequence, plain: Plain, vjp: VectorJacobian, chained: bool, *shared: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.places, ctx.shared = steps.places, [each.detach() for each in shared]
        ctx.vjp, ctx.chained = vjp, chained
        ctx.states = _States(state, len(ctx.places))
        for step, place in enumerate(ctx.places):
            ctx.states.keep(step, state)
            images = place.make(ctx.shared[place.images])
            state = plain(state, images, ctx.shared[place.labels], ctx.shared[place.lr])
        return tuple(value.clone() for value in state.values())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        cotangent = dict(zip(ctx.states.names, cotangents, strict=True))
        gradients: list[Tensor | None] = [None] * len(ctx.shared)

        def add(index: int, term: Tensor) -> None:
            total = gradients[index]
            gradients[index] = term if total is None else total + term

        for step, place in reversed(list(enumerate(ctx.places))):
            source, labels, lr = (ctx.shared[index] for index in (place.images, place.labels, place.lr))
            learned = ctx.needs_input_grad[NOT_SHARED + place.labels]
            with torch.enable_grad():
                source = source.detach().requires_grad_()
                images = place.make(source)
            inputs = (ctx.states.at(step), images.detach(), lr, *([labels] if learned else []))
            (of_state, of_images, of_lr, *of_labels), _ = ctx.vjp(inputs, None if learned else labels, cotangent)
            cotangent = of_state if ctx.chained else cotangent
            add(place.images, torch.autograd.grad(images, source, of_images)[0])
            add(place.lr, of_lr)
            if learned:
                add(place.labels, of_labels[0])
        return *(None,) * NOT_SHARED, *gradients


def _aligned(count: int) -> int:
    """Round up to a multiple of 16, so that each row begins at an address that compiled code expects of a tensor."""
    return -(-count // 16) * 16


def _unchanged(images: Tensor) -> Tensor:
    return images
