"""Coresets: the space in which images are compared, the choice class by class, and how what was chosen is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.compute import host
from ddbench.decoders import parse_decoder
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


def choose_per_class(task: Task, features: Tensor, choose: Callable[[Tensor, int], Tensor], n: int) -> Tensor:
    """Choose n real images of each class, (K * n, C, H, W), class by class; a class that has fewer repeats some.

    Args:
        features: of every training image, (N, F)
        choose: (features of a class (N_c, F), n) -> the positions of the chosen rows, (n,)
    """
    chosen = []
    for c in range(task.classes):
        indices = task.real.class_indices(c)
        positions = choose(features[indices], min(n, len(indices)))
        chosen.append(indices[positions[torch.arange(n, device=positions.device) % len(positions)]])
    return task.real.take(torch.cat(chosen))[0]


def on_host(features: Tensor) -> Tensor:
    """Return features in host memory, for what clusters there; it waits for the device."""
    return host.read(features, "clusters")


def stored(task: Task, decoder: str, choose: Callable[[int], Tensor]) -> DistilledDataset:
    """Store images as a decoder does before anything is learned.

    Args:
        decoder: `pixels`, `multi_formation`, ...
        choose: n -> n images of each class, (K * n, C, H, W), class by class
    """
    made = parse_decoder(decoder)
    parts = made.start(choose, task.shape, task.classes, task.ipc, task.generator("parts"))
    parts["labels"] = task.target_labels(parts["labels"])
    return DistilledDataset(parts, made, "index", Recipe(), task.fixed_initial)


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
