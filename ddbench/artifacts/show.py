"""A picture of an artefact's file."""

from __future__ import annotations

from pathlib import Path

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.pictures import check_ending, drawable, grid, save_figure
from ddbench.artifacts.provenance import data_of
from ddbench.data import Preprocessing


def show(file: str | Path, out: str | Path, dataset: str | None = None) -> None:
    """Write a picture of a distilled set, its preprocessing undone; canvases are repeated two by two.

    Args:
        out: its ending says the format: `.png`, `.pdf`, `.svg`, `.jpg`
    """
    check_ending(Path(out))
    file = Path(file)
    artifact = DistilledDataset.load(file)
    data = data_of(artifact, file, dataset)
    seen = data.split(artifact.provenance["dataset_digest"])
    transform = Preprocessing.from_description(artifact.provenance["preprocessing"]).fit(seen)
    images, labels = drawable(artifact)
    title = "{method} on {dataset}, {ipc} a class".format(**artifact.provenance)
    save_figure(grid(transform.inverse(images), labels, data.classes, title), Path(out))
