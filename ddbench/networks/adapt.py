"""A module from elsewhere as a network: a function of its weights and its batch, with one linear layer at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ddbench.errors import UserError
from ddbench.networks.base import Network
from ddbench.networks.initial_weights import torch_seeded
from ddbench.networks.pure import check_pure, purified
from ddbench.networks.surgery import Head, find_head, find_stem, named, replaced_head, replaced_stem

BUILD = 0
"""seed of torch's generator where a module is made to learn its shape; what it keeps for itself is decided by it"""


@dataclass(frozen=True)
class Source:
    """A module from elsewhere: how it is made, and what for."""

    label: str
    """name in messages"""
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    """(C, H, W) of an image"""
    classes: int


@dataclass(frozen=True)
class Places:
    """Names of the layers of a module that are replaced."""

    stem: str | None
    """first convolution, where it takes other channels; None leaves it"""
    head: str
    """last linear layer"""


class Adapted(Network):
    """A module from elsewhere: its part before the last linear layer, and that layer.

    Its fresh weights are those that its own code gives it.
    """

    own_initialisation = True

    def __init__(self, label: str, features: nn.Module, classifier: nn.Linear, remake: Callable[[], nn.Module]) -> None:
        super().__init__(features, classifier)
        self.label = label
        self.remake: Callable[[], nn.Module] = remake

    def embed(self, x: Tensor) -> Tensor:
        """Return what the last linear layer reads, (N, C, H, W) -> (N, F).

        Attention is computed by its formula: the kernels that are faster have no second derivative.
        """
        with sdpa_kernel(SDPBackend.MATH):
            return super().embed(x)

    def activations(self, x: Tensor) -> list[Tensor]:
        """Return what `Network.activations` does; a module that is no `nn.Sequential` raises UserError."""
        if type(self.features).forward is not nn.Sequential.forward:
            raise UserError(
                f"{self.label} is no nn.Sequential of layers to look into; choose convnet, or another method"
            )
        return super().activations(x)


def adapted(source: Source, places: Places | None = None) -> Adapted:
    """Return a module from elsewhere as a network.

    Dropout is switched off, batch norm keeps its running averages in the weights, see `purified`; the first convolution
    and the last linear layer are replaced where they do not fit the channels and classes.

    Args:
        places: what `places_of` has found; None looks

    Raises:
        UserError: when it has no last linear layer, takes no such images, draws random numbers, or changes its buffers.
    """
    found = places or places_of(source)
    with torch_seeded(BUILD):
        return _assembled(source, found)


def places_of(source: Source) -> Places:
    """Return what of a module is to be replaced, after all checks; see `adapted` for errors."""
    images = torch.randn(2, *source.shape, generator=torch.Generator().manual_seed(0))
    with torch_seeded(BUILD):
        module = _made(source)
        stem = find_stem(module, images, source.label)
        if stem is not None:
            replaced_stem(module, stem, source.shape[0], source.label)
        head = find_head(module, images, source.label)
    if head.given.ndim != 2:
        raise UserError(
            f"the last linear layer of {source.label}, {head.name!r}, reads {tuple(head.given.shape)} for two images; "
            "pool or flatten them to (N, F) before it"
        )
    places = Places(stem, head.name)
    network = adapted(source, places)
    named(lambda: check_pure(network, images, source.label), source.label, images)
    _check_split(network, head, images, source)
    _check_start(network, source.label)
    return places


def _assembled(source: Source, places: Places) -> Adapted:
    module = _made(source)
    if places.stem is not None:
        replaced_stem(module, places.stem, source.shape[0], source.label)
    classifier = replaced_head(module, places.head, source.classes)
    return Adapted(source.label, module, classifier, partial(_assembled, source, places))


def _made(source: Source) -> nn.Module:
    module = source.make()
    if not isinstance(module, nn.Module):
        raise UserError(f"{source.label} makes {type(module).__name__}, and no nn.Module; give a class of one")
    return purified(module, source.label)


def _check_split(network: Adapted, head: Head, images: Tensor, source: Source) -> None:
    """Refuse a module whose part before the last linear layer gives something else without that layer."""
    with torch.no_grad():
        embedding = network.embed(images)
    if embedding.shape != head.given.shape or not torch.allclose(embedding, head.given, rtol=1e-3, atol=1e-4):
        raise UserError(
            f"{source.label} uses its last linear layer {head.name!r} for more than its logits; use it once, at the end"
        )


def _check_start(network: Adapted, label: str) -> None:
    """Refuse a module whose initial weights are not decided by torch's generator."""
    with torch_seeded(BUILD):
        again = dict(network.remake().named_parameters())
    odd = [name for name, value in network.named_parameters() if not torch.equal(value, again[name])]
    if odd:
        raise UserError(
            f"the initial {odd[0].removeprefix('features.')!r} of {label} is drawn elsewhere than from torch's "
            "generator; use torch.nn.init"
        )
