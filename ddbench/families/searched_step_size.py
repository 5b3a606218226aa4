"""A step size that is searched for while it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

GROWTH, SETTLED = 1.2, 0.84
"""factors while a step size is searched for, and of the first that was too large (1.2 x 0.7)"""
RELIABLE, UNSTABLE = 0.7, 0.29
"""shares of descents from which a step size is raised, or lowered"""


class SearchedStepSize:
    """A step size that grows as long as the values that it leads to fall without exception. A `State` can hold it.

    Until they do not for the first time, each report raises it by `GROWTH`. From then on it changes after every
    `window` reports: it is lowered where values ended above their start in many of them, and raised where nearly all
    fell without exception. Nothing waits for the device.

    Loo, Hasani, Lechner & Rus, "Dataset Distillation with Convexified Implicit Gradients", ICML 2023, arXiv 2302.06755.

    Args:
        initial: a step size that is too small
        window: reports after which it changes
    """

    def __init__(self, initial: float, window: int, device: torch.device) -> None:
        self._window, self._count = window, 0
        self.value = torch.full((), initial, device=device)
        """the step size, ()"""
        self._searching, self._fell, self._failed = (torch.full((), start, device=device) for start in (1.0, 0.0, 0.0))

    def report(self, values: Tensor) -> None:
        """Take in the values before each step of a descent, (steps,)."""
        fell, failed = (values.diff() < 0).all().float(), (~(values[-1] <= values[0])).float()
        searching = self._searching > 0
        self.value = torch.where(searching, self.value * torch.where(fell > 0, GROWTH, SETTLED), self.value)
        self._searching = self._searching * fell
        self._fell, self._failed, self._count = self._fell + fell, self._failed + failed, self._count + 1
        if self._count == self._window:
            factor = torch.where(self._fell >= RELIABLE * self._window, 1.05, 1.0)
            factor = torch.where(self._failed >= UNSTABLE * self._window, 0.9, factor)
            self.value = torch.where(searching, self.value, self.value * factor)
            self._fell, self._failed, self._count = torch.zeros_like(fell), torch.zeros_like(fell), 0

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in KEPT}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self.__dict__.update(saved)


KEPT = ("value", "_searching", "_fell", "_failed", "_count")
"""attributes that a state holds"""
