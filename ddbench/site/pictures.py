"""Distilled images as small PNGs: each pixel of an image is one pixel of the file, and the page enlarges it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.image
import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.pictures import drawable
from ddbench.data import Preprocessing, Transform
from ddbench.errors import UserError

CLASSES, EACH = 10, 10
"""largest numbers of classes drawn and of images of each"""
GAP = 1
UNSIGNED: dict[str, Any] = {"Software": None}
"""metadata of a PNG, without the name of its maker, which would change with matplotlib's version"""
ROW_WIDTH, GRID_WIDTH = 560, 290
"""approximate width in CSS pixels at which the page shows a single row, and several rows"""


@dataclass(frozen=True)
class Picture:
    png: bytes
    width: int
    """CSS pixels at which it is shown, a whole multiple of its own width, as the height is"""
    height: int
    note: str
    """description of what is drawn, for readers who do not see it"""


def picture(path: Path) -> Picture | None:
    """Draw the images of an artefact with their preprocessing undone, from the file alone.

    None where the file alone is not enough, since whitening needs the data set to be undone, or nothing can be drawn.
    """
    try:
        artifact = DistilledDataset.load(path)
        preprocessing = Preprocessing.from_description(artifact.provenance["preprocessing"])
        images, labels = drawable(artifact)
    except (UserError, KeyError, ValueError, RuntimeError):
        return None
    if preprocessing.kind != "normalize" or images.shape[1] not in (1, 3) or images.shape[1] != len(preprocessing.mean):
        return None
    return _drawn(Transform(preprocessing, "", None).inverse(images), labels)


def _drawn(images: Tensor, labels: Tensor) -> Picture:
    """Draw a row a class; one row of classes where each has one image. Gaps and absent images are transparent."""
    hard = labels.argmax(1) if labels.ndim == 2 else labels
    classes = sorted(set(hard.tolist()))
    members = [images[hard == label][:EACH] for label in classes[:CLASSES]]
    each = max(map(len, members))
    tiles = torch.stack([_filled(own, each) for own in members])  # (classes, each, 4, H, W)
    rows = tiles.transpose(0, 1) if each == 1 else tiles
    padded = F.pad(rows, (0, GAP, 0, GAP)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)[:-GAP, :-GAP]
    pixels = padded.mul(255).round().to(torch.uint8).numpy()  # (H', W', 4)
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, pixels, format="png", metadata=UNSIGNED)
    few = f"the first {len(members)} of {len(classes)} classes" if len(classes) > len(members) else "all classes"
    note = f"{each} image{'s' * (each != 1)} of each class, {few} in their order"
    height, width = pixels.shape[:2]
    factor = max(1, round((ROW_WIDTH if each == 1 else GRID_WIDTH) / width))
    return Picture(buffer.getvalue(), factor * width, factor * height, note)


def _filled(images: Tensor, each: int) -> Tensor:
    """Add colour and opacity channels and absent images, (n, C, H, W) in [0, 1] -> (each, 4, H, W)."""
    n, _, height, width = images.shape
    tiles = torch.zeros(each, 4, height, width)
    tiles[:n, :3], tiles[:n, 3] = images.clamp(0, 1), 1.0
    return tiles
