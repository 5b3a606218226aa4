"""VGG. Simonyan & Zisserman, "Very Deep Convolutional Networks", ICLR 2015, arXiv 1409.1556."""

from __future__ import annotations

from torch import nn

from ddbench.networks.base import Network, check_side, extra_padding, normalisation
from ddbench.registry import NETWORKS

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


@NETWORKS.register("vgg11")
class VGG11(Network):
    """Eight 3x3 convolutions in five stages, each stage ended by max pooling, then one linear classifier.

    The small-image variant of the DC evaluation pool (arXiv 2006.05929): no hidden linear layers, instance norm. The
    first convolution pads the map to a multiple of 32, so 28x28 images become 32x32 maps.

    Args:
        norm: instance, batch (always with the statistics of the current batch), running_batch (trained networks are
            tested with running averages of them), layer, group (4 groups) or none.

    Raises:
        UserError: an unknown norm, or images below 17x17.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, norm: str = "instance") -> None:
        # Smaller images would have more padding than pixels.
        check_side("vgg11", shape, 17)
        channels, height, across = shape
        extra = (_padding_to_32(height), _padding_to_32(across))
        height, across = height + 2 * extra[0], across + 2 * extra[1]
        layers: list[nn.Module] = []
        for stage in STAGES:
            for width in stage:
                padding = (1 + extra[0], 1 + extra[1]) if not layers else 1
                layers += [
                    nn.Conv2d(channels, width, 3, padding=padding),
                    normalisation(norm, (width, height, across)),
                    nn.ReLU(),
                ]
                channels = width
            layers.append(nn.MaxPool2d(2))
            height, across = height // 2, across // 2
        super().__init__(nn.Sequential(*layers), nn.Linear(channels * height * across, classes))


def _padding_to_32(side: int) -> int:
    return -((side - 32) // 2) if side < 32 else extra_padding(side, len(STAGES))
