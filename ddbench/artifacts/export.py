"""The images of an artefact as files, for whoever reads pictures and not tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.pictures import grid, save_figure
from ddbench.artifacts.pixels import pixels_of
from ddbench.errors import UserError
from ddbench.io.atomic import LONGEST_NAME

UNSAFE = re.compile(r"[^\w.-]+")
SHEET = "sheet.png"


def export(file: str | Path, out: str | Path, dataset: str | None = None) -> int:
    """Write each image of a distilled set as a PNG, its preprocessing undone, into a folder of its class.

    A sheet of all lies beside the folders. Values beyond black and white are cut off, so that networks trained on the
    files see less than the artefact holds. Soft labels become their largest class.

    Args:
        out: a folder that does not exist yet, or is empty
        dataset: where its data set lies, which whitened images need; None where its name says

    Returns:
        How many images were written.

    Raises:
        UserError: where the folder holds something, or the artefact is of another data set.
    """
    file, out = Path(file), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} holds something already; name a new folder")
    artifact = DistilledDataset.load(file)
    pixels, labels, names = pixels_of(artifact, file, dataset)
    classes = labels.argmax(1) if labels.ndim == 2 else labels
    folders = [out / folder for folder in _folders(names)]
    digits = len(str(len(pixels) - 1))
    for number, (image, label) in enumerate(zip(_bytes(pixels), classes.tolist(), strict=True)):
        folders[label].mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folders[label] / f"{number:0{digits}}.png")
    title = "{method} on {dataset}, {ipc} a class".format(**artifact.provenance)
    save_figure(grid(pixels, labels, names, title), out / SHEET)
    return len(pixels)


def _folders(names: Sequence[str]) -> list[str]:
    """Return a folder's name for each class: its number, and what file systems take of its name."""
    digits = len(str(len(names) - 1))
    return [f"{i:0{digits}}-{_shortened(UNSAFE.sub('_', name))}" for i, name in enumerate(names)]


def _shortened(name: str) -> str:
    return name.encode()[:LONGEST_NAME].decode(errors="ignore")


def _bytes(pixels: Tensor) -> NDArray[np.uint8]:
    """Convert (N, C, H, W) in [0, 1] to (N, H, W, C) of 8 bits, or (N, H, W) where there is one channel."""
    rounded = (255 * pixels.float().clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return rounded[..., 0] if rounded.shape[3] == 1 else rounded
