"""Real and synthetic images of a class under one draw of augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ddbench.task import Task


def siamese(task: Task, real: Tensor, synthetic: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Both batches under the same operation with the same strength; sizes may differ.

    Args:
        real: (N, C, H, W)
        synthetic: (M, C, H, W)
        generator: on the CPU
    """
    draw = task.augmentation.draw(real.shape, generator, shared=True)
    return task.augmentation.apply(real, draw), task.augmentation.apply(synthetic, draw)
