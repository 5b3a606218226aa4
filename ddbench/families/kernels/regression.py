"""Kernel ridge regression on a set of images, and the labels that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.compute.device import with_float64

if TYPE_CHECKING:
    from ddbench.families.synthetic_set import SyntheticSet


def coefficients(within: Tensor, targets: Tensor, regulariser: float) -> Tensor:
    """Return (K + r tr(K) / n I)^-1 y, (n, C), by which a kernel between other images and these, (m, n), predicts.

    It is solved in float64, and differentiable.

    Args:
        within: kernel K of the images, (n, n)
        targets: what they are answered with, y, (n, C)
        regulariser: r, a share of the mean eigenvalue
    """
    precise = exact(within)
    ridge = regulariser * precise.diagonal().mean()
    raised = precise + ridge * torch.eye(len(precise), dtype=precise.dtype, device=precise.device)
    solved: Tensor = torch.linalg.solve_ex(raised, targets.to(precise)).result  # does not wait to see if it succeeded
    return solved.to(within)


def exact(values: Tensor) -> Tensor:
    """Return values in float64, on the CPU where the device has none."""
    return values.to(with_float64(values.device)).double()


def for_kernels(images: Tensor) -> Tensor:
    """Return images in the precision in which methods compute kernels.

    It is their own on a CPU, where float64 takes twice as long, and float64 on a GPU of CUDA, whose float32 products
    may have ten bits.
    """
    return images if images.device.type in ("cpu", "mps") else images.double()


def centred(labels: Tensor, classes: int) -> Tensor:
    """Return one-hot targets less their mean, 1 / K: (N, K) float32 for labels (N,)."""
    return F.one_hot(labels, classes).float() - 1 / classes


def targets_of(labels: Tensor, classes: int) -> Tensor:
    """Return what a regression answers images with: centred one-hot targets for classes, labels (N, K) as they are."""
    return labels if labels.is_floating_point() else centred(labels, classes)


def learned_targets(synthetic: SyntheticSet, classes: int) -> Tensor:
    """Let the labels of a synthetic set be targets of a regression, centred one-hot at first, and return this leaf."""
    targets = centred(synthetic.parts["labels"], classes).requires_grad_()
    synthetic.parts["labels"], synthetic.label_kind = targets, "targets"
    return targets
