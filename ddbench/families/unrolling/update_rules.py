"""Optimiser update rules as pure functions.

A state is one dictionary of tensors: the weights by name, and the buffers that the rule keeps for each of them.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights

SEPARATOR = "/"
"""stands between a buffer's name and its weight's, and cannot occur in the name of a weight"""


class Rule(Protocol):
    """The update of an optimiser."""

    def begin(self, weights: Weights) -> Weights:
        """Return the state before the first step."""
        ...

    def weights(self, state: Weights) -> Weights:
        """Return the weights of a state, without the buffers."""
        ...

    def after(self, state: Weights, gradient: Weights, lr: Tensor) -> Weights:
        """Return the state after a step with this gradient of the loss and step size `lr`, ()."""
        ...


class GradientDescent:
    """w <- w - lr * g. It keeps no buffers: a state is the weights."""

    def begin(self, weights: Weights) -> Weights:
        return weights

    def weights(self, state: Weights) -> Weights:
        return state

    def after(self, state: Weights, gradient: Weights, lr: Tensor) -> Weights:
        return {name: weight - lr * gradient[name] for name, weight in state.items()}


class Momentum:
    """v <- momentum * v + g, w <- w - lr * v, as in PyTorch's SGD."""

    def __init__(self, momentum: float) -> None:
        self._momentum = momentum

    def begin(self, weights: Weights) -> Weights:
        return weights | _zeros("velocity", weights)

    def weights(self, state: Weights) -> Weights:
        return _without_buffers(state)

    def after(self, state: Weights, gradient: Weights, lr: Tensor) -> Weights:
        new: Weights = {}
        for name, g in gradient.items():
            velocity = self._momentum * state[_key("velocity", name)] + g
            new[name], new[_key("velocity", name)] = state[name] - lr * velocity, velocity
        return {name: new[name] for name in state}


class Adam:
    """Adam. Kingma & Ba, ICLR 2015, arXiv 1412.6980.

    Epsilon is squared and added inside the square root, so that the update can be differentiated at a gradient of 0.
    """

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
        self._betas, self._epsilon = betas, epsilon

    def begin(self, weights: Weights) -> Weights:
        count = torch.zeros((), device=next(iter(weights.values())).device, dtype=next(iter(weights.values())).dtype)
        return weights | _zeros("first", weights) | _zeros("second", weights) | {_key("count", ""): count}

    def weights(self, state: Weights) -> Weights:
        return _without_buffers(state)

    def after(self, state: Weights, gradient: Weights, lr: Tensor) -> Weights:
        (b1, b2), count = self._betas, state[_key("count", "")] + 1
        new: Weights = {_key("count", ""): count}
        for name, g in gradient.items():
            first = b1 * state[_key("first", name)] + (1 - b1) * g
            second = b2 * state[_key("second", name)] + (1 - b2) * g.square()
            size = (second / (1 - b2**count) + self._epsilon**2).sqrt()
            new[name] = state[name] - lr * first / (1 - b1**count) / size
            new[_key("first", name)], new[_key("second", name)] = first, second
        return {name: new[name] for name in state}


def _key(buffer: str, name: str) -> str:
    return f"{buffer}{SEPARATOR}{name}"


def _zeros(buffer: str, weights: Weights) -> Weights:
    return {_key(buffer, name): torch.zeros_like(weight) for name, weight in weights.items()}


def _without_buffers(state: Weights) -> Weights:
    return {name: value for name, value in state.items() if SEPARATOR not in name}
