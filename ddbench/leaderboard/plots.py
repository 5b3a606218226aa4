"""Draw a board's curves as one PNG: equal records give equal bytes, and the file holds the digest of its numbers."""

from __future__ import annotations

import io
import itertools
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image

from ddbench.io.atomic import canonical_json, digest, write_atomically
from ddbench.leaderboard.controls import REFERENCE
from ddbench.leaderboard.curves import LOGARITHMIC_SPAN, Curve, Panel, lengths, panels, spans_decades
from ddbench.leaderboard.origins import Origins
from ddbench.records.schema import Record
from ddbench.registry import CONTROL

NUMBERS = "ddbench numbers"
"""key of the digest in the PNG's metadata"""
# Okabe & Ito, "Color Universal Design", 2008; yellow left out, which is too faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY, BLACK = "#666666", "#000000"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
PANEL_WIDTH, PANEL_HEIGHT = 3.0, 2.6
LEFT, TOP, BOTTOM, TITLE_LINE = 0.65, 0.2, 0.5, 0.17
"""inches left of, above and below a panel, and the height of a line of its title"""
TITLE_CHARACTERS = 60
LEGEND_INCHES, CAPTION_LINE_INCHES, CAPTION_CHARACTERS_PER_INCH = 0.3, 0.13, 17
CAPTION = (
    "Colour: family; mark: method. Small marks: median over distillation seeds of snapshots scored with one network "
    "and the protocol's short form, at the median charged seconds; bands: worst to best seed. Large marks, reached by "
    "dots: the headline accuracy under the full protocol, also in figures, with its 95 % interval; it is kept to the "
    "right edge by methods that end earlier."
)
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.parse_math": False,  # a name with dollars is no formula
}
REFERENCE_DASHES = (0, (5, 3))


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str


def plot_curves(records: Iterable[Record], path: Path, origins: Origins | None = None) -> None:
    """Draw accuracy in percent against charged seconds: a panel a table, a line a method, a colour a family."""
    drawn = panels(records, origins)
    # The user's own matplotlibrc must not change the bytes.
    with matplotlib.style.context(["default", STYLE]):
        _save(_figure(drawn, _hues(origins or {})), path, _digest(drawn))


def numbers(records: Iterable[Record], origins: Origins | None = None) -> str:
    """Return the digest of the numbers that `plot_curves` draws from the records."""
    return _digest(panels(records, origins))


def drawn_from(path: Path) -> str | None:
    """Return the digest in a picture that `plot_curves` made; None for any other file."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            found = image.info.get(NUMBERS)
    except (OSError, SyntaxError, ValueError):
        return None
    return found if isinstance(found, str) else None


def _digest(drawn: Sequence[Panel]) -> str:
    return digest(canonical_json([_rounded(asdict(each)) for each in drawn]))


def _rounded(value: Any) -> Any:
    """Round floats to six decimals: the last digits of a quantile differ between versions of scipy."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, 6) + 0.0 if isinstance(value, float) else value


def _figure(drawn: Sequence[Panel], hues: Mapping[str, str]) -> Figure:
    columns = 2 if len(drawn) in (2, 4) else min(3, max(1, len(drawn)))
    lines = max(1, math.ceil(len(drawn) / columns))
    looks = _looks(drawn, hues)
    labels = [_labels(each, looks) for each in drawn]
    right = width([label.text for each in labels for label in each])
    size = PANEL_WIDTH, max(PANEL_HEIGHT, INCHES * (1 + max(map(len, labels), default=0)))
    titles = max((len(_title(each)) for each in drawn), default=1)
    across, down = LEFT + size[0] + right, TOP + titles * TITLE_LINE + size[1] + BOTTOM
    caption = textwrap.wrap(CAPTION, int(CAPTION_CHARACTERS_PER_INCH * across * columns))
    whole = across * columns, down * lines + LEGEND_INCHES + CAPTION_LINE_INCHES * len(caption) + 0.1
    figure = Figure(figsize=whole)
    FigureCanvasAgg(figure)
    logarithmic = any(spans_decades(each.curves) for each in drawn)
    for index, each in enumerate(drawn):
        line, column = divmod(index, columns)
        corner = across * column + LEFT, whole[1] - down * (line + 1) + BOTTOM
        axis = figure.add_axes((corner[0] / whole[0], corner[1] / whole[1], size[0] / whole[0], size[1] / whole[1]))
        _draw(axis, each, looks, logarithmic=logarithmic)
        draw_labels(axis, labels[index], size)
    _annotate(figure, drawn, looks, caption)
    return figure


def _hues(origins: Origins) -> dict[str, str]:
    """Choose a colour for every family, so that it has the same on every board; controls are grey."""
    families = sorted({origin.family for origin in origins.values()} - {CONTROL})
    return dict(zip(families, itertools.cycle(PALETTE), strict=False)) | {CONTROL: GREY}


def _looks(drawn: Sequence[Panel], hues: Mapping[str, str]) -> dict[str, Look]:
    """Choose for each label the colour of its family, and a mark within it in the order of names, so that they
    stay when accuracies change; unknown families get the colours that are left."""
    families: dict[str, list[str]] = {}
    for family, label in sorted({(curve.family, curve.label) for each in drawn for curve in each.curves}):
        families.setdefault(family, []).append(label)
    left = itertools.cycle([colour for colour in (*PALETTE, BLACK) if colour not in hues.values()])
    return {
        label: Look(hues[family] if family in hues else next(left), MARKERS[index % len(MARKERS)])
        for family, labels in families.items()
        for index, label in enumerate(labels)
    }


def _labels(each: Panel, looks: dict[str, Look]) -> list[Label]:
    found = []
    if each.reference is not None:
        found.append(Label(100 * each.reference, _text(each.reference, REFERENCE), GREY, ""))
    for curve in each.curves:
        height = curve.final.mean if curve.final else curve.points[-1].median
        look = looks[curve.label]
        found.append(Label(100 * height, _text(height, curve.label), look.colour, look.marker))
    return found


def _text(accuracy: float, label: str) -> str:
    return f"{100 * accuracy:.1f}  {label}"


def _title(each: Panel) -> list[str]:
    return textwrap.wrap(each.title, TITLE_CHARACTERS)


def _draw(axis: Axes, each: Panel, looks: dict[str, Look], *, logarithmic: bool) -> None:
    axis.set_title("\n".join(_title(each)))
    axis.set_xlabel("charged device seconds")
    axis.set_ylabel("accuracy, %")
    left = _logarithmic(axis, each.curves) if logarithmic else _linear(axis, each.curves)
    right = axis.get_xlim()[1]
    if each.reference is not None:
        axis.axhline(100 * each.reference, color=GREY, linestyle=REFERENCE_DASHES, linewidth=1.2, zorder=1.5)
    for curve in each.curves:
        _draw_snapshots(axis, curve, looks[curve.label], left=left)
        _draw_final(axis, curve, looks[curve.label], left=left, right=right)


def _linear(axis: Axes, curves: Sequence[Curve]) -> float:
    """Set a linear x axis; return the smallest second that can be drawn."""
    right = max((curve.seconds for curve in curves), default=0.0) or 1.0
    axis.set_xlim(-0.03 * right, 1.05 * right)
    return 0.0


def _logarithmic(axis: Axes, curves: Sequence[Curve]) -> float:
    """Set a logarithmic x axis; return the smallest second that can be drawn."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    # Controls and first snapshots, at almost 0 s, would leave little room for the curves.
    left = min(lengths(curves) or [1.0]) / LOGARITHMIC_SPAN
    axis.set_xlim(left / 1.2, max([left, *(curve.seconds for curve in curves)]) * 1.25)
    return left


def _draw_snapshots(axis: Axes, curve: Curve, look: Look, *, left: float) -> None:
    seconds = [max(point.seconds, left) for point in curve.points]
    low, median, high = ([100 * getattr(p, name) for p in curve.points] for name in ("low", "median", "high"))
    axis.fill_between(seconds, low, high, color=look.colour, alpha=0.1, linewidth=0)
    axis.plot(seconds, median, color=look.colour, marker=look.marker, markersize=3, linewidth=1.1)


def _draw_final(axis: Axes, curve: Curve, look: Look, *, left: float, right: float) -> None:
    if curve.final is None:
        return
    x, y = max(curve.seconds, left), 100 * curve.final.mean
    low, high = (100 * end for end in curve.final.within_accuracies)
    if curve.points:
        last = curve.points[-1]
        axis.plot([last.seconds, x], [100 * last.median, y], color=look.colour, linestyle=":", linewidth=1.1)
    axis.plot([x, right], [y, y], color=look.colour, linestyle=(0, (1, 2)), linewidth=0.6, alpha=0.7)
    axis.errorbar(
        x, y, yerr=[[y - low], [high - y]], color=look.colour, marker=look.marker, markersize=5.5,
        elinewidth=0.8, markeredgecolor="white", markeredgewidth=0.6, zorder=3, clip_on=False,
    )  # fmt: skip


def _annotate(figure: Figure, drawn: Sequence[Panel], looks: dict[str, Look], caption: Sequence[str]) -> None:
    curves = [curve for each in drawn for curve in each.curves if curve.family]
    colours = {curve.family: looks[curve.label].colour for curve in curves}
    handles = [Line2D([], [], color=colours[family], linewidth=3, label=family) for family in sorted(colours)]
    width, height = figure.get_size_inches()
    top = CAPTION_LINE_INCHES * len(caption) + 0.08
    if handles:
        figure.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0.05 / width, top / height), borderaxespad=0,
            ncols=len(handles), fontsize=8, handlelength=1.2, columnspacing=1.4,
        )  # fmt: skip
    text = {"ha": "left", "va": "bottom", "fontsize": 7, "color": "#555555"}
    figure.text(0.1 / width, 0.06 / height, "\n".join(caption), text)


def _save(figure: Figure, path: Path, digest_of_numbers: str) -> None:
    # Not shared with ddbench.artifacts.pictures: the leaderboard imports nothing of images.
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None, NUMBERS: digest_of_numbers})
    write_atomically(path, buffer.getvalue())


INCHES = 0.135
"""inches from one label to the next"""
CHARACTER_INCHES = 0.057
LONGEST = 40
"""largest number of characters of a label"""
FONT_SIZE = 7.5
LEADER, MARK, TEXT = 0.16, 0.22, 0.3
"""inches from the right edge of a panel to the ends of leader lines, to marks and to texts"""


@dataclass(frozen=True)
class Label:
    """The label of a curve, at the accuracy where the curve ends."""

    height: float
    """value on the y axis"""
    text: str
    colour: str
    marker: str


def width(texts: Sequence[str]) -> float:
    """Return the inches that labels need right of a panel."""
    return TEXT + CHARACTER_INCHES * max((min(len(text), LONGEST) for text in texts), default=0) + 0.1


def draw_labels(axis: Axes, labels: Sequence[Label], panel: tuple[float, float]) -> None:
    """Write labels right of a panel of this width and height in inches, each joined by a line to its height."""
    low, high = axis.get_ylim()
    ordered = sorted(labels, key=lambda label: (label.height, label.text))
    true = [(label.height - low) / (high - low) for label in ordered]
    frame = axis.transAxes
    across = [1 + inches / panel[0] for inches in (0.02, LEADER, MARK, TEXT)]
    for label, own, y in zip(ordered, true, spread(true, INCHES / panel[1]), strict=True):
        axis.plot(across[:2], [own, y], color=label.colour, linewidth=0.5, alpha=0.7, transform=frame, clip_on=False)
        axis.plot(across[2], y, color=label.colour, marker=label.marker, markersize=4, transform=frame, clip_on=False)
        text = label.text if len(label.text) <= LONGEST else label.text[: LONGEST - 1] + "…"
        axis.text(across[3], y, text, transform=frame, fontsize=FONT_SIZE, va="center_baseline")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move ascending heights by the least sum of squares that leaves `gap` between neighbours, within [0, 1] where they
    fit: isotonic regression of the heights less the gaps.

    >>> spread([0.5, 0.5, 0.875], 0.125)
    [0.4375, 0.5625, 0.875]
    """
    from scipy.optimize import isotonic_regression  # takes a second to import, and only pictures need it

    gaps, last_start = gap * np.arange(len(heights)), max(0.0, 1 - gap * (len(heights) - 1))
    starts = isotonic_regression(np.subtract(heights, gaps)).x.clip(0.0, last_start)
    found: list[float] = (starts + gaps).tolist()
    return found
