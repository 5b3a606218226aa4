"""What layers of a convolutional network do to covariances between positions of two images.

Covariances are (..., H, W, H, W), between every position of one image and every one of the other, or (..., H, W),
between equal positions, which is enough for networks without pooling.
"""

from __future__ import annotations

from torch import Tensor

PAIRS = ((-4, -2), (-3, -1))
"""axes along which both positions move together, down and to the right"""
EQUAL = ((-2,), (-1,))
"""the same, for covariances between equal positions"""


def local_means(covariances: Tensor, axes: tuple[tuple[int, ...], ...]) -> Tensor:
    """Return means over the nine neighbours of both positions, with zeros outside of the images."""
    for along in axes:
        summed = covariances.clone()
        for here, there in ((0, 1), (1, 0)):
            _without_edge(summed, along, here).add_(_without_edge(covariances, along, there))
        covariances = summed
    return covariances / 9


def pooled(covariances: Tensor) -> Tensor:
    """Return covariances, (..., h, w, h, w), of means over squares of 2 x 2 pixels; an odd edge is left out."""
    for axis in (-4, -3, -2, -1):
        half = covariances.shape[axis] // 2
        covariances = covariances.narrow(axis, 0, 2 * half).unflatten(axis, (half, 2)).mean(axis)
    return covariances


def diagonal(covariances: Tensor) -> Tensor:
    """Return covariances of equal positions, (..., H, W), of those of every pair."""
    sides = covariances.shape[-2:]
    found: Tensor = covariances.flatten(-4, -3).flatten(-2, -1).diagonal(dim1=-2, dim2=-1).unflatten(-1, sides)
    return found


def _without_edge(values: Tensor, axes: tuple[int, ...], start: int) -> Tensor:
    for axis in axes:
        values = values.narrow(axis, start, values.shape[axis] - 1)
    return values
