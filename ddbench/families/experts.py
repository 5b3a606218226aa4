"""Networks trained on the real data, their weights kept along the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.meter.checkpoint import State
from ddbench.networks.flatten import flatten, unflatten

if TYPE_CHECKING:
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

Slope = Callable[[Weights], tuple[Weights, Tensor]]
"""weights -> gradient and value of the loss of a batch"""
Direction = Callable[[Slope, Weights], tuple[Weights, Tensor]]
"""what an expert descends, and its loss, from the slope of its batch and where it is"""
TINY = 1e-12


@dataclass(frozen=True)
class Expert:
    """How experts are trained, by SGD; everything that decides them, with the task.

    Args:
        count: of experts
        epochs: positions kept of each, besides the first
        epoch_batches: batches between two positions; None is a pass over the training data
        batch: images of a step
        lr, momentum, weight_decay: of SGD
        augment: differentiable augmentation, drawn for each image
        sharpness: radius and surrogate weight of `sharpness_aware`; None is plain SGD
    """

    count: int
    epochs: int
    batch: int
    lr: float
    epoch_batches: int | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    augment: bool = False
    sharpness: tuple[float, float] | None = None


@dataclass(frozen=True)
class ExpertSettings:
    """What the methods with experts have in common."""

    experts: PositiveInt = 100
    """networks trained on the real data"""
    expert_epochs: PositiveInt = 50
    """positions kept of each, besides the first"""
    epoch_batches: PositiveInt | None = None
    """batches of an expert's epoch; None is a pass over the training data"""
    lr_expert: PositiveFloat = 0.01
    """of the experts' SGD, without momentum"""
    batch_real: PositiveInt = 256
    """real images of an expert's step"""


def experts(task: Task, meter: Meter, expert: Expert) -> Tensor:
    """Trajectories, (count, epochs + 1, P) float32: from the cache where equal ones were trained, charged in full."""

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        return {"trajectories": train_experts(task, meter, generator, expert)}

    key = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(expert).items()}
    return meter.cached("experts", key, make)["trajectories"]


def train_experts(task: Task, meter: Meter, generator: torch.Generator, expert: Expert) -> Tensor:
    """Trajectories, (count, epochs + 1, P) float32.

    Args:
        generator: on the CPU; decides initial weights, order and augmentation
    """
    per_epoch = expert.epoch_batches or -(-len(task.real) // expert.batch)
    like = _initial(task, generator)
    trajectories = torch.zeros(expert.count, expert.epochs + 1, flatten(like).numel(), device=task.device)
    state = State(trajectories=trajectories, order=torch.randperm(len(task.real), generator=generator), at=0)
    state.weights = flatten(like)
    state.velocity = torch.zeros_like(state.weights)
    gradient, direction = task.compiler.gradient(task.loss), _direction(expert)
    for step in meter.steps(expert.count * expert.epochs * per_epoch, state, name="experts"):
        number, within = divmod(step, expert.epochs * per_epoch)
        if within == 0:
            state.weights = flatten(_initial(task, generator))
            state.velocity = torch.zeros_like(state.weights)
            state.trajectories[number, 0] = state.weights
        images, labels = task.real.take(_next_indices(state, expert.batch, generator))
        if expert.augment:
            images = task.augmentation(images, generator)

        def slope(weights: Weights, images: Tensor = images, labels: Tensor = labels) -> tuple[Weights, Tensor]:
            return task.chunks.gradient(gradient, weights, images, labels)

        down, loss = direction(slope, unflatten(state.weights, like))
        state.velocity = expert.momentum * state.velocity + flatten(down) + expert.weight_decay * state.weights
        state.weights = state.weights - expert.lr * state.velocity
        if (within + 1) % per_epoch == 0:
            state.trajectories[number, (within + 1) // per_epoch] = state.weights
        meter.log(expert_loss=loss)
    return trajectories


def sharpness_aware(slope: Slope, weights: Weights, radius: float, surrogate: float) -> tuple[Weights, Tensor]:
    """The direction of surrogate-gap-guided, adaptive sharpness-aware minimisation (GSAM).

    Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022, arXiv 2203.08065. The
    gradient where the loss is nearly the largest within `radius`, distances scaled by the weights' own size, minus
    `surrogate` times what of the gradient here is orthogonal to it.
    """
    here, loss = slope(weights)
    flat, g = flatten(weights), flatten(here)
    climb = radius / ((flat.abs() * g).norm() + TINY) * flat.square() * g
    above = flatten(slope(unflatten(flat + climb, weights))[0])
    along = (g @ above) / (above.norm().square() + TINY)
    return unflatten(above - surrogate * (g - along * above), weights), loss


def _direction(expert: Expert) -> Direction:
    if expert.sharpness is None:
        return lambda slope, weights: slope(weights)
    radius, surrogate = expert.sharpness
    return lambda slope, weights: sharpness_aware(slope, weights, radius, surrogate)


def _initial(task: Task, generator: torch.Generator) -> Weights:
    return {name: weight.to(task.device) for name, weight in task.initial(generator).items()}


def _next_indices(state: State, batch: int, generator: torch.Generator) -> Tensor:
    """The next `batch` images of a shuffled pass; a new shuffle begins when the pass is through."""
    if state.at >= len(state.order):
        state.order, state.at = torch.randperm(len(state.order), generator=generator), 0
    chosen: Tensor = state.order[state.at : state.at + batch]
    state.at += len(chosen)
    return chosen
