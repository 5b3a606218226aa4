"""LeNet. LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition", IEEE 1998."""

from __future__ import annotations

from torch import nn

from ddbench.networks.base import Network, check_side
from ddbench.registry import NETWORKS


@NETWORKS.register("lenet")
class LeNet(Network):
    """Two 5x5 convolutions (6 and 16 channels) with ReLU and max pooling, hidden layers of 120 and 84, a classifier.

    Images of one channel are padded by 2, as is usual for 28x28 digits; others are not padded.

    Args:
        init: distribution of fresh weights, `default` or `xavier`

    Raises:
        UserError: images below 12x12 (one channel) or 16x16.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, init: str = "default") -> None:
        channels, height, across = shape
        padding = 2 if channels == 1 else 0
        check_side("lenet", shape, 16 - 2 * padding)
        rows, columns = ((side + 2 * padding - 4) // 2 for side in (height, across))
        rows, columns = (rows - 4) // 2, (columns - 4) // 2
        features = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * rows * columns, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
        )
        super().__init__(features, nn.Linear(84, classes), init)
