"""Training of several evaluation networks at once, as one ensemble: timed here, and used for no score."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.evaluation.averaging import WeightAverage
from ddbench.evaluation.descent import Course, optimizer_of
from ddbench.evaluation.trainer import ImageEvaluator

Gradients = Callable[[Weights, Tensor, Tensor], tuple[Weights, Tensor]]
"""(weights, images, labels) of all networks, (networks, ...) each -> the gradient of each one's loss, and the losses"""


def gradients_of_each(evaluator: ImageEvaluator, kind: str) -> Gradients:
    """Return the function that differentiates the losses of all networks at once; convolutions become grouped ones.

    Args:
        kind: of the labels
    """
    return evaluator.compiler.function(torch.vmap(torch.func.grad_and_value(evaluator.loss(kind))))


def train_together(gradients: Gradients, courses: Sequence[Course]) -> list[Weights]:
    """Train networks of one architecture at once, each on the batches of its own course; their weights at the end.

    It is for networks without running statistics.

    Args:
        courses: of one protocol and one artefact, and so with the same step sizes
    """
    schedule = courses[0].schedule
    stacked = {name: torch.stack([course.weights[name] for course in courses]) for name in courses[0].weights}
    optimizer, average = optimizer_of(stacked, schedule), WeightAverage(schedule.average)
    for step, lr in enumerate(schedule.lrs):
        if step == schedule.drop:
            optimizer = optimizer_of(stacked, schedule)
        optimizer.param_groups[0]["lr"] = lr
        batches = [next(course.batches) for course in courses]
        images, labels = (torch.stack(parts) for parts in zip(*batches, strict=True))
        found, _ = gradients(stacked, images, labels)
        for name, weight in stacked.items():
            weight.grad = found[name]
        optimizer.step()
        average.update(stacked)
    trained = average.of(stacked)
    return [{name: weight[number] for name, weight in trained.items()} for number in range(len(courses))]
