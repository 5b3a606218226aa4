"""Samples with as many images of each class as of any other."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose positions at random, the classes in turn and in random order, until there are `count` or no more."""
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    turn = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[by_class]]
    return by_class[(turn + torch.rand(len(labels), generator=generator)).argsort()[:count]]
