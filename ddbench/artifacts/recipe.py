"""How an artefact wants to be trained on."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddbench.compute import host

MOST_STEPS = 10**6
"""largest number of steps of a recipe; recipes learned by unrolling have some thousand"""


@dataclass(frozen=True)
class Recipe:
    """Training settings that the method learned with the images; None leaves a setting to the protocol.

    Args:
        lr: step size, (), or one for each step of training, (epochs * batches,); positive
        order: images of each step, (batches, batch_size) indices, in the same order every epoch
        epochs: passes over `order`
        momentum: momentum of SGD
    """

    lr: Tensor | None = None
    order: Tensor | None = None
    epochs: int | None = None
    momentum: float | None = None


def freeze_recipe(recipe: Recipe) -> Recipe:
    tensors = {name: value for name in ("lr", "order") if (value := getattr(recipe, name)) is not None}
    frozen = freeze("recipe", tensors)
    if "lr" in frozen:
        _check_lr(frozen["lr"])
    if "order" in frozen and not _is_order(frozen["order"]):
        raise ValueError(f"recipe.order is {kind_of(frozen['order'])}; it must be (batches, batch_size) int64")
    if recipe.epochs is not None and (type(recipe.epochs) is not int or recipe.epochs < 1):
        raise ValueError(f"recipe.epochs is {recipe.epochs!r}; it must be a whole number of at least 1")
    if recipe.momentum is not None and not (type(recipe.momentum) in (int, float) and 0 <= recipe.momentum < 1):
        raise ValueError(f"recipe.momentum is {recipe.momentum!r}; it must be at least 0 and below 1")
    return replace(recipe, lr=frozen.get("lr"), order=frozen.get("order"))


def _is_order(order: Tensor) -> bool:
    return order.dtype == torch.int64 and order.ndim == 2 and order.numel() > 0


def _check_lr(lr: Tensor) -> None:
    if not lr.is_floating_point() or not 0 < lr.numel() <= MOST_STEPS:
        raise ValueError(f"recipe.lr is {kind_of(lr)}; it must be one step size, or one a step, in floating point")
    if not bool((lr > 0).all()):
        raise ValueError(f"recipe.lr must be positive, got {reprlib.repr(lr.tolist())}")


def freeze(what: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    frozen = {}
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{what}[{name!r}] is a {type(value).__name__}; a tensor is needed")
        value = host.read(value, "artefact").contiguous()
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise FloatingPointError(f"{what}[{name!r}] holds values that are not finite")
        frozen[name] = value
    return frozen


def kind_of(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
