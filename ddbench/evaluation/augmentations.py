"""The augmentations that a protocol may name: those that methods share, and one that is of scoring alone."""

from __future__ import annotations

from collections.abc import Callable

from ddbench.data import augmentation
from ddbench.data.augmentation import DIGITS, DSA, Augmentation
from ddbench.data.options import without_options


def _flip(dataset: str) -> Augmentation:
    """Mirror each image with probability 1/2, but digits, which change their meaning."""
    if without_options(dataset).lower() in DIGITS:
        return augmentation.AUGMENTATIONS["none"](dataset)
    return Augmentation(DSA(strategy=("flip",)))


AUGMENTATIONS: dict[str, Callable[[str], Augmentation]] = {**augmentation.AUGMENTATIONS, "flip": _flip}
"""augmentations by name, each a function of the data set's name"""
