"""An artefact as a notebook shows it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ddbench.artifacts.class_names import class_names, numbered_names
from ddbench.artifacts.pictures import drawable, encoded, grid
from ddbench.data import Preprocessing
from ddbench.errors import UserError

if TYPE_CHECKING:
    from ddbench.artifacts.distilled_dataset import DistilledDataset


def contact_sheet(artifact: DistilledDataset) -> str | None:
    """Return an HTML image of an artefact's images with the names of its classes, drawn from the file alone.

    Whitened images, whose data set may not be here, are drawn around grey. None where nothing can be drawn.
    """
    said = repr(artifact)
    try:
        images, labels = drawable(artifact)
        pixels, note = _pixels(images, artifact.provenance)
        names = class_names(artifact.provenance, labels, "the artefact") or numbered_names(labels)
        png = encoded(grid(pixels, labels, names, f"{said}{note}"))
    except (UserError, ValueError):
        return None
    return f'<img alt="{html.escape(said)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _pixels(images: Tensor, provenance: Mapping[str, Any]) -> tuple[Tensor, str]:
    """Return images as pixels, and what to say of how they are drawn."""
    described = provenance.get("preprocessing")
    if described is not None:
        preprocessing = Preprocessing.from_description(described)
        if not preprocessing.whitens:
            return preprocessing.without_data().inverse(images), ""
    return images / 4 + 0.5, ", drawn around grey"
