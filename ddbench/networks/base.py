"""Shared parts of the architectures: the two-part network, layers by name, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from ddbench.errors import UserError, suggestion
from ddbench.networks.running import RunningBatchNorm

NORMS = ("instance", "batch", "running_batch", "layer", "group", "none")
POOLINGS: dict[str, type[nn.Module]] = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "swish": nn.SiLU,
}
GROUPS = 4
INITIALISATIONS = ("default", "xavier")


class Network(nn.Module):
    """A network of features and one linear classifier, a pure function of its parameters and its batch.

    It has no buffers and draws nothing, so `torch.func.functional_call` needs a dictionary of parameters alone.
    """

    own_initialisation = False
    """true if fresh weights are what its own code gives it, in place of `init`"""
    remake: Callable[[], nn.Module] | None = None
    """makes it anew; set by `build_network`"""

    def __init__(self, features: nn.Module, classifier: nn.Module, init: str = "default") -> None:
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


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers the parameters of a network have."""
    return sum(parameter.numel() for parameter in network.parameters())
