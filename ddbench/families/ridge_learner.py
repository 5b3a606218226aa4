"""A network whose last layer follows ridge regression on its own features, and when to begin with a fresh one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.compute import host
from ddbench.compute.compiling import Weights
from ddbench.families.unrolling.update_rules import SEPARATOR, Adam

if TYPE_CHECKING:
    from ddbench.task.task import Task

SCALE = f"{SEPARATOR}scale"
"""name of the factor of logits beside the weights of a network, where no weight has it"""


def ridge_solution(features: Tensor, labels: Tensor, penalty: float) -> Tensor:
    """Return the last layer, (F, K), with the least squared error plus `penalty` times its own square.

    It is differentiable in both, and costs the solution of a system of N equations.

    Args:
        features: (N, F)
        labels: (N, K)
    """
    kernel = features @ features.T + penalty * torch.eye(len(features), device=features.device, dtype=features.dtype)
    solved: Tensor = torch.linalg.solve_ex(kernel, labels).result  # does not wait to see whether it succeeded
    return features.T @ solved


class RidgeLearner:
    """A network in training by Adam, all but its last layer, which is given. A `State` can hold it.

    Args:
        lr: step size of Adam on the network
        lr_scale: that on the factor of its logits
    """

    def __init__(self, task: Task, lr: float, lr_scale: float) -> None:
        self._task, self._rule = task, Adam()
        self._lrs = [torch.full((), size, device=task.device) for size in (lr, lr_scale)]
        self._embed = task.compiler.function(task.first_order.embed)
        self._gradient = task.compiler.gradient(self._loss)
        self.renew()

    def renew(self) -> None:
        """Begin with a fresh network and a last layer of zeros."""
        fresh, device = self._task.initial(), self._task.device
        self._network = self._rule.begin(fresh)
        self._scale = self._rule.begin({"scale": torch.ones((), device=device)})
        width = self.features(torch.zeros(1, *self._task.shape, device=device)).shape[1]
        self.head = torch.zeros(width, self._task.classes, device=device)
        """last layer, (F + 1, K), its bias last"""

    @property
    def scale(self) -> Tensor:
        """The factor of logits, ()."""
        return self._scale["scale"]

    def features(self, images: Tensor) -> Tensor:
        """Return the features of images and a 1 for the bias, (N, F + 1), without history."""
        weights = self._rule.weights(self._network)
        return with_bias(self._task.chunks.map(lambda chunk: self._embed(weights, chunk), images))

    def step(self, images: Tensor, labels: Tensor, head: Tensor) -> None:
        """Train the network and the factor on images with probabilities, (N, K), under this last layer, and keep it."""
        self.head = head
        gradient, _ = self._gradient({**self._rule.weights(self._network), SCALE: self.scale}, images, labels, head)
        self._scale = self._rule.after(self._scale, {"scale": gradient.pop(SCALE)}, self._lrs[1])
        self._network = self._rule.after(self._network, gradient, self._lrs[0])

    def state_dict(self) -> dict[str, Any]:
        return {"network": self._network, "scale": self._scale, "head": self.head}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._network, self._scale, self.head = saved["network"], saved["scale"], saved["head"]

    def _loss(self, point: Weights, images: Tensor, labels: Tensor, head: Tensor) -> Tensor:
        weights = {name: weight for name, weight in point.items() if name != SCALE}
        logits = point[SCALE] * (with_bias(self._task.first_order.embed(weights, images)) @ head)
        unused = torch.stack([weight.sum() for weight in weights.values()]).sum()  # its own last layer is among them
        return F.cross_entropy(logits, labels) + 0 * unused


class Stagnation:
    """Notices when the mean error of a window of steps is no lower than before. A `State` can hold it.

    It waits for the device once a window.

    Args:
        window: steps of a window
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self.reset()

    def reset(self) -> None:
        """Forget all errors."""
        self._errors: list[Tensor] = []
        self._lowest = math.inf

    def noted(self, error: Tensor) -> bool:
        """Take in the error of a step, (), and return whether a window ends that was no better than an earlier one."""
        self._errors = [*self._errors, error]
        if len(self._errors) < self._window:
            return False
        mean, self._errors = float(host.read(torch.stack(self._errors).mean(), "accuracy")), []
        stagnant, self._lowest = mean >= self._lowest, min(mean, self._lowest)
        return stagnant

    def state_dict(self) -> dict[str, Any]:
        return {"errors": self._errors, "lowest": self._lowest}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._errors, self._lowest = list(saved["errors"]), saved["lowest"]


def with_bias(features: Tensor) -> Tensor:
    """Append a 1 to each row, (N, F) -> (N, F + 1)."""
    return F.pad(features, (0, 1), value=1.0)
