"""How far networks give the same answers, corrected for chance, and the networks of real data to compare with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ddbench.analyses.plain_training import STEPS
from ddbench.analyses.subject import Subject
from ddbench.compute.compiling import Weights
from ddbench.task.settings.base import share

FEWEST, MANY = 10, 500
"""real images of each class in the smallest and the largest subset"""
APART = 1000
"""number of the first subset's start, which no trajectory has"""
HALVINGS = 5
"""how often the way between two snapshots is halved, at most"""
Answer = Callable[[Weights], Tensor]
"""function from weights to the classes answered, (M,)"""


def corrected(own: Tensor, others: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Agreement with each of several networks beyond chance, (p - c) / (1 - c), (T,); 0 where both are faultless.

    p is the share of equal answers, and c what independent networks of the same accuracies would share: a b where both
    are right, and of the rest, (1 - a)(1 - b), one in K - 1.

    Args:
        own: answers, (M,)
        others: answers, (T, M)
        truth: labels, (M,)
        classes: number of classes K
    """
    right = share(own == truth)
    theirs = (others == truth).double().mean(1)
    chance = right * theirs + (1 - right) * (1 - theirs) / (classes - 1)
    alike = (others == own).double().mean(1)
    return torch.where(chance < 1, (alike - chance) / (1 - chance).clamp(min=1e-12), 0.0)


def matched(own: Tensor, others: Tensor, truth: Tensor, margin: float) -> Tensor:
    """The networks among others, (T, M), whose accuracy differs by at most a margin, the nearest first."""
    apart = ((others == truth).double().mean(1) - share(own == truth)).abs()
    order = apart.argsort(stable=True)
    return others[order[apart[order] <= margin + 1e-9]]


def answering(subject: Subject) -> Answer:
    return lambda weights: subject.test_logits(weights).argmax(1)


def stopped_early(subject: Subject, number: int, margin: float) -> Tensor:
    """Answers of a trajectory's snapshots and, behind these, of networks interpolated between them, (T, M)."""

    def make() -> Tensor:
        answer, path = answering(subject), list(subject.references.trajectory(number).values())
        kept = [answer(weights) for weights in path]
        found = list(kept)
        for ends, answers in zip(pairwise(path), pairwise(kept), strict=True):
            found += between(answer, subject.data.test_labels, ends, answers, margin)
        return torch.stack(found).to(torch.int16)

    key = {"analysis": "early@1", "number": number, "margin": margin}
    return subject.references.cached("stopped-early", key, make).long()


def between(
    answer: Answer, truth: Tensor, ends: Sequence[Weights], answers: Sequence[Tensor], margin: float, depth: int = 0
) -> list[Tensor]:
    """Answers of networks whose weights lie between two, close enough that every accuracy has one within the margin."""
    accuracies = [share(found == truth) for found in answers]
    if depth == HALVINGS or abs(accuracies[1] - accuracies[0]) <= 2 * margin + 1e-9:
        return []
    middle = {name: weight.lerp(ends[1][name], 0.5) for name, weight in ends[0].items()}
    found = answer(middle)
    left = between(answer, truth, (ends[0], middle), (answers[0], found), margin, depth + 1)
    return [*left, found, *between(answer, truth, (middle, ends[1]), (found, answers[1]), margin, depth + 1)]


def on_subsets(subject: Subject, count: int) -> Tensor:
    """Answers of networks trained to the end on real subsets, each another, of sizes evenly spaced in the logarithm."""
    references, answer, found = subject.references, answering(subject), list[Tensor]()
    for number, size in enumerate(sizes(count)):
        classes = references.by_class(subject.generator("subset", number))
        chosen = torch.cat([positions[:size] for positions in classes])
        found.append(answer(references.on_real(chosen, APART + number, STEPS)))
    return torch.stack(found)


def sizes(count: int) -> list[int]:
    """Images of each class in so many subsets.

    >>> sizes(3)
    [10, 71, 500]
    """
    steps = range(count)
    return [round(FEWEST * math.exp(step / max(1, count - 1) * math.log(MANY / FEWEST))) for step in steps]
