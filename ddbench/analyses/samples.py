"""Test images that analyses try what takes long on: as many of each class as of any other."""

from __future__ import annotations

import torch
from torch import Tensor

from ddbench.analyses.subject import Subject


def balanced_sample(subject: Subject, count: int) -> tuple[Tensor, Tensor]:
    """Return test images, (N, C, H, W) uint8, and their labels; the first n of them are such a sample, too."""
    labels = subject.data.test_labels
    chosen = stratified(labels.cpu(), count, subject.generator("images")).to(labels.device)
    return subject.data.test_images[chosen], labels[chosen]


def stratified(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose positions at random, the classes in turn and in random order, until there are `count` or no more."""
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    turn = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[by_class]]
    return by_class[(turn + torch.rand(len(labels), generator=generator)).argsort()[:count]]
