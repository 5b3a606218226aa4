"""Where the networks come from in which real and synthetic images are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.families.training import OnSynthetic, Trained, Trainer
from ddbench.networks.flatten import unflatten

if TYPE_CHECKING:
    from ddbench.task.task import Task


@dataclass(frozen=True)
class View:
    """A network to compare in, and maybe a trained one whose loss on the synthetic images counts too.

    Args:
        weights: to compare in
        guide: of the trained network
        strength: of its mean cross-entropy on each class, ()
    """

    weights: Weights
    guide: Weights | None = None
    strength: Tensor | None = None


class Source(Protocol):
    """Gives a network for each step, and can be kept in a `State`."""

    def next(self, images: Tensor, labels: Tensor) -> View:
        """The network of the next step.

        Args:
            images: synthetic, as they stand, (M, C, H, W), for sources that train on them
            labels: of these
        """
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, saved: Mapping[str, Any]) -> None: ...


class FreshNetworks:
    """Networks with fresh weights, each for `uses` steps. Zhao & Bilen, WACV 2023, arXiv 2110.04181: one."""

    def __init__(self, task: Task, uses: int = 1) -> None:
        self._task, self._uses = task, uses
        self._left = 0
        self._weights: Weights = {}

    def next(self, images: Tensor, labels: Tensor) -> View:
        if not self._left:
            self._weights, self._left = self._task.initial(), self._uses
        self._left -= 1
        return View(self._weights)

    def state_dict(self) -> dict[str, Any]:
        return {"left": self._left, "weights": self._weights if self._left else {}}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._left, self._weights = saved["left"], saved["weights"]


class Queue:
    """Networks that train on the real data meanwhile; new ones join, and the oldest leave. The chosen one guides.

    Zhao et al., "Improved Distribution Matching for Dataset Condensation", CVPR 2023, arXiv 2307.09742.

    Args:
        begin, most: networks at first, and at most
        every: steps after which one joins
        train: how many are trained at each step
        train_steps: of each
        batch: real images of such a step
        guidance: strength of the chosen network's loss, for each percent of its accuracy on a real batch
    """

    def __init__(
        self,
        task: Task,
        trainer: Trainer,
        *,
        begin: int,
        most: int,
        every: int,
        train: int,
        train_steps: int,
        batch: int,
        guidance: float,
    ) -> None:
        self._task, self._trainer = task, trainer
        self._most, self._every, self._guidance = most, every, guidance
        self._train, self._train_steps, self._batch = train, train_steps, batch
        self._steps = 0
        self._members = [Trained.begin(task.initial()) for _ in range(begin)]

    def next(self, images: Tensor, labels: Tensor) -> View:
        if self._steps and self._steps % self._every == 0:
            self._members = [*self._members, Trained.begin(self._task.initial())][-self._most :]
        self._steps += 1
        member = self._members[self._order()[0]]
        for index in self._order()[: self._train]:
            self._members[index] = self._trained(self._members[index])
        return View(member.weights, member.weights, 100 * self._guidance * member.accuracy)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "members": [member.state_dict() for member in self._members]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._steps, self._members = saved["steps"], [Trained(**member) for member in saved["members"]]

    def _order(self) -> list[int]:
        generator = self._task.generator("queue", device="cpu")
        return torch.randperm(len(self._members), generator=generator).tolist()

    def _trained(self, member: Trained) -> Trained:
        for _ in range(self._train_steps):
            real, labels = self._task.real.batch(self._batch, self._task.generator("queue/real"))
            member = self._trainer.step(member, real, labels)
        return self._trainer.measured(member, real, labels)


class InterpolatedExperts:
    """Points at random between the first and the last weights of experts; the trained end guides.

    Wang et al., "Dataset Distillation with Neural Characteristic Function", CVPR 2025, arXiv 2502.20653.

    Args:
        trajectories: (experts, positions, P)
        guidance: strength of the trained network's loss
    """

    def __init__(self, task: Task, trajectories: Tensor, guidance: float) -> None:
        self._task, self._first, self._last = task, trajectories[:, 0], trajectories[:, -1]
        self._guidance = torch.tensor(guidance, device=task.device)

    def next(self, images: Tensor, labels: Tensor) -> View:
        generator = self._task.generator("between", device="cpu")
        expert = int(torch.randint(len(self._first), (), generator=generator))
        share = float(torch.rand((), generator=generator))
        point = share * self._first[expert] + (1 - share) * self._last[expert]
        guide = unflatten(self._last[expert], self._task.like)
        return View(unflatten(point, self._task.like), guide, self._guidance)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        pass


class TrainedUntilStable:
    """One network at a time: trained on the synthetic images as long as that changes it, and then replaced.

    Each probe of its accuracy waits for the device.

    Wang et al., "CAFE: Learning to Condense Dataset by Aligning Features", CVPR 2022, arXiv 2203.01531.

    Args:
        train: an epoch on the synthetic images
        settled: a network is replaced when its accuracies at `window` steps varied less
        changed: a training ends when accuracies varied more within `window` epochs
        epochs: of a training, at most
        probe: real images of each class to measure accuracy on
    """

    def __init__(
        self,
        task: Task,
        trainer: Trainer,
        train: OnSynthetic,
        *,
        settled: float,
        changed: float,
        window: int,
        epochs: int,
        probe: int,
    ) -> None:
        self._task, self._trainer, self._train = task, trainer, train
        self._settled, self._changed, self._window = settled, changed, window
        self._epochs, self._probe = epochs, probe
        self._network = Trained.begin(task.initial())
        self._seen: list[float] = []

    def next(self, images: Tensor, labels: Tensor) -> View:
        if len(self._seen) >= self._window and _spread(self._seen[-self._window :]) < self._settled:
            self._network, self._seen = Trained.begin(self._task.initial()), []
        if self._seen:
            self._network = self._trained(images, labels)
        else:
            self._network = self._measured(self._network)
        self._seen = [*self._seen, float(self._network.accuracy)][-self._window :]
        return View(self._network.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"network": self._network.state_dict(), "seen": self._seen}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._network, self._seen = Trained(**saved["network"]), saved["seen"]

    def _trained(self, images: Tensor, labels: Tensor) -> Trained:
        network, seen = self._network, list[float]()
        for _ in range(self._epochs):
            network = self._measured(self._train(network, images, labels))
            seen = [*seen, float(network.accuracy)][-self._window :]
            if len(seen) == self._window and _spread(seen) > self._changed:
                break
        return network

    def _measured(self, network: Trained) -> Trained:
        task = self._task
        real, labels = task.real.batch(self._probe, task.generator("probe"), of=range(task.classes))
        return self._trainer.measured(network, real, labels)


def _spread(values: list[float]) -> float:
    return max(values) - min(values)
