"""Functions that compute again, when their gradient is wanted, what they would otherwise keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def recomputed(function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return what a pure function of these tensors gives; for its gradient nothing else is kept.

    torch's `checkpoint` does as much, and imports torch's compiler at the first call, which takes seconds.
    """
    found: tuple[Tensor, ...] = _Recomputed.apply(function, *tensors)
    return found


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.function = function
        ctx.save_for_backward(*tensors)
        return function(*tensors)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1:]
        own = [tensor.detach().requires_grad_(want) for tensor, want in zip(ctx.saved_tensors, needed, strict=True)]
        with torch.enable_grad():
            found = ctx.function(*own)
        wanted = [tensor for tensor in own if tensor.requires_grad]
        gradients = iter(torch.autograd.grad(found, wanted, slopes))
        return None, *(next(gradients) if tensor.requires_grad else None for tensor in own)
