"""AlexCifarNet: cuda-convnet's network for CIFAR-10 with two hidden layers. Wang et al. 2018, arXiv 1811.10959."""

from __future__ import annotations

from torch import nn

from ddbench.networks.base import Network, check_side
from ddbench.registry import NETWORKS


@NETWORKS.register("alexcifarnet")
class AlexCifarNet(Network):
    """Two 5x5 convolutions (64 channels) with max pooling and response normalisation, hidden layers of 384 and 192.

    Args:
        init: distribution of fresh weights, `default` or `xavier`

    Raises:
        UserError: images below 8x8.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, init: str = "default") -> None:
        check_side("alexcifarnet", shape, 8)
        channels, height, across = shape
        rows, columns = (((side + 1) // 2 + 1) // 2 for side in (height, across))
        features = nn.Sequential(
            nn.Conv2d(channels, 64, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            _response_normalisation(),
            nn.Conv2d(64, 64, 5, padding=2),
            nn.ReLU(),
            _response_normalisation(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Flatten(),
            nn.Linear(64 * rows * columns, 384),
            nn.ReLU(),
            nn.Linear(384, 192),
            nn.ReLU(),
        )
        super().__init__(features, nn.Linear(192, classes), init)


def _response_normalisation() -> nn.Module:
    return nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1)
