"""Kernel ridge regression on the features that a network makes of images, and the labels that it is given."""

from __future__ import annotations

import torch
from torch import Tensor

from ddbench.families.kernels.regression import coefficients, for_kernels


def predictions(known: Tensor, features: Tensor, targets: Tensor, regulariser: float) -> Tensor:
    """Return what a linear regression on features of images predicts for others, (N, K), differentiable in all three.

    Args:
        known: features of the others, (N, F)
        features: those of the images, (n, F)
        targets: what the images are answered with, (n, K)
        regulariser: ridge, as a share of the mean eigenvalue of the images' kernel
    """
    known, features = for_kernels(known), for_kernels(features)
    solved = coefficients(features @ features.T, targets, regulariser)  # (n, K)
    return known @ (features.T @ solved)


def label_margin(targets: Tensor, most: float) -> Tensor:
    """Return the mean distance between the largest and the second target, (n, K), counted up to `most`; ()."""
    first, second = targets.topk(2, dim=1).values.unbind(1)
    return (first - second).clamp(max=most).mean()


def with_mirrored(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return images, (N, C, H, W), with their mirror images after them, and the targets of both, (2 N, K)."""
    return torch.cat([images, images.flip(3)]), torch.cat([targets, targets])


def mirrors(mirror: bool | None, channels: int) -> bool:
    """Return the setting of a method, or, where it is None, true for images of several channels."""
    return channels > 1 if mirror is None else mirror
