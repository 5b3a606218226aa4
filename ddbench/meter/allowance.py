"""What a budget leaves."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ddbench.compute.memory import check_memory
from ddbench.records.schema import Budget


@dataclass(frozen=True)
class Allowance:
    """A budget of seconds and steps over all loops, and of memory on a device."""

    budget: Budget
    device: torch.device

    def spent(self, seconds: float, steps: int) -> bool:
        """Whether nothing is left for another step.

        Raises:
            OutOfMemoryBudget: when more memory is held than allowed.
        """
        check_memory(self.budget.peak_bytes, self.device)
        budget = self.budget
        return (budget.seconds is not None and seconds >= budget.seconds) or (
            budget.steps is not None and steps >= budget.steps
        )

    def affords(self, seconds: float, steps: int) -> bool:
        """Whether this much is within it."""
        budget = self.budget
        return (budget.seconds is None or seconds <= budget.seconds) and (budget.steps is None or steps <= budget.steps)

    def share(self, seconds: float, steps: int) -> float:
        """How much of it is spent: of seconds or steps, whichever is further; 0 where it is unlimited."""
        parts = [0.0]
        if self.budget.seconds is not None:
            parts.append(seconds / self.budget.seconds)
        if self.budget.steps is not None:
            parts.append(steps / self.budget.steps)
        return max(parts)
