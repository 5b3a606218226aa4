"""The values that a run logged, as small line charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from ddbench.records.schema import Record

POINTS = 24
WIDTH, HEIGHT = 200, 36


@dataclass(frozen=True)
class Sparkline:
    name: str
    first: float
    last: float
    low: float
    high: float
    steps: int
    path: str
    """SVG path in a box of `WIDTH` by `HEIGHT`"""


def sparklines(record: Record) -> list[Sparkline]:
    """Return one sparkline for each logged value, thinned to `POINTS` points at most."""
    return [_sparkline(name, series) for name, series in sorted(record.measured.log.items()) if series]


def _sparkline(name: str, series: Sequence[tuple[int, float]]) -> Sparkline:
    values = [value for _, value in series]
    low, high, last = min(values), max(values), series[-1][0]
    kept = [*series[: -1 : max(1, ceil((len(series) - 1) / (POINTS - 1)))], series[-1]]
    right, down = WIDTH / (last or 1), HEIGHT / ((high - low) or 1)
    places = [(round(right * step), round(down * (high - value))) for step, value in kept]
    moves = [(x - left, y - above) for (left, above), (x, y) in pairwise(places)]
    path = f"M{places[0][0]} {places[0][1]}l" + " ".join(f"{x} {y}" for x, y in moves).replace(" -", "-")
    return Sparkline(name, values[0], values[-1], low, high, last, path)
