"""Shared parts of the architectures: the two-part network, layers by name, construction and initial weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ddbench.errors import UserError, suggestion
from ddbench.networks.running import RunningBatchNorm
from ddbench.registry import NETWORKS

NORMS = ("instance", "batch", "running_batch", "layer", "group", "none")
POOLINGS: dict[str, type[nn.Module]] = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "swish": nn.SiLU,
}
GROUPS = 4
MOST_WIDE = 2**12
"""largest value of a parameter, such as a width or a depth"""
MOST_PARAMETERS = 2**29
"""largest number of parameters, 2 GiB; VGG-19 for ImageNet has a quarter"""
INITIALISATIONS = ("default", "xavier")


class Network(nn.Module):
    """A network of features and one linear classifier, a pure function of its parameters and its batch.

    It has no buffers and draws nothing, so `torch.func.functional_call` needs a dictionary of parameters alone.
    """

    def __init__(self, features: nn.Module, classifier: nn.Linear, init: str = "default") -> None:
        super().__init__()
        check_choice("init", init, INITIALISATIONS)
        self.features = features
        self.classifier = classifier
        self.init = init
        """distribution of fresh weights, see `InitialWeights`"""

    def embed(self, x: Tensor) -> Tensor:
        """Return the flattened features that the classifier reads, (N, C, H, W) -> (N, F)."""
        features: Tensor = self.features(x)
        return features.flatten(1)

    def activations(self, x: Tensor) -> list[Tensor]:
        """Return the output of each activation or residual block for (N, C, H, W), in order, then the features, (N, F).

        Raises:
            UserError: for features that are no sequence of layers.
        """
        if not isinstance(self.features, nn.Sequential):
            raise UserError(f"{type(self).__name__} has no sequence of layers to look into; choose convnet")
        found = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, tuple(ACTIVATIONS.values())) or any(layer.children()):
                found.append(x)
        return [*found, x.flatten(1)]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (N, C, H, W) -> (N, K)."""
        logits: Tensor = self.classifier(self.embed(x))
        return logits


def normalisation(kind: str, shape: tuple[int, int, int]) -> nn.Module:
    """Return the normalisation of a (C, H, W) map by its name, with an affine part where the kind has one.

    Raises:
        UserError: unknown kind, or channels that do not divide into the groups.
    """
    check_choice("norm", kind, NORMS)
    channels = shape[0]
    if kind == "instance":
        # One group a channel is instance norm; eager GroupNorm is faster than one written by hand.
        return nn.GroupNorm(channels, channels)
    if kind == "batch":
        # Running statistics would be state outside the weights: functional_call loses it, vmap refuses it.
        return nn.BatchNorm2d(channels, track_running_stats=False)
    if kind == "running_batch":
        return RunningBatchNorm(channels)
    if kind == "layer":
        return nn.LayerNorm(shape)
    if kind == "group":
        if channels % GROUPS:
            raise UserError(f"norm 'group' splits the channels into {GROUPS}; width {channels} is no multiple of it")
        return nn.GroupNorm(GROUPS, channels)
    return nn.Identity()


def activation_layer(kind: str) -> nn.Module:
    """Return the activation by its name; an unknown one raises UserError."""
    check_choice("activation", kind, ACTIVATIONS)
    return ACTIVATIONS[kind]()


def pooling_layer(kind: str) -> nn.Module:
    """Return the 2x2 pooling by its name; an unknown one raises UserError."""
    check_choice("pooling", kind, [*POOLINGS, "none"])
    return POOLINGS[kind](2) if kind in POOLINGS else nn.Identity()


def extra_padding(side: int, halvings: int) -> int:
    """Return how many zeros to add at each end of a side so that halving it `halvings` times drops no pixel.

    The field treats 28x28 images as 32x32. A side of exactly 2**halvings, or below it, needs none.

    >>> extra_padding(28, 3), extra_padding(32, 3), extra_padding(8, 3)
    (2, 0, 0)
    """
    unit = 2**halvings
    return -(-(-side % unit) // 2) if side > unit else 0


def check_choice(parameter: str, value: str, known: Iterable[str]) -> None:
    """Raise UserError with the nearest known value unless `value` is one of them."""
    known = list(known)
    if value not in known:
        raise UserError(f"unknown {parameter} {value!r}; {suggestion(value, known)}")


def check_positive(parameter: str, value: int) -> None:
    """Raise UserError unless the whole number is at least 1."""
    if value < 1:
        raise UserError(f"{parameter} is {value}; it must be at least 1")


def check_side(network: str, shape: tuple[int, int, int], smallest: int) -> None:
    """Raise UserError for images below the smallest side that leaves the network a feature map."""
    _, height, width = shape
    if min(height, width) < smallest:
        raise UserError(
            f"{network} needs images of at least {smallest}x{smallest}, these are {height}x{width}; "
            "enlarge them, or choose 'convnet' with a smaller depth, or 'mlp'"
        )


def build_network(name: str, shape: tuple[int, int, int], classes: int, parameters: Mapping[str, Any]) -> Network:
    """Build the registered network for (C, H, W) images and K classes.

    Args:
        parameters: keyword parameters of the architecture; the others keep their defaults.

    Raises:
        UserError: unknown network or parameter, a value of the wrong type, or one that the architecture refuses, or
            more parameters than fit into memory.
    """
    factory = NETWORKS.get(name)
    signature = inspect.signature(factory, eval_str=True)
    keywords = {key: p.annotation for key, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
    for key, value in parameters.items():
        if key not in keywords:
            fix = suggestion(key, keywords) if keywords else "it takes none"
            raise UserError(f"network {name!r} has no parameter {key!r}; {fix}")
        if not _fits(value, keywords[key]):
            raise UserError(f"{key} of network {name!r} is {value!r}; it must be of type {keywords[key].__name__}")
        if isinstance(value, int) and value > MOST_WIDE:
            raise UserError(f"{key} of network {name!r} is {value}; {MOST_WIDE} is the most")
    with torch.device("meta"):  # allocates no memory
        count = parameter_count(factory(shape, classes, **parameters))
    if count > MOST_PARAMETERS:
        raise UserError(f"network {name!r} would have {count} parameters; {MOST_PARAMETERS} are the most")
    return factory(shape, classes, **parameters)


def _fits(value: object, annotation: object) -> bool:
    # In Python True is an int and 1 is no float; a user means neither.
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation in (str, bool):
        return type(value) is annotation
    return True


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers the parameters of a network have."""
    return sum(parameter.numel() for parameter in network.parameters())


class InitialWeights:
    """Draws fresh weights of a network in one kernel.

    With `default`, as in PyTorch, weights and biases of convolutions and linear layers are uniform in +-1/sqrt(fan_in),
    see `Conv2d.reset_parameters`. With `xavier`, their weights are normal with variance 2 / (fan_in + fan_out) and
    their biases 0 (Glorot & Bengio, AISTATS 2010). Weights of normalisations are 1 and their biases 0.

    Raises:
        TypeError: for a layer whose distribution is not known here.
    """

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
        """Draw weights by parameter name, on the generator's device, without `requires_grad`; views of one tensor."""
        scale, offset = self._map_on(generator.device)
        drawn = self._draw(scale.shape, generator=generator, dtype=scale.dtype, device=scale.device)
        parts = torch.split(torch.addcmul(offset, drawn, scale), self._sizes)
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def _map_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._maps:
            scale, offset = self._maps[torch.device("cpu")]
            self._maps[device] = (scale.to(device), offset.to(device))
        return self._maps[device]


def _places(network: nn.Module, init: str) -> dict[str, tuple[float, float]]:
    """Return by parameter name the scale and the offset that turn standard random numbers into its values."""
    return {
        name: _place(layer, values, init)
        for path, layer in network.named_modules()
        for name, values in layer.named_parameters(prefix=path, recurse=False)
    }


def _place(layer: nn.Module, values: Tensor, init: str) -> tuple[float, float]:
    if isinstance(layer, nn.GroupNorm | nn.BatchNorm2d | nn.LayerNorm):
        return 0.0, float(values is layer.weight)
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        raise TypeError(f"InitialWeights knows no distribution for the parameters of {type(layer).__name__}")
    if init == "default":
        bound = 1 / math.sqrt(layer.weight[0].numel())
        return 2 * bound, -bound
    fan_in, fan_out = (layer.weight.select(axis, 0).numel() for axis in (0, 1))
    return 0.0 if values is layer.bias else math.sqrt(2 / (fan_in + fan_out)), 0.0
