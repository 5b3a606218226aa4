"""Trajectory matching: segments of expert trajectories, and steps of students on the synthetic images to match them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.errors import UserError
from ddbench.families.synthetic_set import SyntheticSet
from ddbench.families.unrolling.recompute import LazyBatch, Step

if TYPE_CHECKING:
    from ddbench.task.task import Task

SMALLEST_LR = 1e-4


def check_segments(method: str, max_start: int, match_epochs: int, expert_epochs: int) -> None:
    """Refuse segments that end after the last epoch of the experts."""
    needed = last_epoch(max_start, match_epochs)
    if needed > expert_epochs:
        raise UserError(
            f"max_start {max_start} and match_epochs {match_epochs} of {method} need "
            f"expert_epochs of {needed}, got {expert_epochs}; raise it"
        )


def last_epoch(max_start: int, match_epochs: int) -> int:
    """Return the last epoch of an expert that is ever reached from a start below `max_start`."""
    return max_start - 1 + match_epochs


def random_segment(task: Task, trajectories: list[Tensor], epochs: int, starts: range) -> tuple[Tensor, Tensor]:
    """Draw an expert and an epoch in `starts`; return the expert's weights there and `epochs` later, (P,) each.

    Args:
        trajectories: of each expert, (its epochs + 1, P) in host memory
    """
    generator = task.generator("stretch", device="cpu")
    expert = trajectories[int(torch.randint(len(trajectories), (), generator=generator))]
    epoch = int(torch.randint(starts.start, starts.stop, (), generator=generator))
    start, target = (expert[at].to(task.device, non_blocking=True) for at in (epoch, epoch + epochs))
    return start, target


def minibatches(
    task: Task, synthetic: SyntheticSet, lr: Tensor, count: int, size: int | None, augment: bool
) -> Iterator[Step]:
    """Yield the steps of a student: minibatches of the synthetic images in shuffled passes.

    Args:
        lr: step size of every step, ()
        count: number of steps
        size: images of a minibatch; None takes all
        augment: differentiable augmentation, drawn for each image
    """
    generator = task.generator("student", device="cpu")
    images, labels = _training_set(synthetic)
    for number, chosen in enumerate(_shuffled(len(images), size or len(images), count, generator)):
        if number and synthetic.decoder.fresh:
            images, labels = _training_set(synthetic)
        chosen = chosen.to(images.device, non_blocking=True)
        make = _augmented(task, chosen, generator) if augment else itemgetter(chosen)
        yield (make(images) if synthetic.decoder.fresh else LazyBatch(images, make)), labels[chosen], lr


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared Euclidean distance, ()."""
    return (a - b).square().sum()


def learned_step_size(task: Task, value: float) -> Tensor:
    """Return a step size to be learned, (), a leaf of autograd."""
    return torch.tensor(value, device=task.device, requires_grad=True)


def keep_positive(lr: Tensor) -> None:
    """Raise a learned step size below 1e-4 to that."""
    with torch.no_grad():
        lr.clamp_(min=SMALLEST_LR)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take a step of the optimiser along the gradient of the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def descend_unless(skipped: Tensor, optimizer: torch.optim.SGD, loss: Tensor) -> None:
    """Take a step of the optimiser along the gradient of the loss, or leave all as it was, momentum included.

    The step is taken in either case and undone on the device, so that the host need not wait to know which it is.

    Args:
        skipped: true where nothing is to change, ()
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [(parameter.detach().clone(), _velocity(optimizer, parameter)) for parameter in parameters]
    descend(optimizer, loss)
    with torch.no_grad():
        for parameter, (value, velocity) in zip(parameters, before, strict=True):
            if parameter.grad is not None:
                moved = optimizer.state[parameter]["momentum_buffer"]
                parameter.copy_(torch.where(skipped, value, parameter))
                moved.copy_(torch.where(skipped, velocity, moved))


def _velocity(optimizer: torch.optim.SGD, parameter: Tensor) -> Tensor:
    """Return a copy of a parameter's momentum; 0, which makes the same next step, before there is one."""
    velocity = optimizer.state.get(parameter, {}).get("momentum_buffer")
    return torch.zeros_like(parameter) if velocity is None else velocity.clone()


def _training_set(synthetic: SyntheticSet) -> tuple[Tensor, Tensor]:
    """Return the images and the labels, logits as probabilities."""
    images, labels = synthetic.images()
    return images, labels.softmax(1) if synthetic.label_kind == "logits" else labels


def _shuffled(images: int, size: int, count: int, generator: torch.Generator) -> list[Tensor]:
    """Return `count` index tensors of at most `size` images each; every pass over the images is a new shuffle."""
    batches: list[Tensor] = []
    while len(batches) < count:
        batches.extend(torch.randperm(images, generator=generator).split(size))
    return batches[:count]


def _augmented(task: Task, chosen: Tensor, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    draw = task.augmentation.draw(tuple(chosen.shape), generator, shared=False)
    return lambda images: task.augmentation.apply(images[chosen], draw)
