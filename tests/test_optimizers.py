"""Optimisers that PyTorch does not have, against their algorithms written out for single numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ddbench.compute.generators import seeded
from ddbench.families.optimizers import AdaBelief, Lamb

GRADIENTS = ([0.5, -1.0], [0.25, 3.0], [-2.0, 0.125])
START = [2.0, -1.0]


def taken(make: Callable[[list[Tensor]], torch.optim.Optimizer], start: list[float] = START) -> list[list[float]]:
    """The numbers after each step down these gradients."""
    tensor = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer, found = make([tensor]), []
    for gradient in GRADIENTS:
        tensor.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        found.append(tensor.tolist())
    return found


def lamb(start: list[float], lr: float) -> Iterator[list[float]]:
    own, first, second = list(start), [0.0, 0.0], [0.0, 0.0]
    for t, gradient in enumerate(GRADIENTS, 1):
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradient, strict=True)]
        second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradient, strict=True)]
        ratio = [m / (1 - 0.9**t) / (math.sqrt(v / (1 - 0.999**t)) + 1e-6) for m, v in zip(first, second, strict=True)]
        scale = math.hypot(*own) / math.hypot(*ratio) if any(own) else 1.0
        own = [w - lr * scale * r for w, r in zip(own, ratio, strict=True)]
        yield own


def belief(start: list[float], lr: float) -> Iterator[list[float]]:
    own, first, second = list(start), [0.0, 0.0], [0.0, 0.0]
    for t, gradient in enumerate(GRADIENTS, 1):
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradient, strict=True)]
        second = [0.999 * s + 0.001 * (g - m) ** 2 + 1e-16 for s, g, m in zip(second, gradient, first, strict=True)]
        own = [
            w - lr * m / (1 - 0.9**t) / (math.sqrt(s / (1 - 0.999**t)) + 1e-16)
            for w, m, s in zip(own, first, second, strict=True)
        ]
        yield own


@pytest.mark.parametrize("start", [START, [0.0, 0.0]], ids=["anywhere", "zero"])
def test_lamb_by_hand(start: list[float]) -> None:
    for found, expected in zip(taken(lambda x: Lamb(x, lr=0.1), start), lamb(start, 0.1), strict=True):
        assert found == pytest.approx(expected, rel=1e-12)


def test_adabelief_by_hand() -> None:
    for found, expected in zip(taken(lambda x: AdaBelief(x, lr=0.1)), belief(START, 0.1), strict=True):
        assert found == pytest.approx(expected, rel=1e-12)


def test_a_step_of_lamb_is_as_long_as_its_share_of_each_tensor() -> None:
    tensors = [torch.randn(3, 4, generator=seeded(i)).mul(10.0**i).requires_grad_() for i in range(2)]
    before = [tensor.detach().clone() for tensor in tensors]
    for i, tensor in enumerate(tensors):
        tensor.grad = torch.randn(3, 4, generator=seeded(i + 7))
    Lamb(tensors, lr=0.01).step()
    for old, new in zip(before, tensors, strict=True):
        assert float((new.detach() - old).norm() / old.norm()) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("make", [Lamb, AdaBelief])
def test_groups_have_step_sizes_of_their_own_and_missing_gradients_move_nothing(make: Any) -> None:
    fast, slow, still = (torch.ones(2, requires_grad=True) for _ in range(3))
    for tensor in (fast, slow):
        tensor.grad = torch.ones(2)
    make([{"params": [fast, still]}, {"params": [slow], "lr": 0.01}], lr=0.1).step()
    moved = [float((1 - tensor.detach()).mean()) for tensor in (fast, slow, still)]
    assert moved[0] == pytest.approx(10 * moved[1], rel=1e-3)
    assert moved[2] == 0


@pytest.mark.parametrize("make", [Lamb, AdaBelief])
def test_an_optimiser_that_is_saved_goes_on(make: Any) -> None:
    whole = taken(lambda x: make(x, lr=0.1))
    tensor = torch.tensor(whole[0], dtype=torch.float64, requires_grad=True)
    first = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    first.grad = torch.tensor(GRADIENTS[0], dtype=torch.float64)
    begun = make([first], lr=0.1)
    begun.step()
    resumed = make([tensor], lr=0.1)
    resumed.load_state_dict(begun.state_dict())
    tensor.grad = torch.tensor(GRADIENTS[1], dtype=torch.float64)
    resumed.step()
    assert tensor.tolist() == whole[1]
