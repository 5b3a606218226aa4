"""Differentiable siamese augmentation: real and synthetic images of a class under one draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ddbench.task.task import Task


def siamese_by_class(task: Task, real: list[Tensor], synthetic: Tensor) -> tuple[list[Tensor], Tensor]:
    """Augment both batches, each class by an operation of its own.

    Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, arXiv 2102.08259.

    Args:
        real: images of each class, (n_c, C, H, W)
        synthetic: (K * m, C, H, W), class by class
    """
    generator = task.generator("augment", device="cpu")
    pairs = [
        siamese(task, own_real, own_synthetic, generator)
        for own_real, own_synthetic in zip(real, synthetic.chunk(task.classes), strict=True)
    ]
    return [pair[0] for pair in pairs], torch.cat([pair[1] for pair in pairs])


def siamese(task: Task, real: Tensor, synthetic: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment both batches, of any sizes, by the same operation with the same strength.

    Args:
        real: (N, C, H, W)
        synthetic: (M, C, H, W)
        generator: on the CPU
    """
    draw = task.augmentation.draw(real.shape, generator, shared=True)
    return task.augmentation.apply(real, draw), task.augmentation.apply(synthetic, draw)
