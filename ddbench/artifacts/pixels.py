"""The pixels of an artefact, for pictures and files."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ddbench.artifacts.class_names import class_names, numbered_names
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.pictures import drawable
from ddbench.artifacts.provenance import check_provenance, data_of
from ddbench.artifacts.transform import ArtifactTransform
from ddbench.compute.generators import seeded
from ddbench.data import Dataset, load_dataset
from ddbench.errors import UserError


def pixels_of(
    artifact: DistilledDataset, file: Path, dataset: str | None = None
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return an artefact's images as pixels in [0, 1], (M, C, H, W), their labels, and the names of its classes.

    The file alone is enough, but for whitened images. Names that it lacks are looked up in its data set where that is
    here, and are numbers where it is not.

    Args:
        dataset: where its data set lies, which is then compared with the file; None where its name says

    Raises:
        UserError: when the artefact is not sound, or of another data set, or whitened by one that is not here.
    """
    check_provenance(artifact.provenance, file)
    images, labels = drawable(artifact)
    names = class_names(artifact.provenance, labels, file)
    data = data_of(artifact, file, dataset) if dataset is not None else None
    if data is None and names is None:
        data = _data_if_here(artifact, file)
    transform = ArtifactTransform(artifact, file, data)
    if transform.preprocessing.whitens:  # undone for images of the data set's size, and not for whole canvases
        images, labels = artifact.decode(0, seeded(0))
    return transform.inverse(images), labels, data.classes if data else names or numbered_names(labels)


def _data_if_here(artifact: DistilledDataset, file: Path) -> Dataset | None:
    try:
        load_dataset(artifact.provenance["dataset"])
    except UserError:
        return None
    return data_of(artifact, file)
