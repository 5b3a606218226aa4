"""The first convolution and the last linear layer of a module, found by what they compute, and replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ddbench.errors import UserError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Head:
    """The last linear layer of a module."""

    name: str
    given: Tensor
    """what it read of the images"""


class _Found(Exception):
    """Ends a forward pass at the first convolution."""


def find_stem(module: nn.Module, images: Tensor, label: str) -> str | None:
    """Return the name of the convolution that reads the images, where it takes other channels; None where it fits.

    Args:
        images: (N, C, H, W)
    """
    found: list[str] = []

    def look(name: str, layer: Any, given: Tensor) -> None:
        found.append(name if given.shape[1] != layer.in_channels else "")
        raise _Found

    layers = _layers(module, nn.Conv2d)
    with _looking(layers, before=look), torch.no_grad():
        try:
            named(lambda: module(images), label, images)
        except _Found:
            return found[0] or None
    return None


def find_head(module: nn.Module, images: Tensor, label: str) -> Head:
    """Return the linear layer whose output is what the module returns.

    Args:
        images: (N, C, H, W)

    Raises:
        UserError: when the module cannot take the images, or ends otherwise.
    """
    found: list[tuple[str, Tensor, Tensor]] = []
    layers = _layers(module, nn.Linear)
    with _looking(layers, after=lambda name, given, output: found.append((name, given, output))), torch.no_grad():
        logits = named(lambda: module(images), label, images)
    if not layers:
        raise UserError(f"{label} has no nn.Linear; a network ends in one, which gives its logits")
    for name, given, output in found:
        if output is logits:
            return Head(name, given)
    kind = f"a {type(logits).__name__}" if not isinstance(logits, Tensor) else "what another layer gives"
    raise UserError(f"{label} returns {kind}, and not what its last nn.Linear gives; end its forward with that layer")


def replaced_stem(module: nn.Module, name: str, channels: int, label: str) -> None:
    """Put a fresh convolution of so many channels in the place of the first one.

    Raises:
        UserError: when it is one of groups.
    """
    old = module.get_submodule(name)
    assert isinstance(old, nn.Conv2d)
    if old.groups != 1 or type(old) is not nn.Conv2d:
        raise UserError(f"{label} takes {old.in_channels} channels, and these images have {channels}; adapt {name!r}")
    new = nn.Conv2d(
        channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None, padding_mode=old.padding_mode,
    )  # fmt: skip
    _put(module, old, new)


def replaced_head(module: nn.Module, name: str, classes: int) -> nn.Linear:
    """Take the last linear layer out; return it, or a fresh one where it has other than so many outputs."""
    old = module.get_submodule(name)
    assert isinstance(old, nn.Linear)
    _put(module, old, nn.Identity())
    return old if old.out_features == classes else nn.Linear(old.in_features, classes, bias=old.bias is not None)


def named(call: Callable[[], Result], label: str, images: Tensor) -> Result:
    """Return what a call gives.

    Raises:
        UserError: when it raises, with the shape of the images.
    """
    try:
        return call()
    except (UserError, _Found):
        raise
    except Exception as error:
        _, channels, height, width = images.shape
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{label} cannot take images of {channels} channels and {height}x{width} pixels "
            f"({type(error).__name__}: {reason}); choose another network, or other images"
        ) from error


def _layers(module: nn.Module, kind: type[nn.Module]) -> dict[str, nn.Module]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, kind)}


def _put(module: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace a layer wherever the module holds it."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)


@contextmanager
def _looking(
    layers: dict[str, nn.Module],
    before: Callable[[str, nn.Module, Tensor], None] | None = None,
    after: Callable[[str, Tensor, Tensor], None] | None = None,
) -> Iterator[None]:
    """Call functions with the name of each layer and what it reads, before or after it computes."""
    hooks = []
    for name, layer in layers.items():
        if before is not None:
            hooks.append(layer.register_forward_pre_hook(lambda m, given, n=name: before(n, m, given[0])))
        if after is not None:
            hooks.append(layer.register_forward_hook(lambda m, given, output, n=name: after(n, given[0], output)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
