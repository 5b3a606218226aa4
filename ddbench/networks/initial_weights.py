"""Fresh weights of a network, decided by a generator alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ddbench.compute import host

SEEDS = 2**63 - 1
"""number of seeds that a network's own initialisation is drawn from"""


class InitialWeights:
    """Draws fresh weights of a network.

    With `default`, as in PyTorch, weights and biases of convolutions and linear layers are uniform in +-1/sqrt(fan_in),
    see `Conv2d.reset_parameters`. With `xavier`, their weights are normal with variance 2 / (fan_in + fan_out) and
    their biases 0 (Glorot & Bengio, AISTATS 2010). Weights of normalisations are 1 and their biases 0.

    A network with other parameters, such as attention or a bare `nn.Parameter`, and one that says
    `own_initialisation`, are made anew by `remake`, which `build_network` gives them, with torch's generator seeded
    from the one that is given.

    Raises:
        TypeError: for a layer whose distribution is not known here, in a network that cannot be made anew.
    """

    def __init__(self, network: nn.Module) -> None:
        self._source: Callable[[torch.Generator], dict[str, Tensor]]
        remake = getattr(network, "remake", None)
        if remake is not None and (getattr(network, "own_initialisation", False) or not _all_known(network)):
            self._source = _Remade(network, remake)
        else:
            self._source = _Drawn(network)

    def __call__(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw weights by parameter name, on the generator's device, without `requires_grad`."""
        return self._source(generator)


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Make modules on the CPU with torch's own generator seeded; afterwards that is as it was."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        yield


class _Drawn:
    """Weights of known distributions, in one kernel; views of one tensor."""

    def __init__(self, network: nn.Module) -> None:
        parameters, init = dict(network.named_parameters()), getattr(network, "init", "default")
        places = _places(network, init)
        self._draw = torch.randn if init == "xavier" else torch.rand
        self._shapes = {name: parameter.shape for name, parameter in parameters.items()}
        self._sizes = [parameter.numel() for parameter in parameters.values()]
        dtype = next(iter(parameters.values())).dtype
        scale, offset = (
            torch.cat([torch.full((p.numel(),), places[name][part], dtype=dtype) for name, p in parameters.items()])
            for part in (0, 1)
        )
        self._maps = {torch.device("cpu"): (scale, offset)}

    def __call__(self, generator: torch.Generator) -> dict[str, Tensor]:
        scale, offset = self._map_on(generator.device)
        drawn = self._draw(scale.shape, generator=generator, dtype=scale.dtype, device=scale.device)
        parts = torch.split(torch.addcmul(offset, drawn, scale), self._sizes)
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def _map_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._maps:
            scale, offset = self._maps[torch.device("cpu")]
            self._maps[device] = (scale.to(device, non_blocking=True), offset.to(device, non_blocking=True))
        return self._maps[device]


class _Remade:
    """The weights that the network's own code gives it, seeded by one draw."""

    def __init__(self, network: nn.Module, remake: Callable[[], nn.Module]) -> None:
        self._remake = remake
        self._dtypes = {name: parameter.dtype for name, parameter in network.named_parameters()}

    def __call__(self, generator: torch.Generator) -> dict[str, Tensor]:
        seed = int(host.read(torch.randint(SEEDS, (), generator=generator, device=generator.device), "own weights"))
        with torch_seeded(seed):
            made = dict(self._remake().named_parameters())
        return {
            name: made[name].detach().to(generator.device, dtype, non_blocking=True).contiguous()
            for name, dtype in self._dtypes.items()
        }


def _all_known(network: nn.Module) -> bool:
    try:
        _places(network, getattr(network, "init", "default"))
    except TypeError:
        return False
    return True


def _places(network: nn.Module, init: str) -> dict[str, tuple[float, float]]:
    """Return by parameter name the scale and the offset that turn standard random numbers into its values."""
    return {
        name: _place(layer, values, init)
        for path, layer in network.named_modules()
        for name, values in layer.named_parameters(prefix=path, recurse=False)
    }


def _place(layer: nn.Module, values: Tensor, init: str) -> tuple[float, float]:
    if isinstance(layer, nn.GroupNorm | _BatchNorm | nn.LayerNorm):
        return 0.0, float(values is layer.weight)
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        raise TypeError(f"InitialWeights knows no distribution for the parameters of {type(layer).__name__}")
    if init == "default":
        bound = 1 / math.sqrt(layer.weight[0].numel())
        return 2 * bound, -bound
    fan_in, fan_out = (layer.weight.select(axis, 0).numel() for axis in (0, 1))
    return 0.0 if values is layer.bias else math.sqrt(2 / (fan_in + fan_out)), 0.0
