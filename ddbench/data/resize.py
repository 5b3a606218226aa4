"""Conversion of a data set to other image sizes and channels."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.data.dataset import Dataset

CHUNK_NUMBERS = 2**24
"""pixels with their margins that are resized at once"""


def resized(data: Dataset, shape: tuple[int, int, int], margin: int = 0) -> Dataset:
    """Resize a data set to (C, H, W): bilinear and antialiased; colours are averaged to grey, grey is repeated.

    Args:
        margin: black pixels added on each side of an image before resizing
    """
    if data.shape == shape and not margin:
        return data
    detail = "x".join(map(str, shape)) + (f", margin {margin}" if margin else "")
    return replace(
        data,
        train_images=_converted(data.train_images, shape, margin),
        test_images=_converted(data.test_images, shape, margin),
        given_digest=f"{data.digest}+resized({detail})",
    )


def _converted(images: Tensor, shape: tuple[int, int, int], margin: int) -> Tensor:
    channels, height, width = images.shape[1:]
    each = channels * (height + 2 * margin) * (width + 2 * margin)
    return torch.cat([_chunk(chunk, shape, margin) for chunk in images.split(max(1, CHUNK_NUMBERS // each))])


def _chunk(images: Tensor, shape: tuple[int, int, int], margin: int) -> Tensor:
    channels, height, width = shape
    pixels = F.pad(images.float(), (margin,) * 4)
    if images.shape[1] != channels:
        pixels = pixels.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    if pixels.shape[2:] != (height, width):
        pixels = F.interpolate(pixels, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return pixels.round().clamp(0, 255).to(torch.uint8)
