"""ResNet. He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ddbench.networks.base import Network, check_side, normalisation
from ddbench.registry import NETWORKS

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: (N, channels, H, W) -> (N, width, H/stride, W/stride), rounded up.

    Args:
        out: size (height, width) of the output map, which layer norm must know.
    """

    def __init__(self, channels: int, width: int, stride: int, out: tuple[int, int], norm: str) -> None:
        super().__init__()
        shape = (width, *out)
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            normalisation(norm, shape),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            normalisation(norm, shape),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            convolution = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, normalisation(norm, shape))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


@NETWORKS.register("resnet18")
class ResNet18(Network):
    """ResNet-18 for small images: a 3x3 stem without pooling, four stages of two blocks, global average, a classifier.

    The variant of the DC evaluation pool (arXiv 2006.05929), with instance norm unless said otherwise.

    Args:
        norm: instance, batch (always with the statistics of the current batch), running_batch (trained networks are
            tested with running averages of them), layer, group (4 groups) or none.

    Raises:
        UserError: an unknown norm, or images below 9x9, whose last map of one pixel instance norm would erase.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, norm: str = "instance") -> None:
        check_side("resnet18", shape, 9)
        channels, height, across = shape
        layers: list[nn.Module] = [
            nn.Conv2d(channels, 64, 3, padding=1, bias=False),
            normalisation(norm, (64, height, across)),
            nn.ReLU(),
        ]
        channels = 64
        for width, stride in STAGES:
            height, across = -(-height // stride), -(-across // stride)
            for block_stride in (stride, 1):
                layers.append(BasicBlock(channels, width, block_stride, (height, across), norm))
                channels = width
        layers.append(nn.AdaptiveAvgPool2d(1))
        super().__init__(nn.Sequential(*layers), nn.Linear(channels, classes))
