"""Sources of the networks in which real and synthetic images are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddbench.compute import host
from ddbench.compute.compiling import Weights
from ddbench.families.training import OnSynthetic, Trained, Trainer
from ddbench.networks.flatten import unflatten

if TYPE_CHECKING:
    from ddbench.task.task import Task


class FreshNetworks:
    """Networks with fresh weights, each for `uses` steps. A `State` can hold it."""

    def __init__(self, task: Task, uses: int) -> None:
        self._task, self._uses = task, uses
        self._left = 0
        self._weights: Weights = {}

    def next(self) -> Weights:
        """Return the weights of the next step."""
        if not self._left:
            self._weights, self._left = self._task.initial(), self._uses
        self._left -= 1
        return self._weights

    def state_dict(self) -> dict[str, Any]:
        return {"left": self._left, "weights": self._weights if self._left else {}}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._left, self._weights = saved["left"], saved["weights"]


class NetworkQueue:
    """Networks that train on the real data between steps; fresh ones join, and the oldest leave. A `State` can hold it.

    Zhao et al., "Improved Distribution Matching for Dataset Condensation", CVPR 2023, arXiv 2307.09742.

    Args:
        initial_size: networks at first
        max_size: networks at most
        every: steps after which one joins
    """

    def __init__(self, task: Task, initial_size: int, max_size: int, every: int) -> None:
        self._task, self._max_size, self._every = task, max_size, every
        self._steps = 0
        self._members = [Trained.begin(task.initial()) for _ in range(initial_size)]

    def next(self) -> Trained:
        """Return the network of the next step, a random one."""
        if self._steps and self._steps % self._every == 0:
            self._members = [*self._members, Trained.begin(self._task.initial())][-self._max_size :]
        self._steps += 1
        return self._members[self._order()[0]]

    def train(self, trainer: Trainer, networks: int, steps: int, batch: int) -> None:
        """Train random networks on the real data; each one's accuracy is that on its last batch.

        Args:
            networks: how many are trained
            steps: training steps of each
            batch: real images of a step
        """
        for index in self._order()[:networks]:
            member = self._members[index]
            for _ in range(steps):
                real, labels = self._task.real.batch(batch, self._task.generator("queue/real"))
                member = trainer.step(member, real, labels)
            self._members[index] = trainer.measured(member, real, labels)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "members": [member.state_dict() for member in self._members]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._steps, self._members = saved["steps"], [Trained(**member) for member in saved["members"]]

    def _order(self) -> list[int]:
        generator = self._task.generator("queue", device="cpu")
        return torch.randperm(len(self._members), generator=generator).tolist()


class InterpolatedExperts:
    """Random points between the first and the last weights of experts. It has no state but its generator, `between`.

    Wang et al., "Dataset Distillation with Neural Characteristic Function", CVPR 2025, arXiv 2502.20653.

    Args:
        trajectories: of each expert, (positions, P) in host memory
    """

    def __init__(self, task: Task, trajectories: list[Tensor]) -> None:
        self._task, self._trajectories = task, trajectories

    def next(self) -> tuple[Weights, Weights]:
        """Return a point of a random expert, uniform between its ends, and that expert's last weights."""
        generator = self._task.generator("between", device="cpu")
        expert = self._trajectories[int(torch.randint(len(self._trajectories), (), generator=generator))]
        share = float(torch.rand((), generator=generator))
        first, last = (expert[at].to(self._task.device, non_blocking=True) for at in (0, -1))
        point = share * first + (1 - share) * last  # (P,)
        return unflatten(point, self._task.like), unflatten(last, self._task.like)


@dataclass(frozen=True)
class Stability:
    """When the accuracy of a network is stable, by the range of the last `window` accuracies."""

    window: int
    """accuracies that are compared; fewer are neither stable nor changing"""
    settled: float
    """range below which accuracies are stable"""
    changed: float
    """range above which accuracies are changing"""

    def is_settled(self, accuracies: list[float]) -> bool:
        return len(accuracies) >= self.window and self._range(accuracies) < self.settled

    def has_changed(self, accuracies: list[float]) -> bool:
        return len(accuracies) >= self.window and self._range(accuracies) > self.changed

    def _range(self, accuracies: list[float]) -> float:
        return max(accuracies[-self.window :]) - min(accuracies[-self.window :])


class TrainedUntilStable:
    """One network at a time, trained on the synthetic images between steps, and replaced once that changes little.

    Each measurement of its accuracy waits for the device. A `State` can hold it.

    Wang et al., "CAFE: Learning to Condense Dataset by Aligning Features", CVPR 2022, arXiv 2203.01531.

    Args:
        trainer: measures accuracies
        train: trains an epoch on the synthetic images
        stability: a network is replaced when its accuracies at steps have settled; a training ends when its
            accuracies after epochs have changed
        epochs: epochs of a training, at most
        probe: real images of each class to measure accuracy on
    """

    def __init__(
        self, task: Task, trainer: Trainer, train: OnSynthetic, stability: Stability, epochs: int, probe: int
    ) -> None:
        self._task, self._trainer, self._train = task, trainer, train
        self._stability, self._epochs, self._probe = stability, epochs, probe
        self._network = Trained.begin(task.initial())
        self._seen: list[float] = []
        """the network's accuracies at its last steps"""

    def next(self, images: Tensor, labels: Tensor) -> Weights:
        """Return the weights of the next step.

        Args:
            images: synthetic, without history, (M, C, H, W); the network is trained on them
            labels: theirs
        """
        if self._stability.is_settled(self._seen):
            self._network, self._seen = Trained.begin(self._task.initial()), []
        if self._seen:
            self._network = self._trained(images, labels)
        else:
            self._network = self._measured(self._network)
        self._seen = [*self._seen, _read(self._network)][-self._stability.window :]
        return self._network.weights

    def state_dict(self) -> dict[str, Any]:
        return {"network": self._network.state_dict(), "seen": self._seen}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._network, self._seen = Trained(**saved["network"]), saved["seen"]

    def _trained(self, images: Tensor, labels: Tensor) -> Trained:
        network, seen = self._network, list[float]()
        for _ in range(self._epochs):
            network = self._measured(self._train(network, images, labels))
            seen.append(_read(network))
            if self._stability.has_changed(seen):
                break
        return network

    def _measured(self, network: Trained) -> Trained:
        task = self._task
        real, labels = task.real.batch(self._probe, task.generator("probe"), of=range(task.classes))
        return self._trainer.measured(network, real, labels)


def _read(network: Trained) -> float:
    """Return the last accuracy of a network."""
    return float(host.read(network.accuracy, "accuracy"))
