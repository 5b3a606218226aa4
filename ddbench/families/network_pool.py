"""A pool of networks that train on the synthetic images between the steps of a method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.families.unrolling.unroll import Unroll
from ddbench.families.unrolling.update_rules import Adam

if TYPE_CHECKING:
    from ddbench.task.task import Task


class OnlinePool:
    """Networks of different ages, trained on the synthetic images and replaced when they are old.

    A `State` can hold it. Training takes steps of Adam on half the squared error, summed over classes.

    Zhou, Nezhadarya & Ba, "Dataset Distillation using Neural Feature Regression", NeurIPS 2022, arXiv 2206.00719.

    Args:
        size: number of networks
        lifetime: training steps at which a network is replaced by a fresh one
        lr: step size of Adam
        staggered: networks count as trained for equally spaced numbers of steps at first, so that they are not replaced
            at the same time
    """

    def __init__(self, task: Task, size: int, lifetime: int, lr: float, staggered: bool = False) -> None:
        self._task, self._lifetime, self._rule = task, lifetime, Adam()
        self._lr = torch.full((), lr, device=task.device)
        self._training = Unroll(self._loss, task.compiler, rule=self._rule)
        self._members = [self._rule.begin(task.initial()) for _ in range(size)]
        self._ages = [lifetime // size * index if staggered else 0 for index in range(size)]
        self._chosen = 0

    def next(self) -> Weights:
        """Choose a random network, and return its weights."""
        generator = self._task.generator("pool", device="cpu")
        self._chosen = int(torch.randint(len(self._members), (), generator=generator))
        return self._rule.weights(self._members[self._chosen])

    def train(self, images: Tensor, targets: Tensor, steps: int = 1) -> None:
        """Train the network that was chosen last for some steps, or replace it where it would then be too old.

        Args:
            images: of every step, (N, C, H, W)
            targets: what it is to answer, (N, K)
        """
        chosen = self._chosen
        self._ages[chosen] += steps
        if self._ages[chosen] >= self._lifetime:
            self._members[chosen], self._ages[chosen] = self._rule.begin(self._task.initial()), 0
        else:
            batches = [(images, targets, self._lr)] * steps
            self._members[chosen] = self._training.forward_only(self._members[chosen], batches)

    def state_dict(self) -> dict[str, Any]:
        return {"members": self._members, "ages": self._ages, "chosen": self._chosen}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._members, self._ages, self._chosen = saved["members"], list(saved["ages"]), saved["chosen"]

    def _loss(self, weights: Weights, images: Tensor, targets: Tensor) -> Tensor:
        return (self._task.first_order.forward(weights, images) - targets).square().sum(1).mean() / 2
