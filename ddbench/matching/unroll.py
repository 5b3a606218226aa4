"""Training a network by gradient descent in a way that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from ddbench.compiling import Weights, gradient


def unroll(
    loss: Callable[[Weights, Tensor, Tensor], Tensor],
    weights: Mapping[str, Tensor],
    steps: Iterable[tuple[Tensor, Tensor, Tensor]],
) -> Weights:
    """Weights after gradient descent, as a differentiable function of the images, labels and step sizes.

    Args:
        loss: of weights, images (N, C, H, W) and labels, a scalar
        weights: where training starts; detached, so that steps before it are not differentiated through
        steps: images, labels and step size () of each step; memory grows with their number

    Each step is w <- w - lr * dloss/dw, as in Wang et al. 2018, Algorithm 1.
    """
    current = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    for images, labels, lr in steps:
        slope = gradient(loss, current, images, labels)
        current = {name: weight - lr * slope[name] for name, weight in current.items()}
    return current
