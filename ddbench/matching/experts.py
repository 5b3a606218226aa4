"""Networks trained on the real data, their weights kept along the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.checkpoint import State
from ddbench.compiling import Weights

if TYPE_CHECKING:
    from ddbench.meter import Meter
    from ddbench.task import Task


def flatten(weights: Weights) -> Tensor:
    """All weights in one vector, (P,)."""
    return torch.cat([weight.flatten() for weight in weights.values()])


def unflatten(vector: Tensor, like: Weights) -> Weights:
    """The inverse of `flatten`: views into the vector, shaped and named as `like`."""
    parts = vector.split([weight.numel() for weight in like.values()])
    return {name: part.view(weight.shape) for part, (name, weight) in zip(parts, like.items(), strict=True)}


def train_experts(
    task: Task,
    meter: Meter,
    generator: torch.Generator,
    *,
    experts: int,
    epochs: int,
    epoch_batches: int | None,
    batch: int,
    lr: float,
    augment: bool,
) -> Tensor:
    """Trajectories of experts trained by plain SGD without momentum, (experts, epochs + 1, P) float32.

    Args:
        generator: on the CPU; decides initial weights, order and augmentation
        epoch_batches: batches between two kept positions; None is a pass over the training data
        augment: differentiable augmentation, drawn for each image
    """
    per_epoch = epoch_batches or -(-len(task.real) // batch)
    like = _initial(task, generator)
    trajectories = torch.zeros(experts, epochs + 1, flatten(like).numel(), device=task.device)
    state = State(trajectories=trajectories, order=torch.randperm(len(task.real), generator=generator), at=0)
    state.weights = flatten(like)
    gradient = task.compiler.gradient(task.loss)
    for step in meter.steps(experts * epochs * per_epoch, state, name="experts"):
        expert, within = divmod(step, epochs * per_epoch)
        if within == 0:
            state.weights = flatten(_initial(task, generator))
            state.trajectories[expert, 0] = state.weights
        images, labels = task.real.take(_next_indices(state, batch, generator))
        if augment:
            images = task.augmentation(images, generator)
        slope, loss = task.chunks.gradient(gradient, unflatten(state.weights, like), images, labels)
        state.weights = state.weights - lr * flatten(slope)
        if (within + 1) % per_epoch == 0:
            state.trajectories[expert, (within + 1) // per_epoch] = state.weights
        meter.log(expert_loss=loss)
    return trajectories


def _initial(task: Task, generator: torch.Generator) -> Weights:
    return {name: weight.to(task.device) for name, weight in task.initial(generator).items()}


def _next_indices(state: State, batch: int, generator: torch.Generator) -> Tensor:
    """The next `batch` images of a shuffled pass; a new shuffle begins when the pass is through."""
    if state.at >= len(state.order):
        state.order, state.at = torch.randperm(len(state.order), generator=generator), 0
    chosen: Tensor = state.order[state.at : state.at + batch]
    state.at += len(chosen)
    return chosen
