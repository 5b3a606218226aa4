"""Patches of images: random crops at the size of an image, and images that are stitched from several."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RATIO = (3 / 4, 4 / 3)
"""width over height of a crop, from which it is drawn evenly on a logarithmic scale"""


def random_resized_crops(images: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """Return a random crop of each image, resized to the image's size by linear interpolation, (N, C, H, W).

    Args:
        images: (N, C, H, W)
        smallest: smallest area of a crop, as a share of the image's; the largest is the whole
        generator: a CPU generator
    """
    draws = torch.rand(4, len(images), generator=generator).to(images.device, non_blocking=True)
    area = smallest + (1 - smallest) * draws[0]
    low, high = map(math.log, RATIO)
    ratio = (low + (high - low) * draws[1]).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # of the image's sides
    return resized(images, width, height, (1 - width) * draws[2], (1 - height) * draws[3])


def resized(images: Tensor, width: Tensor, height: Tensor, left: Tensor, top: Tensor) -> Tensor:
    """Return boxes of images at the images' size, (N, C, H, W).

    Args:
        images: (N, C, H, W)
        width, height, left, top: of the box of each image, as shares of the image's sides, (N,) each
    """
    nought = torch.zeros_like(width)
    rows = torch.stack([width, nought, 2 * left + width - 1]), torch.stack([nought, height, 2 * top + height - 1])
    grid = F.affine_grid(torch.stack(rows).permute(2, 0, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), padding_mode="border", align_corners=False)


def stitched(patches: Tensor, factor: int) -> Tensor:
    """Return images of `factor` x `factor` patches each, row by row, which are shrunk to fit, (N / factor^2, C, H, W).

    Args:
        patches: (N, C, H, W), whose sides `factor` divides
    """
    if factor == 1:
        return patches
    height, width = (side // factor for side in patches.shape[2:])
    small = F.interpolate(patches, (height, width), mode="bilinear", antialias=True)
    grid = small.unflatten(0, (-1, factor, factor))  # (images, row, column, C, h, w)
    images: Tensor = grid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return images
