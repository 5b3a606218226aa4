"""What a step of a training sees: its images, given or made when they are needed, its labels and its step size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Made:
    """Images that a step makes of those that all steps share, and makes again when it is computed again.

    So a training of many steps keeps the shared images alone, neither their batches nor how these were augmented.

    Args:
        shared: (M, C, H, W), differentiable
        make: pure, and differentiable: from the shared images, those of the step, (N, C, H, W)
    """

    shared: Tensor
    make: Callable[[Tensor], Tensor]

    def __call__(self) -> Tensor:
        return self.make(self.shared)


Step = tuple[Tensor | Made, Tensor, Tensor]
"""images (N, C, H, W), labels and a step size ()"""


def made(images: Tensor | Made) -> Tensor:
    """The images of a step."""
    return images() if isinstance(images, Made) else images
