"""Mean and standard deviation of each channel, with pixels scaled to [0, 1]."""

from __future__ import annotations

import numpy as np

from ddbench.data.dataset import Dataset

Channels = tuple[float, ...]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

PINNED: dict[str, tuple[Channels, Channels]] = {
    # The constants of the DC and MTT repositories, but for CIFAR-100: those apply CIFAR-10's to it, these are its own.
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2861,), (0.3530,)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenette": _IMAGENET,
    "imagenette64": _IMAGENET,
    "imagenette128": _IMAGENET,
    # Measured on the train split.
    "usps": ((0.2545,), (0.3846,)),
    "digits": ((0.3058,), (0.3764,)),
}


def channel_statistics(dataset: Dataset) -> tuple[Channels, Channels]:
    """Mean and standard deviation, C numbers each: pinned for known data sets, else measured on the train split."""
    pinned = PINNED.get(dataset.name)
    # A user's file may bear a known name and still have other channels.
    if pinned is not None and len(pinned[0]) == dataset.shape[0]:
        return pinned
    return measure(dataset)


def measure(dataset: Dataset) -> tuple[Channels, Channels]:
    """Statistics of the train split to four decimals; a constant channel gets deviation 1, which keeps it finite."""
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(dataset.shape[0]):
        # Over a histogram, so that the sum is the same on every machine and no float copy of the data is made.
        pixels = dataset.train_images[:, channel].cpu().numpy()
        share = np.bincount(pixels.ravel(), minlength=256) / pixels.size
        mean = float(share @ values)
        means.append(round(mean, 4))
        deviations.append(round(float(share @ (values - mean) ** 2) ** 0.5, 4) or 1.0)
    return tuple(means), tuple(deviations)
