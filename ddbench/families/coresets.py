"""The space that coresets choose in: features of a network trained on all the data, of a random one, or pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from ddbench.meter.checkpoint import State

if TYPE_CHECKING:
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

Space = Literal["trained", "random", "pixels"]


@dataclass(frozen=True)
class CoresetSettings:
    """What the controls that choose or average real images have in common."""

    family: ClassVar[str] = "control"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"training_steps": 5, "batch_real": 16}

    space: Space = "trained"
    """where images are compared: features of a `trained` or a `random` network, or `pixels`"""
    training_steps: PositiveInt = 1000
    """of the feature network"""
    batch_real: PositiveInt = 256

    def features(self, task: Task, meter: Meter) -> Tensor:
        """Of every training image in stored order, (N, F)."""
        return feature_space(task, meter, self.space, self.training_steps, self.batch_real)


def feature_space(task: Task, meter: Meter, space: Space, steps: int, batch: int) -> Tensor:
    """Features of every training image in stored order, (N, F) float32.

    Args:
        space: `trained` fits a network to the training data inside the budget; `random` takes fresh weights
        steps: of SGD (step size 0.01, momentum 0.9) for `trained`
        batch: real images a step
    """
    if space == "pixels":
        return _each(task, lambda images: images.flatten(1))
    weights = task.initial(task.generator("features"))
    if space == "trained":
        weights = _trained(task, meter, weights, steps, batch)
    embed = task.compiler.function(task.embed)
    return _each(task, lambda images: embed(weights, images))


def choose_per_class(task: Task, features: Tensor, choose: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, Tensor]:
    """Real images, (K * ipc, C, H, W), and labels: `choose` picks `ipc` rows of each class's features (N_c, F)."""
    chosen = []
    for c in range(task.classes):
        indices = task.real.class_indices(c)
        chosen.append(indices[choose(features[indices], task.ipc)])
    return task.real.take(torch.cat(chosen))


def _each(task: Task, embed: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([task.chunks.map(embed, images) for images, _ in task.real.batches(512)])


def _trained(task: Task, meter: Meter, weights: dict[str, Tensor], steps: int, batch: int) -> dict[str, Tensor]:
    gradient = task.compiler.gradient(task.loss)
    state = State(weights=weights, optimizer=torch.optim.SGD(weights.values(), lr=0.01, momentum=0.9))
    generator = task.generator("features/real")
    for _ in meter.steps(steps, state, name="feature network"):
        images, labels = task.real.batch(batch, generator)
        slope, loss = task.chunks.gradient(gradient, weights, images, labels)
        for name, weight in weights.items():
            weight.grad = slope[name]
        state.optimizer.step()
        meter.log(feature_loss=loss)
    return weights
