"""The step sizes and the order of a training, resolved from a protocol and what it honours of a recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from ddbench.artifacts.recipe import Recipe
from ddbench.errors import UserError
from ddbench.evaluation.protocol import OptimizerName, Protocol


@dataclass(frozen=True)
class Schedule:
    """A training, resolved from a protocol and what it honours of a recipe.

    Args:
        lrs: one step size a step
        drop: the step at which the step size falls and the momentum starts anew; None where it does not
        order: (batches, batch_size) indices walked every epoch; None shuffles
        optimizer: `sgd`, or `adam` or `adamw`, which have no momentum of their own
        average: decay of the moving average of weights; 0 takes none
    """

    lrs: list[float]
    drop: int | None
    momentum: float
    weight_decay: float
    order: Tensor | None
    optimizer: OptimizerName = "sgd"
    average: float = 0.0


def schedule_of(protocol: Protocol, recipe: Recipe, count: int, short: bool = False) -> Schedule:
    """The training that `protocol` gives an artefact of `count` images with this recipe."""
    if recipe.order is not None and "order" in protocol.honours:
        return _learned_plan(protocol, recipe, recipe.order)
    steps = steps_of(protocol, count, short)
    lr = float(recipe.lr.mean()) if recipe.lr is not None and "lr" in protocol.honours else protocol.lr
    shares = protocol.decay_at if isinstance(protocol.decay_at, tuple) else (protocol.decay_at,)
    falls = [round(share * steps) for share in shares]
    if protocol.schedule == "cosine":
        lrs = [lr * _cosine(protocol, step, steps) for step in range(steps)]
    else:
        lrs = [lr * protocol.decay ** sum(step >= fall for fall in falls) for step in range(steps)]
    lrs[: protocol.warm_up] = [lr * step / protocol.warm_up for step in range(min(protocol.warm_up, steps))]
    drop = falls[0] if protocol.restart and protocol.schedule == "drops" else None
    made = Schedule(lrs, drop, protocol.momentum, protocol.weight_decay, None, protocol.optimizer)
    return replace(made, average=protocol.average)


def steps_of(protocol: Protocol, count: int, short: bool = False) -> int:
    """Return the steps of a training on `count` images whose recipe has no order of its own."""
    if protocol.steps_by_size and not short:
        (_, first), *later = protocol.steps_by_size
        return [first, *(steps for images, steps in later if images <= count)][-1]
    batches = 1 if protocol.epochs is None else -(-count // protocol.batch_size)
    return batches * (protocol.short if short else protocol.steps or protocol.epochs or 0)


def _cosine(protocol: Protocol, step: int, steps: int) -> float:
    """Return the part of the step size after the warm-up: half a cosine from 1 to the floor."""
    share = (step - protocol.warm_up) / max(1, steps - protocol.warm_up)
    return protocol.floor + (1 - protocol.floor) * (1 + math.cos(math.pi * share)) / 2


def _learned_plan(protocol: Protocol, recipe: Recipe, order: Tensor) -> Schedule:
    """Plain gradient descent along the learned order; one learned step size serves every step."""
    epochs = recipe.epochs if recipe.epochs is not None and "epochs" in protocol.honours else 1
    steps = epochs * len(order)
    lrs = recipe.lr.flatten().tolist() if recipe.lr is not None and "lr" in protocol.honours else [protocol.lr]
    if len(lrs) not in (1, steps):
        raise UserError(f"recipe.lr has {len(lrs)} step sizes for {steps} steps; store one, or one a step")
    momentum = recipe.momentum if recipe.momentum is not None and "momentum" in protocol.honours else 0.0
    return Schedule(lrs if len(lrs) == steps else lrs * steps, None, momentum, 0.0, order, protocol.optimizer)
