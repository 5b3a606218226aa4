"""Expert trajectories: the weights of networks along their training on the real data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.compute import host
from ddbench.compute.compiling import Weights
from ddbench.meter.checkpoint import State
from ddbench.networks.flatten import flatten, unflatten

if TYPE_CHECKING:
    from ddbench.meter.meter import Meter
    from ddbench.task.task import Task

LossGradient = Callable[[Weights, Tensor, Tensor], tuple[Weights, Tensor]]
"""(weights, images, labels) -> gradient and value of the mean loss"""
BatchGradient = Callable[[Weights], tuple[Weights, Tensor]]
"""weights -> gradient and value of the loss on one batch"""
TINY = 1e-12


@dataclass(frozen=True)
class Expert:
    """How experts are trained, by SGD: with the task, everything that their trajectories depend on.

    Args:
        count: number of experts
        epochs: epochs of a training
        epoch_batches: batches of an epoch; None takes as many as a pass over the training data
        batch: images of a batch
        lr, momentum, weight_decay: of SGD
        augment: differentiable augmentation, drawn for each image
        sharpness: radius and surrogate weight of `sharpness_aware` training; None is plain SGD
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


def expert_trajectories(task: Task, meter: Meter, expert: Expert) -> list[Tensor]:
    """Return each expert's weights before its training and after every epoch, (epochs + 1, P) float32 in host memory.

    They are trained, or read from the cache and charged in full; every distillation seed has experts of its own.
    """
    key = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(expert).items()}
    del key["count"]
    loss_gradient, found = task.compiler.gradient(task.first_order.loss), []
    for number in range(expert.count):

        def make(generator: torch.Generator, number: int = number) -> dict[str, Tensor]:
            return {"trajectory": train_expert(task, meter, generator, expert, loss_gradient, f"experts/{number}")}

        trajectory = meter.cached("experts", {**key, "number": number}, make, torch.device("cpu"))["trajectory"]
        found.append(trajectory.pin_memory() if task.device.type == "cuda" else trajectory)
    return found


def train_expert(
    task: Task, meter: Meter, generator: torch.Generator, expert: Expert, loss_gradient: LossGradient, loop: str
) -> Tensor:
    """Train an expert and return its trajectory, (epochs + 1, P) float32 in host memory.

    Args:
        generator: on the CPU; decides initial weights, order and augmentation
        loss_gradient: of `task.first_order.loss`, as the task's compiler makes it
        loop: name of the training's steps
    """
    per_epoch = expert.epoch_batches or -(-len(task.real) // expert.batch)
    like = _initial(task, generator)
    state = State(weights=flatten(like), order=torch.randperm(len(task.real), generator=generator), at=0)
    state.velocity = torch.zeros_like(state.weights)
    state.trajectory = torch.zeros(expert.epochs + 1, state.weights.numel())
    state.trajectory[0] = host.read(state.weights, "trajectory")
    for step in meter.steps(expert.epochs * per_epoch, state, name=loop):
        images, labels = task.real.take(_next_indices(state, expert.batch, generator))
        if expert.augment:
            images = task.augmentation(images, generator)
        gradient_at = partial(task.chunks.gradient, loss_gradient, images=images, labels=labels)
        gradient, loss = _gradient(gradient_at, unflatten(state.weights, like), expert.sharpness)
        state.velocity = expert.momentum * state.velocity + flatten(gradient) + expert.weight_decay * state.weights
        state.weights = state.weights - expert.lr * state.velocity
        if (step + 1) % per_epoch == 0:
            state.trajectory[(step + 1) // per_epoch] = host.read(state.weights, "trajectory")
        meter.log(expert_loss=loss)
    trajectory: Tensor = state.trajectory
    return trajectory


def sharpness_aware(
    gradient_at: BatchGradient, weights: Weights, radius: float, surrogate: float
) -> tuple[Weights, Tensor]:
    """Return the update of surrogate-gap-guided, adaptive sharpness-aware minimisation (GSAM), and the loss.

    Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022, arXiv 2203.08065. The
    update is the gradient at the point within `radius` where the loss is nearly largest, distances being relative to
    the size of each weight, minus `surrogate` times the component of the gradient at `weights` orthogonal to it.
    """
    here, loss = gradient_at(weights)
    flat, g = flatten(weights), flatten(here)
    climb = radius / ((flat.abs() * g).norm() + TINY) * flat.square() * g
    above = flatten(gradient_at(unflatten(flat + climb, weights))[0])
    along = (g @ above) / (above.norm().square() + TINY)
    return unflatten(above - surrogate * (g - along * above), weights), loss


def _gradient(
    gradient_at: BatchGradient, weights: Weights, sharpness: tuple[float, float] | None
) -> tuple[Weights, Tensor]:
    return gradient_at(weights) if sharpness is None else sharpness_aware(gradient_at, weights, *sharpness)


def _initial(task: Task, generator: torch.Generator) -> Weights:
    return {name: weight.to(task.device) for name, weight in task.initial(generator).items()}


def _next_indices(state: State, batch: int, generator: torch.Generator) -> Tensor:
    """Return the next `batch` images of a shuffled pass, and fewer at its end; then a new shuffle begins."""
    if state.at >= len(state.order):
        state.order, state.at = torch.randperm(len(state.order), generator=generator), 0
    chosen: Tensor = state.order[state.at : state.at + batch]
    state.at += len(chosen)
    return chosen
