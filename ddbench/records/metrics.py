"""Metrics that a score may have beside the accuracy: each declares its range and which direction is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A finite number by which an evaluated network is measured.

    Args:
        name: its key in a record
        meaning: what it measures, for pages
        low, high: the range of its values
        better: the direction in which it improves
        minimised_by: families of methods whose own loss it is, or is much alike, and which may do well by it for that
    """

    name: str
    meaning: str
    low: float = 0.0
    high: float = 1.0
    better: Literal["higher", "lower"] = "higher"
    minimised_by: tuple[str, ...] = ()

    def allows(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high


METRICS: dict[str, Metric] = {}


def register_metric(metric: Metric) -> Metric:
    """Declare a metric; a taken name raises ValueError."""
    if metric.name in METRICS:
        raise ValueError(f"metric {metric.name!r} is already declared; choose another name")
    METRICS[metric.name] = metric
    return metric


register_metric(Metric("before", "accuracy of the given or stored network before it is trained further"))
register_metric(Metric("success", "share of the attacked class that is taken for its target"))
register_metric(Metric("held_out", "accuracy on the held-out training images at the last step"))
register_metric(Metric("validation", "test accuracy at the reading that is best on the held-out training images"))
register_metric(Metric("oracle", "test accuracy at the reading that is best on the test set itself"))
