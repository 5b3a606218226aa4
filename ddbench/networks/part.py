"""A method of a network, other than its forward pass, as a function of weights and images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


class Part:
    """Calls a method of a network, such as `embed`, with weights that are given.

    Args:
        network: its own parameters are not used
        name: of the method
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        self._module = _Forwarding(network, name)

    def __call__(self, weights: Mapping[str, Tensor], images: Tensor) -> Any:
        return functional_call(self._module, {f"network.{name}": weight for name, weight in weights.items()}, (images,))


class _Forwarding(nn.Module):
    """Makes a method of the network callable through `functional_call`."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network = network
        self._name = name

    def forward(self, images: Tensor) -> Any:
        return getattr(self.network, self._name)(images)
