"""Mixing the images of a batch, and their labels, while training for a score."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor


def mixup(images: Tensor, labels: Tensor, parameter: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix every image and its label with a partner's, by one share for the batch.

    Zhang, Cisse, Dauphin & Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv 1710.09412.

    Args:
        images: (N, C, H, W)
        labels: one number a class, (N, K)
        parameter: of the symmetric beta distribution of the share
        generator: a CPU generator
    """
    drawn = Random(int(torch.randint(2**31, (), generator=generator)))  # torch's beta distribution takes no generator
    share = drawn.betavariate(parameter, parameter)
    partner = torch.randperm(len(images), generator=generator).to(images.device, non_blocking=True)
    return torch.lerp(images[partner], images, share), torch.lerp(labels[partner], labels, share)
