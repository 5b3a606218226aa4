"""Batch norm that is tested with running averages of the statistics that its training batches had."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

MOMENTUM = 0.1
"""weight of the newest batch in the averages, as PyTorch's default; a layer may have its own"""
Moments = tuple[Tensor, Tensor]
"""mean and unbiased variance of each channel, (C,)"""


class RunningBatchNorm(nn.BatchNorm2d):
    """Batch norm: by the statistics of the batch in training mode, in evaluation mode by what its weights say alone.

    A network stays a pure function of its parameters: `RunningStatistics.fold` puts the averages into them.

    Args:
        eps: added to variances
        momentum: weight of the newest batch in the averages
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = MOMENTUM) -> None:
        super().__init__(channels, eps, momentum, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise features (N, C) or maps (N, C, ...)."""
        if self.training:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        each = (-1, *[1] * (x.ndim - 2))
        return x * self.weight.view(each) + self.bias.view(each)


class RunningStatistics:
    """The running averages of all such layers of a network while it trains.

    Args:
        network: in training mode; its own parameters are not used
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, RunningBatchNorm)}
        self._averages: dict[str, Moments] = {
            name: (torch.zeros_like(layer.bias), torch.ones_like(layer.weight)) for name, layer in self._layers.items()
        }

    @property
    def kept(self) -> bool:
        """True where there are such layers."""
        return bool(self._layers)

    def update(self, weights: Mapping[str, Tensor], images: Tensor) -> None:
        """Take in what a training step on the images, (N, C, H, W), normalises with; it costs a forward pass."""
        if not self._layers:
            return
        for name, batch in _moments(self._network, self._layers, weights, images).items():
            pairs = zip(self._averages[name], batch, strict=True)
            mean, variance = (average.lerp(new, self._layers[name].momentum or MOMENTUM) for average, new in pairs)
            self._averages[name] = mean, variance

    def fold(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights with which the network in evaluation mode normalises by the averages."""
        folded = dict(weights)
        for name, (mean, variance) in self._averages.items():
            scale = weights[f"{name}.weight"] / (variance + self._layers[name].eps).sqrt()
            folded[f"{name}.weight"], folded[f"{name}.bias"] = scale, weights[f"{name}.bias"] - mean * scale
        return folded


@torch.no_grad()
def _moments(
    network: nn.Module, layers: Mapping[str, nn.Module], weights: Mapping[str, Tensor], images: Tensor
) -> dict[str, Moments]:
    found: dict[str, Moments] = {}

    def look(name: str, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, (0, *range(2, x.ndim)))
        found[name] = mean, variance

    hooks = [
        layer.register_forward_pre_hook(lambda layer, given, name=name: look(name, given[0]))
        for name, layer in layers.items()
    ]
    functional_call(network, dict(weights), (images,))
    for hook in hooks:
        hook.remove()
    return found
