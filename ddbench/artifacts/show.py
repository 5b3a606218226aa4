"""A picture of an artefact's file."""

from __future__ import annotations

from pathlib import Path

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.pictures import check_ending, grid, save_figure
from ddbench.artifacts.pixels import pixels_of


def show(file: str | Path, out: str | Path, dataset: str | None = None) -> None:
    """Write a picture of a distilled set, its preprocessing undone; canvases are repeated two by two.

    Args:
        out: its ending says the format: `.png`, `.pdf`, `.svg`, `.jpg`
        dataset: where its data set lies, which whitened images need; None where its name says
    """
    check_ending(Path(out))
    file = Path(file)
    artifact = DistilledDataset.load(file)
    pixels, labels, classes = pixels_of(artifact, file, dataset)
    title = "{method} on {dataset}, {ipc} a class".format(**artifact.provenance)
    save_figure(grid(pixels, labels, classes, title), Path(out))
