"""The arc-cosine kernel: what a ReLU makes of Gaussian inputs, in closed form.

Cho & Saul, "Kernel Methods for Deep Learning", NIPS 2009.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

ROUNDINGS = 8
"""inputs count as equal, or opposite, where the square of the sine of their angle is this many roundings or fewer"""
TURN = 2 * math.pi


def rectified(covariance: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    """Return covariances of the outputs of a ReLU, and of its derivatives, for pairs of centred Gaussian inputs.

    They are differentiable once. For equal inputs they are half of the variance, and a half, whose gradient is that of
    inputs that stay equal.

    Args:
        covariance: of the two inputs of each pair
        product: of their standard deviations, of the same shape
    """
    outputs, derivatives = _Rectified.apply(covariance, product)
    return outputs, derivatives


class _Rectified(torch.autograd.Function):
    """Keeps four tensors for its gradients, a third of what autograd would."""

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
        height = _height(covariance, product)
        derivatives = torch.atan2(height, covariance).div_(-TURN).add_(0.5)
        ctx.save_for_backward(covariance, product, height, derivatives)
        return torch.addcmul(height / TURN, derivatives, covariance), derivatives

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        covariance, product, height, derivatives = ctx.saved_tensors
        of_outputs, of_derivatives = slopes
        steep = torch.where(height == 0, 0.0, of_derivatives / (TURN * height))
        to_covariance = torch.addcmul(steep, of_outputs, derivatives)
        return to_covariance, (of_outputs * height / TURN).addcmul_(steep, covariance, value=-1).div_(product)


def _height(covariance: Tensor, product: Tensor) -> Tensor:
    """Return the product of deviations times the sine of the angle between the inputs; 0 where that is rounding."""
    square = (product - covariance).mul_(product + covariance)
    rounding = ROUNDINGS * torch.finfo(square.dtype).eps * product.square()
    return square.masked_fill_(square <= rounding, 0.0).sqrt_()
