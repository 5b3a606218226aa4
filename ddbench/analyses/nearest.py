"""Nearest training and test images of images, by distance, and how alike they are by SSIM."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

BLOCK = 256
"""images whose distances to all others are held at a time"""
WINDOW = 11
"""side of the Gaussian window of SSIM, in pixels; on smaller images the largest odd one that fits"""


@dataclass(frozen=True)
class Neighbours:
    """What lies near each of M images; distances are Euclidean, and lists have the nearest first."""

    train: Tensor
    """positions of the nearest training images, (M, L)"""
    distance: Tensor
    """distance to the nearest training image, (M,)"""
    some: Tensor
    """positions of the nearest of some training images, (M, L)"""
    some_distance: Tensor
    """distance to the nearest of these, (M,)"""
    test: Tensor
    """positions of the nearest test images, (M, L)"""
    test_distance: Tensor
    """distance to the nearest test image, (M,)"""
    start_distance: Tensor
    """distance to its own start, (M,); NaN without starts"""
    start_rank: Tensor
    """place of its start among all training images, 1 for the nearest, (M,); 0 without starts"""


def neighbours(
    ours: Tensor, train: Tensor, test: Tensor, some: Tensor, starts: Tensor | None, count: int
) -> Neighbours:
    """Search in one space.

    Args:
        ours: (M, F); `train`, (N, F), and `test`, alike
        some: positions of some training images, (n,)
        starts: positions of the training images that ours started from, (M,)
        count: L, at most
    """
    found = []
    for rows in torch.arange(len(ours), device=ours.device).split(BLOCK):
        of_train, of_test = torch.cdist(ours[rows], train), torch.cdist(ours[rows], test)
        near, near_test, of_some = _first(of_train, count), _first(of_test, count), _first(of_train[:, some], count)
        distance = torch.full((len(rows), 1), torch.nan, device=ours.device)
        rank = torch.zeros(len(rows), dtype=torch.int64, device=ours.device)
        if starts is not None:
            distance = of_train.gather(1, starts[rows][:, None])
            rank = 1 + (of_train < distance).sum(1)
        parts = near.indices, near.values[:, 0], some[of_some.indices], of_some.values[:, 0]
        found.append((*parts, near_test.indices, near_test.values[:, 0], distance[:, 0], rank))
    names = [field.name for field in fields(Neighbours)]
    return Neighbours(**{name: torch.cat(column) for name, column in zip(names, zip(*found, strict=True), strict=True)})


def likeness(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity of each image with each of its others, 1 for equal ones, (M, L).

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004.

    Args:
        images: (M, C, H, W), pixels in [0, 1]
        others: (M, L, C, H, W)
    """
    from kornia.metrics import ssim  # takes a second to import

    side = min(images.shape[2:])
    window = min(WINDOW, side - 1 + side % 2)
    maps = [ssim(image.expand_as(own), own, window).mean((1, 2, 3)) for image, own in zip(images, others, strict=True)]
    return torch.stack(maps)


def _first(distances: Tensor, count: int) -> torch.return_types.topk:
    return distances.topk(min(count, distances.shape[1]), dim=1, largest=False)
