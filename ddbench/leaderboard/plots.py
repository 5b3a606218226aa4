"""The curves of a board as one PNG: equal bytes from equal records."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ddbench.files import write_atomically
from ddbench.leaderboard.curves import Curve, Panel, panel
from ddbench.leaderboard.layout import groups
from ddbench.leaderboard.rows import REFERENCE, rows
from ddbench.records import Record

# Okabe & Ito, "Color Universal Design", 2008; yellow left out, which is too faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Literal["-", "--", "-."], ...] = ("-", "--", "-.")
LOGARITHMIC_SPAN = 30
CAPTION = (
    "Small marks: median over distillation seeds of snapshots scored with one network and the protocol's short form, "
    "at the median charged seconds; bands: worst to best seed. Large marks, reached by dots: the headline accuracy "
    "under the full protocol, with its 95 % interval. Grey: methods without snapshots, at the left edge where "
    "they take less than the axis shows."
)
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
GREY = "#666666"
REFERENCE_DASHES = (0, (5, 3))


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str
    line: Literal["-", "--", "-.", ""]


def plot_curves(records: Iterable[Record], path: Path) -> None:
    """Accuracy in percent against charged seconds: a panel for each table, a line a method."""
    panels = [panel(group) for group in groups(rows(records))]
    panels = [each for each in panels if each.curves or each.reference is not None]
    # The user's own matplotlibrc must not change the bytes.
    with matplotlib.style.context(["default", STYLE]):
        _save(_figure(panels), path)


def _figure(panels: Sequence[Panel]) -> Figure:
    columns = 2 if len(panels) == 4 else min(3, max(1, len(panels)))
    lines = max(1, math.ceil(len(panels) / columns))
    looks = _looks(panels)
    width = 4.0 * columns + 2.4
    figure = Figure(figsize=(width, max(3.3 * lines, 0.2 * len(looks)) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    logarithmic = any(_span(each.curves) >= LOGARITHMIC_SPAN for each in panels)
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for axis, each in zip(axes, panels, strict=False):
        _draw(axis, each, looks, logarithmic=logarithmic)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    _annotate(figure, looks, reference=any(each.reference is not None for each in panels), width=width)
    return figure


def _looks(panels: Sequence[Panel]) -> dict[str, Look]:
    """Colours by name, so that a method keeps its own when another moves; listed from the best to the worst."""
    labels = sorted({curve.label for each in panels for curve in each.curves if curve.points})
    marks = sorted({curve.label for each in panels for curve in each.curves} - set(labels))
    looks = {label: _coloured(index) for index, label in enumerate(labels)}
    looks |= {label: Look(GREY, MARKERS[index % len(MARKERS)], "") for index, label in enumerate(marks)}
    finals: dict[str, list[float]] = {label: [] for label in looks}
    for each in panels:
        for curve in each.curves:
            finals[curve.label] += [curve.final.mean] if curve.final else []
    best = sorted(looks, key=lambda label: (-sum(finals[label]) / max(1, len(finals[label])), label))
    return {label: looks[label] for label in best}


def _coloured(index: int) -> Look:
    """Seven colours; then they come again with another marker and another line."""
    turn = index // len(PALETTE)
    line = LINES[turn % len(LINES)]
    return Look(PALETTE[index % len(PALETTE)], MARKERS[(index + turn) % len(MARKERS)], line)


def _draw(axis: Axes, each: Panel, looks: dict[str, Look], *, logarithmic: bool) -> None:
    axis.set_title("\n".join(textwrap.wrap(each.title, 48)))
    axis.set_xlabel("charged device seconds")
    axis.set_ylabel("accuracy, %")
    left = _logarithmic(axis, each.curves) if logarithmic else _linear(axis, each.curves)
    if each.reference is not None:
        axis.axhline(100 * each.reference, color=GREY, linestyle=REFERENCE_DASHES, linewidth=1.2, zorder=1.5)
    for curve in each.curves:
        _draw_snapshots(axis, curve, looks[curve.label], left=left)
        _draw_final(axis, curve, looks[curve.label], left=left)


def _lengths(curves: Iterable[Curve]) -> list[float]:
    """Positive seconds of every run that has a line."""
    return [curve.seconds for curve in curves if curve.points and curve.seconds > 0]


def _span(curves: Sequence[Curve]) -> float:
    """How much longer the longest run is than the shortest; first snapshots, taken at almost 0 s, do not count."""
    lengths = _lengths(curves)
    return max(lengths) / min(lengths) if lengths else 1.0


def _linear(axis: Axes, curves: Sequence[Curve]) -> float:
    """Set the x axis; returns the smallest second that can be drawn."""
    right = max((curve.seconds for curve in curves), default=0.0) or 1.0
    axis.set_xlim(-0.03 * right, 1.05 * right)
    return 0.0


def _logarithmic(axis: Axes, curves: Sequence[Curve]) -> float:
    """Set the x axis; returns the smallest second that can be drawn."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    # What lies at almost 0 s, controls and first snapshots, would press the curves into a corner.
    left = min(_lengths(curves) or [1.0]) / LOGARITHMIC_SPAN
    axis.set_xlim(left / 1.2, max([left, *(curve.seconds for curve in curves)]) * 1.25)
    return left


def _draw_snapshots(axis: Axes, curve: Curve, look: Look, *, left: float) -> None:
    seconds = [max(point.seconds, left) for point in curve.points]
    low, median, high = ([100 * getattr(p, name) for p in curve.points] for name in ("low", "median", "high"))
    axis.fill_between(seconds, low, high, color=look.colour, alpha=0.12, linewidth=0)
    axis.plot(seconds, median, color=look.colour, marker=look.marker, markersize=3, linestyle=look.line, linewidth=1.4)


def _draw_final(axis: Axes, curve: Curve, look: Look, *, left: float) -> None:
    if curve.final is None:
        return
    x, y = max(curve.seconds, left), 100 * curve.final.mean
    if curve.points:
        last = curve.points[-1]
        axis.plot([last.seconds, x], [100 * last.median, y], color=look.colour, linestyle=":", linewidth=1.2)
    axis.errorbar(
        x, y, yerr=100 * (curve.final.half_width or 0), color=look.colour, marker=look.marker, markersize=6.5,
        elinewidth=1, markeredgecolor="white", markeredgewidth=0.6, zorder=3, clip_on=False,
    )  # fmt: skip


def _annotate(figure: Figure, looks: dict[str, Look], *, reference: bool, width: float) -> None:
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, markersize=5, linestyle=look.line, label=label)
        for label, look in looks.items()
    ]
    if reference:
        handles.append(Line2D([], [], color=GREY, linestyle=REFERENCE_DASHES, linewidth=1.2, label=REFERENCE))
    if handles:
        figure.legend(handles=handles, loc="outside right upper", handlelength=2.6)
    caption = "\n".join(textwrap.wrap(CAPTION, int(17 * width)))
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=7.5, color="#555555")


def _save(figure: Figure, path: Path) -> None:
    # Not shared with ddbench.pictures: the leaderboard knows nothing of images.
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    write_atomically(path, buffer.getvalue())
