"""Stratified splits that are the same on every machine and under every release."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ddbench.errors import UserError


def stratified_split(
    labels: NDArray[np.int64], fraction: float, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions kept and positions held out, both ascending; of each class `fraction` is held out.

    Args:
        labels: (N,) class of each item.
        fraction: share of every class that is held out, rounded, at least one item and never all of them.

    Raises:
        UserError: when the fraction is not between 0 and 1, or a class has fewer than two items.
    """
    if not 0 < fraction < 1:
        raise UserError(f"cannot hold out a fraction of {fraction}; choose one above 0 and below 1")
    # RandomState, because NumPy freezes its streams; those of default_rng may change between releases.
    random = np.random.RandomState(seed)
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(f"class {label} has only one image, which cannot be split; give every class at least two")
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        held[random.permutation(members)[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
