"""The step sizes and the order of a training, resolved from a protocol and what it honours of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ddbench.artifacts.recipe import Recipe
from ddbench.errors import UserError
from ddbench.evaluation.protocols import OptimizerName, Protocol


@dataclass(frozen=True)
class Schedule:
    """A training, resolved from a protocol and what it honours of a recipe.

    Args:
        lrs: one step size a step
        drop: the step at which the step size falls and the momentum starts anew; None where it does not
        order: (batches, batch_size) indices walked every epoch; None shuffles
        optimizer: `sgd`, or `adam`, which has no momentum of its own
    """

    lrs: list[float]
    drop: int | None
    momentum: float
    weight_decay: float
    order: Tensor | None
    optimizer: OptimizerName = "sgd"


def schedule_of(protocol: Protocol, recipe: Recipe, count: int, short: bool = False) -> Schedule:
    """The training that `protocol` gives an artefact of `count` images with this recipe."""
    if recipe.order is not None and "order" in protocol.honours:
        return _learned_plan(protocol, recipe, recipe.order)
    steps = steps_of(protocol, count, short)
    lr = float(recipe.lr.mean()) if recipe.lr is not None and "lr" in protocol.honours else protocol.lr
    shares = protocol.decay_at if isinstance(protocol.decay_at, tuple) else (protocol.decay_at,)
    falls = [round(share * steps) for share in shares]
    lrs = [lr * protocol.decay ** sum(step >= fall for fall in falls) for step in range(steps)]
    drop = falls[0] if protocol.restart else None
    return Schedule(lrs, drop, protocol.momentum, protocol.weight_decay, None, protocol.optimizer)


def steps_of(protocol: Protocol, count: int, short: bool = False) -> int:
    """Return the steps of a training on `count` images whose recipe has no order of its own."""
    batches = 1 if protocol.steps else -(-count // protocol.batch_size)
    return batches * (protocol.short if short else protocol.steps or protocol.epochs or 0)


def _learned_plan(protocol: Protocol, recipe: Recipe, order: Tensor) -> Schedule:
    """Plain gradient descent along the learned order; one learned step size serves every step."""
    epochs = recipe.epochs if recipe.epochs is not None and "epochs" in protocol.honours else 1
    steps = epochs * len(order)
    lrs = recipe.lr.flatten().tolist() if recipe.lr is not None and "lr" in protocol.honours else [protocol.lr]
    if len(lrs) not in (1, steps):
        raise UserError(f"recipe.lr has {len(lrs)} step sizes for {steps} steps; store one, or one a step")
    momentum = recipe.momentum if recipe.momentum is not None and "momentum" in protocol.honours else 0.0
    return Schedule(lrs if len(lrs) == steps else lrs * steps, None, momentum, 0.0, order, protocol.optimizer)
