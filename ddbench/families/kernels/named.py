"""Kernels by name."""

from __future__ import annotations

from typing import Literal

from ddbench.families.kernels.tangent import Layer, TangentKernel

KernelName = Literal["fc", "convnet", "convnet3", "unpooled"]


def fully_connected(depth: int = 1) -> TangentKernel:
    """Return the kernel of a network with so many hidden layers."""
    return TangentKernel((*(("dense", "relu") * depth), "dense"))


def convolutional(first: bool = False, blocks: int = 3, pooling: bool = True) -> TangentKernel:
    """Return the kernel of a network of convolutions, each with a ReLU, and one dense layer.

    Args:
        first: a convolution with a ReLU stands before the blocks
        blocks: of a convolution, a ReLU and pooling
        pooling: false leaves pooling out, and costs as many times less as an image has pixels
    """
    opening: tuple[Layer, ...] = ("convolution", "relu") if first else ()
    block: tuple[Layer, ...] = ("convolution", "relu", "pool") if pooling else ("convolution", "relu")
    return TangentKernel((*opening, *(block * blocks), "flatten", "dense"))


KERNELS: dict[KernelName, TangentKernel] = {
    "fc": fully_connected(),
    "convnet": convolutional(first=True),
    "convnet3": convolutional(),
    "unpooled": convolutional(pooling=False),
}
"""`fc` has one hidden layer; `convnet` is that of the code of Nguyen et al., NeurIPS 2021, arXiv 2107.13034; `convnet3`
leaves its first convolution out, as other papers' networks do, and `unpooled` the pooling, too"""
