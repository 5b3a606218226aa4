"""Optimisers of images and labels that PyTorch does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class _Moments(Optimizer):
    """An optimiser that keeps moving averages, of each tensor's gradient and of a square."""

    def __init__(
        self, tensors: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(tensors, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every tensor that has a gradient; a closure is not called."""
        for group in self.param_groups:
            for tensor in group["params"]:
                if tensor.grad is None:
                    continue
                state = self.state[tensor]
                if not state:
                    state.update(steps=0, first=torch.zeros_like(tensor), second=torch.zeros_like(tensor))
                state["steps"] += 1
                first, second = (
                    average / (1 - beta ** state["steps"])
                    for average, beta in zip(self._averaged(tensor.grad, state, group), group["betas"], strict=True)
                )
                tensor.sub_(group["lr"] * self._direction(tensor, first / (second.sqrt() + group["eps"])))

    def _averaged(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Take in a gradient, and return the averages."""
        raise NotImplementedError

    def _direction(self, tensor: Tensor, step: Tensor) -> Tensor:
        """Return a step of size 1, given the ratio of the averages."""
        return step


class Lamb(_Moments):
    """LAMB: a step of Adam as long as `lr` times the tensor itself; without weight decay.

    You, Li, Reddi, Hseu, Kumar, Bhojanapalli, Song, Demmel, Keutzer & Hsieh, "Large Batch Optimization for Deep
    Learning: Training BERT in 76 minutes", ICLR 2020, arXiv 1904.00962, Algorithm 2. Where the tensor or its step is
    zero, the length is that of Adam's.

    Args:
        tensors: tensors or groups of them; each tensor has a length of its own
        lr: length of a step, as a share of the tensor's
        betas: decays of the averages of the gradient and of its square
        eps: added to the root of the latter
    """

    def __init__(
        self,
        tensors: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
    ) -> None:
        super().__init__(tensors, lr, betas, eps)

    def _averaged(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> tuple[Tensor, Tensor]:
        first, second = group["betas"]
        return state["first"].lerp_(gradient, 1 - first), state["second"].lerp_(gradient.square(), 1 - second)

    def _direction(self, tensor: Tensor, step: Tensor) -> Tensor:
        own, length = tensor.norm(), step.norm()
        return step * torch.where((own > 0) & (length > 0), own / length, 1.0)


class AdaBelief(_Moments):
    """AdaBelief: Adam with the squared distance of a gradient from its average in place of the gradient's square.

    Zhuang, Tang, Ding, Tatikonda, Dvornek, Papademetris & Duncan, "AdaBelief Optimizer: Adapting Stepsizes by the
    Belief in Observed Gradients", NeurIPS 2020, arXiv 2010.07468, Algorithm 2.

    Args:
        tensors: tensors or groups of them
        lr: step size
        betas: decays of the averages
        eps: added to the average of squares, and to its root
    """

    def __init__(
        self,
        tensors: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
    ) -> None:
        super().__init__(tensors, lr, betas, eps)

    def _averaged(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> tuple[Tensor, Tensor]:
        decays = group["betas"]
        first = state["first"].lerp_(gradient, 1 - decays[0])
        second = state["second"].lerp_((gradient - first).square(), 1 - decays[1])
        return first, second.add_(group["eps"])
