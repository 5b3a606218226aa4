"""ConvNet, the network on which most distillation papers report.

Gidaris & Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting", CVPR 2018, arXiv 1804.09458; in the form
that Zhao, Mopuri & Bilen gave it in "Dataset Condensation with Gradient Matching", ICLR 2021, arXiv 2006.05929.
"""

from __future__ import annotations

from torch import nn

from ddbench.errors import UserError
from ddbench.networks.base import (
    Network,
    activation_layer,
    check_choice,
    check_positive,
    extra_padding,
    normalisation,
    pooling_layer,
)
from ddbench.registry import NETWORKS


@NETWORKS.register("convnet")
class ConvNet(Network):
    """`depth` blocks of 3x3 convolution, normalisation, activation and 2x2 pooling, then a linear classifier.

    The first convolution pads 28x28 images to 32x32 maps, and others likewise to a multiple of 2**depth.

    Args:
        shape: (C, H, W) of the images.
        norm: instance, batch (always with the statistics of the current batch), running_batch (trained networks are
            tested with running averages of them), layer, group (4 groups) or none.
        activation: relu, leaky_relu, sigmoid or swish.
        pooling: average, max or none.

    Raises:
        UserError: an unknown layer name, a depth or width below 1, or images too small for the depth.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        *,
        depth: int = 3,
        width: int = 128,
        norm: str = "instance",
        activation: str = "relu",
        pooling: str = "average",
    ) -> None:
        check_positive("depth", depth)
        check_positive("width", width)
        check_choice("pooling", pooling, ["average", "max", "none"])
        channels, height, across = shape
        if pooling != "none":
            _check_depth(height, across, depth)
        extra = (extra_padding(height, depth), extra_padding(across, depth))
        height, across = height + 2 * extra[0], across + 2 * extra[1]
        layers: list[nn.Module] = []
        for block in range(depth):
            padding = (1 + extra[0], 1 + extra[1]) if block == 0 else 1
            layers += [
                nn.Conv2d(channels, width, 3, padding=padding),
                normalisation(norm, (width, height, across)),
                activation_layer(activation),
                pooling_layer(pooling),
            ]
            channels = width
            if pooling != "none":
                height, across = height // 2, across // 2
        super().__init__(nn.Sequential(*layers), nn.Linear(width * height * across, classes))

    @staticmethod
    def usual(shape: tuple[int, int, int]) -> dict[str, int]:
        """Return the depth that papers take for larger images than 32 x 32: 4 at 64 x 64, 5 at 128 x 128."""
        side = min(shape[1:])
        return {"depth": side.bit_length() - 3} if side >= 64 else {}


def _check_depth(height: int, across: int, depth: int) -> None:
    side = min(height, across)
    if side < 2**depth:
        fix = f"set depth to {side.bit_length() - 1} or less" if side > 1 else "use network 'mlp'"
        raise UserError(
            f"convnet of depth {depth} halves the side {depth} times and needs images of at least "
            f"{2**depth}x{2**depth}, these are {height}x{across}; {fix}"
        )
