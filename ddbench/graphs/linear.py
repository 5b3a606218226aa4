"""A linear classifier of propagated features, whose gradients have a closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class LinearClassifier:
    """Weights of a linear classifier and Adam on them; a `State` can hold it.

    On features that are propagated it is the network of Wu et al., "Simplifying Graph Convolutional Networks", ICML
    2019, arXiv 1902.07153.

    Args:
        features: F
        classes: K
        lr: step size
        device: where it lives
    """

    def __init__(self, features: int, classes: int, lr: float, device: torch.device) -> None:
        self.weight = torch.zeros(classes, features, device=device)
        self.bias = torch.zeros(classes, device=device)
        self._optimizer = torch.optim.Adam([self.weight, self.bias], lr=lr)

    def restart(self, generator: torch.Generator) -> None:
        """Draw fresh weights, uniform in +-1/sqrt(F), and forget the moments of earlier ones."""
        bound = self.weight.shape[1] ** -0.5
        for own in (self.weight, self.bias):
            own.uniform_(-bound, bound, generator=generator)
        self._optimizer.state.clear()

    def residuals(self, x: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient of each node's cross-entropy in its logits, (N, K): probabilities less targets.

        Args:
            x: (N, F)
            targets: one-hot, (N, K)
        """
        return torch.addmm(self.bias, x, self.weight.T).softmax(1) - targets

    def class_gradients(self, x: Tensor, targets: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the gradient in the weight of the mean cross-entropy of each class's nodes, (C, K, F).

        Args:
            x: (N, F), class by class
            targets: likewise, one-hot, (N, K)
            counts: nodes of each class
        """
        residual = self.residuals(x, targets)
        parts = zip(x.split(list(counts)), residual.split(list(counts)), counts, strict=True)
        return torch.stack([own.T @ nodes / count for nodes, own, count in parts])

    def train(self, x: Tensor, targets: Tensor, steps: int) -> None:
        """Take steps of Adam on the mean cross-entropy of nodes (N, F) with one-hot targets (N, K)."""
        for _ in range(steps):
            residual = self.residuals(x, targets) / len(x)
            self.weight.grad, self.bias.grad = residual.T @ x, residual.sum(0)
            self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "bias": self.bias, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self.weight.copy_(saved["weight"])
        self.bias.copy_(saved["bias"])
        self._optimizer.load_state_dict(saved["optimizer"])


def output_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the sum over classes and outputs of 1 less the cosine of gradients (C, K, F), a scalar."""
    products = (ours * theirs).sum(-1)
    cosines: Tensor = products / (ours.norm(dim=-1) * theirs.norm(dim=-1) + 1e-6)
    return (1 - cosines).sum()
