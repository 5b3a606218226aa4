"""AlexNet for small images. Krizhevsky, Sutskever & Hinton, NeurIPS 2012; as in the DC evaluation pool, 2006.05929."""

from __future__ import annotations

from torch import nn

from ddbench.networks.base import Network, check_side, extra_padding
from ddbench.registry import NETWORKS


@NETWORKS.register("alexnet")
class AlexNet(Network):
    """Convolutions 5x5 (128, 192) and 3x3 (256, 192, 192) with ReLU, three max poolings, a linear classifier.

    The first convolution pads the map to a multiple of 8, so 28x28 images become 32x32 maps.

    Raises:
        UserError: images below 8x8.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        check_side("alexnet", shape, 8)
        channels, height, across = shape
        extra = (extra_padding(height, 3), extra_padding(across, 3))
        rows, columns = (height + 2 * extra[0]) // 8, (across + 2 * extra[1]) // 8
        features = nn.Sequential(
            nn.Conv2d(channels, 128, 5, padding=(2 + extra[0], 2 + extra[1])),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(128, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 192, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(192, 192, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        super().__init__(features, nn.Linear(192 * rows * columns, classes))
