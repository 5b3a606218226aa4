"""The kernel of an infinitely wide network before training, approximated by features of random ones of finite width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights

if TYPE_CHECKING:
    from ddbench.task.task import Task

WEIGHT, BIAS = 2.0, 0.01
"""variance of a weight, times the number of inputs of its neuron, and of a bias, as of `TangentKernel`"""


def gaussian_weights(task: Task, generator: torch.Generator) -> Weights:
    """Draw weights of the task's network whose widening leads to the kernels of `KERNELS`; normalisations are plain."""
    drawn: Weights = {}
    for name, like in task.like.items():
        if like.ndim == 1 and not name.endswith("bias"):
            drawn[name] = torch.ones_like(like)
            continue
        variance = BIAS if like.ndim == 1 else WEIGHT / like[0].numel()
        drawn[name] = math.sqrt(variance) * torch.randn(
            like.shape, generator=generator, dtype=like.dtype, device=like.device
        )
    return drawn


def joined(features: Sequence[Tensor]) -> Tensor:
    """Return the features of several networks, (N, F) each, side by side, so that products are means over all."""
    together = torch.cat(list(features), 1)
    return together / math.sqrt(together.shape[1])


def random_kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return what covariance outputs of a random last layer have, (N, M), for joined features (N, F) and (M, F).

    Loo, Hasani, Amini & Rus, "Efficient Dataset Distillation using Random Feature Approximation", NeurIPS 2022,
    arXiv 2210.12067.
    """
    return WEIGHT * first @ second.T + BIAS
