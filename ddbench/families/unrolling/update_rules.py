"""What a step of training makes of the gradient: pure functions of what it remembers.

A state is one dictionary of tensors: the weights by name, and beside them what the rule remembers of each.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights

MARK = "/"
"""between what is remembered and the weight's name, in which it cannot stand"""


class Rule(Protocol):
    def begin(self, weights: Weights) -> Weights:
        """The state of a training that has not begun."""
        ...

    def weights(self, state: Weights) -> Weights:
        """Those of a state."""
        ...

    def after(self, state: Weights, slope: Weights, lr: Tensor) -> Weights:
        """The state after a step along the gradient `slope` with step size `lr`, ()."""
        ...


class GradientDescent:
    """w <- w - lr * g, without memory: a state is the weights."""

    def begin(self, weights: Weights) -> Weights:
        return weights

    def weights(self, state: Weights) -> Weights:
        return state

    def after(self, state: Weights, slope: Weights, lr: Tensor) -> Weights:
        return {name: weight - lr * slope[name] for name, weight in state.items()}


class Momentum:
    """v <- momentum * v + g, w <- w - lr * v, as PyTorch's SGD."""

    def __init__(self, momentum: float) -> None:
        self._momentum = momentum

    def begin(self, weights: Weights) -> Weights:
        return weights | _remembered("velocity", weights)

    def weights(self, state: Weights) -> Weights:
        return _plain(state)

    def after(self, state: Weights, slope: Weights, lr: Tensor) -> Weights:
        new: Weights = {}
        for name, g in slope.items():
            velocity = self._momentum * state[_key("velocity", name)] + g
            new[name], new[_key("velocity", name)] = state[name] - lr * velocity, velocity
        return {name: new[name] for name in state}


class Adam:
    """Adam. Kingma & Ba, ICLR 2015, arXiv 1412.6980.

    Its epsilon stands inside the root, squared, so that a gradient of 0 can be differentiated.
    """

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
        self._betas, self._epsilon = betas, epsilon

    def begin(self, weights: Weights) -> Weights:
        count = torch.zeros((), device=next(iter(weights.values())).device, dtype=next(iter(weights.values())).dtype)
        return weights | _remembered("first", weights) | _remembered("second", weights) | {_key("count", ""): count}

    def weights(self, state: Weights) -> Weights:
        return _plain(state)

    def after(self, state: Weights, slope: Weights, lr: Tensor) -> Weights:
        (b1, b2), count = self._betas, state[_key("count", "")] + 1
        new: Weights = {_key("count", ""): count}
        for name, g in slope.items():
            first = b1 * state[_key("first", name)] + (1 - b1) * g
            second = b2 * state[_key("second", name)] + (1 - b2) * g.square()
            size = (second / (1 - b2**count) + self._epsilon**2).sqrt()
            new[name] = state[name] - lr * first / (1 - b1**count) / size
            new[_key("first", name)], new[_key("second", name)] = first, second
        return {name: new[name] for name in state}


def _key(what: str, name: str) -> str:
    return f"{what}{MARK}{name}"


def _remembered(what: str, weights: Weights) -> Weights:
    return {_key(what, name): torch.zeros_like(weight) for name, weight in weights.items()}


def _plain(state: Weights) -> Weights:
    return {name: value for name, value in state.items() if MARK not in name}
