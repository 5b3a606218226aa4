"""Curves as geometry: positions of lines, marks and labels in the chart's own units, which templates draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ddbench.leaderboard.columns import Group
from ddbench.leaderboard.controls import REFERENCE
from ddbench.leaderboard.curves import LOGARITHMIC_SPAN, Curve, Panel, lengths, panel, spans_decades
from ddbench.leaderboard.plots import spread
from ddbench.site.families import look

LINE_HEIGHT = 15
LABEL_LENGTH = 27
TICKS = 6

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Size:
    width: int
    height: int
    left: int = 44
    right: int = 236
    """width kept for the labels"""
    top: int = 14
    bottom: int = 40

    @property
    def end(self) -> int:
        """Horizontal position where the plot ends and labels begin."""
        return self.width - self.right

    @property
    def floor(self) -> int:
        return self.height - self.bottom


WIDE, SMALL = Size(980, 360), Size(580, 320)


@dataclass(frozen=True)
class ChartLine:
    """The curve of one row; its label names the method and the settings that distinguish the row."""

    index: int
    """index of its row in the table"""
    label: str
    short: str
    accuracy: str
    """accuracy in percent"""
    look: int
    snapshots: str
    """SVG path through the medians; empty for a method without steps"""
    band: str
    """SVG path around the worst and best seeds; empty for a single seed"""
    rest: str
    """SVG path from the last snapshot to the headline accuracy; empty without snapshots"""
    lead: str
    """SVG path from the headline accuracy to the label"""
    marks: tuple[tuple[float, float], ...]
    end: tuple[float, float]
    whisker: tuple[float, float]
    """ends of the 95 % interval, y"""
    label_y: float


@dataclass(frozen=True)
class Reference:
    """The accuracy of random real images."""

    label: str
    accuracy: str
    y: float
    lead: str
    label_y: float


@dataclass(frozen=True)
class Chart:
    size: Size
    title: str
    description: str
    seconds: tuple[tuple[float, str], ...]
    """ticks of the time axis: x and label"""
    accuracies: tuple[tuple[float, str], ...]
    lines: tuple[ChartLine, ...]
    reference: Reference | None
    logarithmic: bool


def chart(group: Group, size: Size = WIDE) -> Chart | None:
    """Lay out the curves of a table; None where no run has snapshots."""
    drawn = panel(group)
    curves = [curve for curve in drawn.curves if curve.final is not None]
    if not any(curve.points for curve in curves):
        return None
    positions = {group.label(row): index for index, row in enumerate(group.rows)}
    methods = {group.label(row): row.method for row in group.rows}
    logarithmic = spans_decades(curves)
    x, seconds = (_logarithmic if logarithmic else _linear)(curves, size)
    y, accuracies = _percent(drawn, curves, size)
    wanted = [curve.final.mean for curve in curves if curve.final]
    wanted += [drawn.reference] if drawn.reference is not None else []
    placed = places([y(100 * accuracy) for accuracy in wanted], size)
    lines = tuple(
        _line(curve, positions[curve.label], look(methods[curve.label]), x, y, size, label_y)
        for curve, label_y in zip(curves, placed[: len(curves)], strict=True)
    )
    reference = None if drawn.reference is None else _reference(drawn.reference, y, size, placed[-1])
    return Chart(
        size, drawn.title, _description(curves, drawn.reference), seconds, accuracies, lines, reference, logarithmic
    )


def places(wanted: Sequence[float], size: Size) -> list[float]:
    """Return the heights of labels: at least a line apart, as near as possible to the wanted heights."""
    tall = size.floor - size.top
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = spread([(wanted[index] - size.top) / tall for index in order], LINE_HEIGHT / tall)
    at = dict(zip(order, placed, strict=True))
    return [round(size.top + tall * at[index], 1) for index in range(len(wanted))]


def nice_ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """Return about `count` multiples of 1, 2 or 5 times a power of ten that lie in the range.

    >>> nice_ticks(47.3, 91.7)
    [50.0, 60.0, 70.0, 80.0, 90.0]
    """
    rough = max(high - low, 1e-9) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.8)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _linear(curves: Sequence[Curve], size: Size) -> tuple[Scale, tuple[tuple[float, str], ...]]:
    right = max(curve.seconds for curve in curves) or 1.0

    def x(seconds: float) -> float:
        return size.left + (size.end - size.left - 16) * seconds / right

    return x, tuple((round(x(tick), 1), f"{tick:g}") for tick in nice_ticks(0, right))


def _logarithmic(curves: Sequence[Curve], size: Size) -> tuple[Scale, tuple[tuple[float, str], ...]]:
    """Scale seconds logarithmically; less than a thirtieth of the shortest run is drawn at the left edge."""
    left = min(lengths(curves)) / LOGARITHMIC_SPAN
    right = max(curve.seconds for curve in curves)
    width = size.end - size.left - 16

    def x(seconds: float) -> float:
        return size.left + width * math.log(max(seconds, left) / left) / math.log(right / left)

    powers = range(math.floor(math.log10(left)), math.ceil(math.log10(right)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return x, tuple((round(x(tick), 1), f"{tick:g}") for tick in ticks if left <= tick <= right)


def _percent(drawn: Panel, curves: Sequence[Curve], size: Size) -> tuple[Scale, tuple[tuple[float, str], ...]]:
    seen = [value for curve in curves for point in curve.points for value in (point.low, point.high)]
    seen += [end for curve in curves if curve.final for end in curve.final.within_accuracies]
    seen += [drawn.reference] if drawn.reference is not None else []
    low, high = 100 * min(seen), 100 * max(seen)
    margin = max(1.0, 0.04 * (high - low))
    low, high = max(0.0, low - margin), min(100.0, high + margin)

    def y(percent: float) -> float:
        return size.floor - (size.floor - size.top) * (percent - low) / (high - low)

    return y, tuple((round(y(tick), 1), f"{tick:g}") for tick in nice_ticks(low, high))


def _line(curve: Curve, index: int, look: int, x: Scale, y: Scale, size: Size, label_y: float) -> ChartLine:
    assert curve.final is not None
    end = round(x(curve.seconds), 1), round(y(100 * curve.final.mean), 1)
    marks = tuple((round(x(point.seconds), 1), round(y(100 * point.median), 1)) for point in curve.points)
    spreads = any(point.low != point.high for point in curve.points)
    upper = [(round(x(point.seconds), 1), round(y(100 * point.high), 1)) for point in curve.points]
    lower = [(round(x(point.seconds), 1), round(y(100 * point.low), 1)) for point in reversed(curve.points)]
    low, high = curve.final.within_accuracies
    short = curve.label if len(curve.label) <= LABEL_LENGTH else curve.label[: LABEL_LENGTH - 1] + "…"
    return ChartLine(
        index=index,
        label=curve.label,
        short=short,
        accuracy=f"{100 * curve.final.mean:.1f}",
        look=look,
        snapshots=path(marks),
        band=path([*upper, *lower]) if spreads else "",
        rest=path([marks[-1], end]) if marks else "",
        lead=lead(end, size, label_y),
        marks=marks,
        end=end,
        whisker=(round(y(100 * high), 1), round(y(100 * low), 1)),
        label_y=label_y,
    )


def _reference(accuracy: float, y: Scale, size: Size, label_y: float) -> Reference:
    place = round(y(100 * accuracy), 1)
    return Reference(REFERENCE, f"{100 * accuracy:.1f}", place, lead((size.left, place), size, label_y), label_y)


def lead(start: tuple[float, float], size: Size, label_y: float) -> str:
    """Return the SVG path from a point to its label."""
    return path([start, (size.end, start[1]), (size.end + 12, label_y)])


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return the SVG path through points; empty without any."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if points else ""


def _description(curves: Sequence[Curve], reference: float | None) -> str:
    ends = [(curve.label, curve.final.mean, f" after {curve.seconds:.0f} s") for curve in curves if curve.final]
    ends += [(REFERENCE, reference, "")] if reference is not None else []
    told = [f"{label} {100 * accuracy:.1f} %{when}" for label, accuracy, when in ends]
    return "Accuracy in percent against charged device seconds. At the end of the runs: " + "; ".join(told) + "."
