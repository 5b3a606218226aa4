"""The space in which coresets compare images: features of a trained network or of a random one, or pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ddbench.meter.checkpoint import State

if TYPE_CHECKING:
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

Space = Literal["trained", "random", "pixels"]


def feature_space(task: Task, meter: Meter, space: Space, steps: int, batch: int) -> Tensor:
    """Return the features of every training image, (N, F) float32, in stored order.

    Args:
        space: features of a `trained` network, which is charged to the budget, or of a `random` one; or `pixels`
        steps: training steps of the `trained` network, by SGD with step size 0.01 and momentum 0.9
        batch: real images of a step
    """
    if space == "pixels":
        return _map_images(task, lambda images: images.flatten(1))
    weights = task.initial(task.generator("features"))
    if space == "trained":
        weights = _train(task, meter, weights, steps, batch)
    embed = task.compiler.function(task.embed)
    return _map_images(task, lambda images: embed(weights, images))


def choose_per_class(task: Task, features: Tensor, choose: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, Tensor]:
    """Choose real images, (K * ipc, C, H, W), class by class; return them and their labels.

    Args:
        features: of every training image, (N, F)
        choose: (features of a class (N_c, F), ipc) -> the positions of the chosen rows, (ipc,)
    """
    chosen = []
    for c in range(task.classes):
        indices = task.real.class_indices(c)
        chosen.append(indices[choose(features[indices], task.ipc)])
    return task.real.take(torch.cat(chosen))


def _map_images(task: Task, embed: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([task.chunks.map(embed, images) for images, _ in task.real.batches(512)])


def _train(task: Task, meter: Meter, weights: dict[str, Tensor], steps: int, batch: int) -> dict[str, Tensor]:
    loss_gradient = task.compiler.gradient(task.loss)
    state = State(weights=weights, optimizer=torch.optim.SGD(weights.values(), lr=0.01, momentum=0.9))
    generator = task.generator("features/real")
    for _ in meter.steps(steps, state, name="feature network"):
        images, labels = task.real.batch(batch, generator)
        gradient, loss = task.chunks.gradient(loss_gradient, weights, images, labels)
        for name, weight in weights.items():
            weight.grad = gradient[name]
        state.optimizer.step()
        meter.log(feature_loss=loss)
    return weights
