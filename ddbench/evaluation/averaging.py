"""The moving average of a network's weights along its training."""

from __future__ import annotations

from ddbench.compute.compiling import Weights


class WeightAverage:
    """The exponential moving average of the weights after each step, debiased, so that the start has no part in it.

    Args:
        decay: weight of the average at a step, against 1 - decay of the newest weights; 0 averages nothing
    """

    def __init__(self, decay: float) -> None:
        self._decay, self._missing = decay, 1.0
        self._sums: Weights = {}

    def update(self, weights: Weights) -> None:
        """Take in the weights after a step."""
        if not self._decay:
            return
        self._missing *= self._decay
        for name, weight in weights.items():
            before = self._sums[name].mul_(self._decay) if name in self._sums else 0.0
            self._sums[name] = before + (1 - self._decay) * weight.detach()

    def of(self, weights: Weights) -> Weights:
        """Return what is scored at this point: the average, or the weights themselves."""
        if not self._decay:
            return weights
        return {name: total / (1 - self._missing) for name, total in self._sums.items()}
