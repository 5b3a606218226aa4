"""Drawing of distilled sets as pictures."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ddbench.compute.generators import seeded
from ddbench.decoders import Canvas
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically

if TYPE_CHECKING:
    from ddbench.artifacts.distilled_dataset import DistilledDataset

MAX_CLASSES = 20
MAX_IMAGES = 10
DPI = 150
UNDATED: dict[str, dict[str, None] | None] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
    ".jpg": None,
    ".jpeg": None,
}
"""endings of pictures, and the metadata that is left out of each format"""
TILE = 96
"""device pixels to which a small image is enlarged, or at least half of them"""
GAP = 4
FONT = 8
CHARACTER = 0.066
"""approximate width of a character of the labels in inches"""


def grid(images: Tensor, labels: Tensor, classes: Sequence[str], title: str) -> Figure:
    """Draw one row a class or, with one image per class, a single row of classes.

    Values are clipped to [0, 1] and never rescaled, so that two pictures can be compared: undo the preprocessing
    first. One channel is drawn in grey, three as red, green and blue. Pixels are enlarged by a whole factor without
    smoothing. At most the first 20 classes and the first 10 images of each are drawn, and the title says so.

    Args:
        images: (N, C, H, W), C = 1 or 3.
        labels: (N,) class indices, or (N, K) soft labels, of which the largest decides the row.
        classes: names, by class index.
        title: text above the grid.

    Raises:
        UserError: when images of this shape, or a label without a name, cannot be drawn.
    """
    indices = _indices(images, labels, classes)
    members = [np.flatnonzero(indices == label) for label in range(len(classes))]
    shown = [own[:MAX_IMAGES] for own in members[:MAX_CLASSES]]
    single = all(len(own) <= 1 for own in members)
    rows = [[own[0] if len(own) else None for own in shown]] if single else [list(own) for own in shown]
    mosaic, tile = _mosaic(_pixels(images), rows)
    names = [_literal(str(name)) for name in classes[:MAX_CLASSES]]
    return _figure(mosaic, tile, names, single, _literal(_title(title, members)))


def drawable(artifact: DistilledDataset) -> tuple[Tensor, Tensor]:
    """Return images, (M, C, H, W) in the task's preprocessed space, and labels; canvases are repeated two by two."""
    tileable = isinstance(artifact.decoder, Canvas)
    return Canvas.tiled(artifact.parts) if tileable else artifact.decode(0, seeded(0))


def check_ending(path: Path) -> None:
    """Refuse a picture's name whose ending says no format that is written.

    Raises:
        UserError: naming the ending.
    """
    if path.suffix.lower() not in UNDATED or path.is_dir():
        raise UserError(f"{str(path)!r} does not end in {', '.join(UNDATED)}; pictures do")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture atomically, in the format of its ending."""
    write_atomically(path, encoded(figure, path.suffix.lower()))


def encoded(figure: Figure, ending: str = ".png") -> bytes:
    """Encode a figure without dates: equal figures give equal bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # names in scripts that the font lacks become boxes
        figure.savefig(buffer, format=ending[1:], dpi=DPI, metadata=UNDATED[ending])
    return buffer.getvalue()


def _indices(images: Tensor, labels: Tensor, classes: Sequence[str]) -> NDArray[np.int64]:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise UserError(f"images of shape {tuple(images.shape)} cannot be drawn; pass (N, C, H, W) with C = 1 or 3")
    hard = labels.argmax(dim=1) if labels.ndim == 2 else labels
    if hard.shape != images.shape[:1]:
        raise UserError(f"labels of shape {tuple(labels.shape)} do not fit {len(images)} images; pass one for each")
    indices: NDArray[np.int64] = hard.detach().cpu().numpy().astype(np.int64)
    if indices.min() < 0 or indices.max() >= len(classes):
        raise UserError(
            f"labels reach from {indices.min()} to {indices.max()}; name as many classes, not {len(classes)}"
        )
    return indices


def _pixels(images: Tensor) -> NDArray[np.float32]:
    """Convert (N, C, H, W) -> (N, H, W, 3) in [0, 1]; three equal channels are grey."""
    clipped = images.detach().cpu().float().clamp(0, 1)
    return np.asarray(clipped.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy())


def _mosaic(pixels: NDArray[np.float32], rows: Sequence[Sequence[Any]]) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Return enlarged images with white gaps, and the height and width of a place; empty places stay white."""
    height, width = pixels.shape[1:3]
    factor = max(1, TILE // max(height, width))
    tile = height * factor + GAP, width * factor + GAP
    mosaic = np.ones((len(rows) * tile[0] - GAP, max(1, *map(len, rows)) * tile[1] - GAP, 3), dtype=np.float32)
    for r, row in enumerate(rows):
        for c, index in enumerate(row):
            if index is not None:
                large = pixels[index].repeat(factor, axis=0).repeat(factor, axis=1)
                top, left = r * tile[0], c * tile[1]
                mosaic[top : top + large.shape[0], left : left + large.shape[1]] = large
    return mosaic, tile


def _title(title: str, members: Sequence[NDArray[np.int64]]) -> str:
    notes = []
    if len(members) > MAX_CLASSES:
        notes.append(f"the first {MAX_CLASSES} of {len(members)} classes")
    most = max(map(len, members[:MAX_CLASSES]))
    if most > MAX_IMAGES:
        notes.append(f"the first {MAX_IMAGES} of {most} images per class")
    return f"{title}\n{', '.join(notes)}" if notes else title


def _literal(text: str) -> str:
    """Escape a text so that matplotlib finds no formula in it."""
    return text.replace("$", r"\$")


def _figure(
    mosaic: NDArray[np.float32], tile: tuple[int, int], names: Sequence[str], single: bool, title: str
) -> Figure:
    """Make a figure whose device pixels at `DPI` are those of the mosaic."""
    height, width = mosaic.shape[0] / DPI, mosaic.shape[1] / DPI  # inches
    longest = max(map(len, names)) * CHARACTER
    tilted = single and longest > tile[1] / DPI
    left = longest + 0.2 if not single else _overhang(names, tile[1] / DPI) + 0.1 if tilted else 0.1
    below = 0.1 if not single else 0.75 * longest + 0.15 if tilted else 0.25
    above = 0.2 + 0.17 * len(title.splitlines())
    total_width = max(left + width + 0.1, 0.2 + CHARACTER * max(map(len, title.splitlines())))
    total_height = above + height + below
    # Whole device pixels, or the renderer would resample.
    total_width, total_height, left, below = (
        round(inches * DPI) / DPI for inches in (total_width, total_height, left, below)
    )
    figure = Figure(figsize=(total_width, total_height), dpi=DPI)
    FigureCanvasAgg(figure)
    axis = figure.add_axes((left / total_width, below / total_height, width / total_width, height / total_height))
    axis.imshow(mosaic, interpolation="nearest", aspect="auto")
    _name(axis, tile, names, single, tilted)
    figure.text(0.1 / total_width, 1 - 0.1 / total_height, title, fontsize=FONT + 1, va="top", ha="left")
    return figure


def _overhang(names: Sequence[str], width: float) -> float:
    """Return the inches by which names extend to the left, tilted to end below the centres of places of this width."""
    return max(0.0, *(0.75 * CHARACTER * len(name) - (i + 0.5) * width for i, name in enumerate(names)))


def _name(axis: Axes, tile: tuple[int, int], names: Sequence[str], single: bool, tilted: bool) -> None:
    along = 1 if single else 0
    centres = [(i + 0.5) * tile[along] - GAP / 2 for i in range(len(names))]
    axis.tick_params(length=0, labelsize=FONT, pad=3)
    axis.spines[:].set_visible(False)
    if single:
        axis.set_yticks([])
        axis.set_xticks(centres, names, rotation=45 if tilted else 0, ha="right" if tilted else "center")
    else:
        axis.set_xticks([])
        axis.set_yticks(centres, names)
