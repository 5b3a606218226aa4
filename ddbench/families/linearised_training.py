"""Training near given weights, as a quadratic problem, and gradients through its solution.

Loo, Hasani, Lechner & Rus, "Dataset Distillation with Convexified Implicit Gradients", ICML 2023, arXiv 2302.06755.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.compute.compiling import Compiler, Weights
from ddbench.errors import UserError
from ddbench.families.kernels.features import label_margin, with_mirrored
from ddbench.families.kernels.regression import exact
from ddbench.families.unrolling.update_rules import SEPARATOR, Adam

if TYPE_CHECKING:
    from ddbench.task.task import Task

MATRIX, BIAS = "classifier.weight", "classifier.bias"
"""names of the last layer's weights"""
CHANGE = f"change{SEPARATOR}"
"""stands before the names of weights whose change is a variable of the outer loss"""


class Outer(NamedTuple):
    """The outer loss, and its gradients while everything else stays."""

    loss: Tensor
    """()"""
    direct: Weights
    """gradient in the synthetic set's tensors"""
    change: Weights
    """gradient in the change of the weights"""


class LinearisedTraining:
    """A network whose last layer is solved for, and which is linear in the change of its other weights.

    With features h and Jacobian J of a network at given weights, its answer after a change d of all weights but the
    last matrix is J d + h W. The inner loss on synthetic images and targets y is the mean over images and classes of

        1/2 |y - J d - h W|^2 + ridge * n / 2 * (|W|^2 + |d|^2)

    with n images, at the W that minimises it, so that it is quadratic in d, and its gradient at v for targets of zero
    is its Hessian times v. Synthetic sets are given as tensors by name: `images` (n, C, H, W), `targets` (n, K) and
    `log_scale`, (), the logarithm of a factor of predictions in the outer loss.

    Args:
        ridge: weight of the squares, for each synthetic image
        mirror: mirrored copies of the synthetic images are trained on, too

    Raises:
        UserError: for a network that does not end in one linear layer.
    """

    def __init__(self, task: Task, ridge: float, mirror: bool) -> None:
        if MATRIX not in task.like:
            raise UserError(
                "the last layer of this network is solved for, and its classifier is more than one linear layer; "
                "choose convnet"
            )
        self._task, self._ridge, self._mirror = task, ridge, mirror
        _load_forward_mode()
        self._inner = task.compiler.gradient(self._inner_loss)
        self._answer = task.compiler.function(self._answers)
        self._pull = task.compiler.gradient(self._product)
        eager = Compiler()  # once an outer step, on few images: compiling takes longer than it saves
        self._inverse = eager.function(self._inverse_on)
        self._slope_along = eager.gradient(self._inner_slope)
        self._outer = eager.gradient(self._outer_loss)

    def fit(self, weights: Weights, made: Weights, steps: int, lr: Tensor) -> tuple[Weights, Tensor]:
        """Return the change of weights after steps of Adam on the inner loss, and the loss before each, (steps,)."""
        images, targets = self._set(_detached(made))  # so that both problems are compiled once
        inverse = self._inverse(weights, images)

        def slope(change: Weights) -> tuple[Weights, Tensor]:
            return self._inner(change, weights, images, targets, inverse)

        return descended(slope, self._unchanged(weights), steps, lr)

    def outer(self, weights: Weights, made: Weights, change: Weights, real: Tensor, classes: Tensor) -> Outer:
        """Return the cross-entropy of real images, (N, C, H, W), less the margin of the targets, and its gradients.

        Args:
            change: of the weights, what `fit` returned
            classes: of the real images, (N,)
        """
        pairs = list(self._task.chunks.each(partial(self._answer, weights, change), real))
        known, answers = (torch.cat(parts) for parts in zip(*pairs, strict=True))  # (N, F), (N, K)
        point = {**_detached(made), "answers": answers, **{CHANGE + name: part for name, part in change.items()}}
        slopes, loss = self._outer(point, weights, known, classes)
        pulled, _ = self._task.chunks.gradient(self._pull, weights, real, len(real) * slopes["answers"])
        total = {name: pulled[name] + slopes[CHANGE + name] for name in change}
        return Outer(loss, {name: slopes[name] for name in made}, total)

    def inverse_product(
        self, weights: Weights, made: Weights, vector: Weights, steps: int, lr: Tensor
    ) -> tuple[Weights, Tensor]:
        """Return the inverse Hessian of the inner loss times a vector, approximately, by steps of Adam.

        Returns:
            The product v, and 1/2 v'Hv - v'vector before each step, (steps,).
        """
        images, targets = self._set(_detached(made))
        inverse, zeros = self._inverse(weights, images), torch.zeros_like(targets)

        def slope(change: Weights) -> tuple[Weights, Tensor]:
            product, half = self._inner(change, weights, images, zeros, inverse)
            return {name: part - vector[name] for name, part in product.items()}, half - _dot(change, vector)

        return descended(slope, self._unchanged(weights), steps, lr)

    def implicit(self, weights: Weights, made: Weights, change: Weights, product: Weights) -> Weights:
        """Return the gradient in images and targets of the outer loss by way of the change that they lead to.

        Args:
            product: inverse Hessian times the gradient of the outer loss in the change
        """
        parts = {name: part for name, part in _detached(made).items() if name != "log_scale"}
        slopes, _ = self._slope_along(parts, weights, change, product)
        return {name: -slope for name, slope in slopes.items()}

    def _inner_loss(
        self, change: Weights, weights: Weights, images: Tensor, targets: Tensor, inverse: Tensor
    ) -> Tensor:
        _, moved = self._answers(weights, change, images)
        missing = targets - moved
        squares = (missing * (inverse @ missing)).sum() + _dot(change, change)
        return self._strength(images) / 2 * squares / targets.numel()

    def _inner_slope(self, made: Weights, weights: Weights, change: Weights, direction: Weights) -> Tensor:
        """Return the derivative of the inner loss at a change along a direction, differentiable in the images; ()."""
        images, targets = self._set(made)
        features, moved = self._answers(weights, change, images)
        _, along = self._answers(weights, direction, images)
        solved = self._inverse_of(features, self._strength(images)) @ along  # (n, K)
        return self._strength(images) * (_dot(change, direction) - ((targets - moved) * solved).sum()) / targets.numel()

    def _outer_loss(self, point: Weights, weights: Weights, known: Tensor, classes: Tensor) -> Tensor:
        images, targets = self._set(point)
        change = {name.removeprefix(CHANGE): part for name, part in point.items() if name.startswith(CHANGE)}
        features, moved = self._answers(weights, change, images)
        solved = self._inverse_of(features, self._strength(images)) @ (targets - moved)  # (n, K)
        predicted = point["answers"] + known @ (features.T @ solved)  # (N, K)
        margin = label_margin(point["targets"], 1 / (2 * self._task.classes))
        return F.cross_entropy(point["log_scale"].exp() * predicted, classes) - margin

    def _answers(self, weights: Weights, change: Weights, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of images, (N, F), and what a change of weights adds to the logits at first order, (N, K)."""

        def read(moved: Weights) -> tuple[Tensor, Tensor]:
            features = self._task.embed({**weights, **moved}, images)
            return features, F.linear(features, weights[MATRIX], moved.get(BIAS))

        at = {name: weights[name] for name in change}
        (features, _), (_, added) = torch.func.jvp(read, (at,), (change,))[:2]
        return features, added

    def _product(self, weights: Weights, images: Tensor, cotangents: Tensor) -> Tensor:
        return (self._task.forward(weights, images) * cotangents).sum(1).mean()

    def _inverse_on(self, weights: Weights, images: Tensor) -> Tensor:
        return self._inverse_of(self._task.embed(weights, images), self._strength(images))

    @staticmethod
    def _inverse_of(features: Tensor, strength: float) -> Tensor:
        """Return (h h' + strength)^-1, (n, n), for features h, (n, F)."""
        precise = exact(features)
        raised = precise @ precise.T + strength * torch.eye(len(precise), dtype=precise.dtype, device=precise.device)
        inverse: Tensor = torch.linalg.inv_ex(raised).inverse  # does not wait to see whether it succeeded
        return inverse.to(features)

    def _set(self, made: Weights) -> tuple[Tensor, Tensor]:
        images, targets = made["images"], made["targets"]
        return with_mirrored(images, targets) if self._mirror else (images, targets)

    def _strength(self, images: Tensor) -> float:
        return self._ridge * len(images) / (2 if self._mirror else 1)

    @staticmethod
    def _unchanged(weights: Weights) -> Weights:
        return {name: torch.zeros_like(weight) for name, weight in weights.items() if name != MATRIX}


def descended(
    slope: Callable[[Weights], tuple[Weights, Tensor]], start: Weights, steps: int, lr: Tensor
) -> tuple[Weights, Tensor]:
    """Return where steps of Adam lead, and the value of the function before each step, (steps,).

    Args:
        slope: returns gradient and value of the function, without history
        lr: step size, ()
    """
    rule, values = Adam(), list[Tensor]()
    state = rule.begin(start)
    for _ in range(steps):
        gradient, value = slope(rule.weights(state))
        values.append(value)
        state = rule.after(state, gradient, lr)
    return rule.weights(state), torch.stack(values)


def bounded(gradient: Tensor, by: Tensor) -> Tensor:
    """Return a gradient, shortened to the length of another where it is longer; numbers that are none become 0."""
    length, most = gradient.norm(), by.norm()
    return torch.nan_to_num(gradient / length * torch.minimum(length, most), posinf=0.0, neginf=0.0)


def _load_forward_mode() -> None:
    """Let torch load its forward mode, which warns of what it itself uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
        torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.ones(()),))


def _dot(one: Weights, other: Weights) -> Tensor:
    return torch.stack([(part * other[name]).sum() for name, part in one.items()]).sum()


def _detached(tensors: Weights) -> Weights:
    return {name: part.detach() for name, part in tensors.items()}
