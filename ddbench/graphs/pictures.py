"""An artefact of a graph as a picture: how alike its nodes' features are, and its edges."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.pictures import check_ending, save_figure


def draw(artifact: DistilledDataset, out: Path) -> None:
    """Draw matrices with a row for each node, in the order of classes: cosines of features, and edges."""
    check_ending(out)
    features, labels = artifact.decode()
    order = (labels if labels.ndim == 1 else labels.argmax(1)).argsort(stable=True)
    rows = F.normalize(features[order])
    matrices: dict[str, Tensor] = {"cosine of features": rows @ rows.T}
    if "edges" in artifact.parts:
        matrices["weight of edges"] = artifact.parts["edges"][order][:, order]
    figure = Figure(figsize=(4.5 * len(matrices), 4), layout="constrained")
    for axes, (title, matrix) in zip(
        figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True
    ):
        shown = axes.imshow(torch.as_tensor(matrix).numpy(), cmap="viridis", interpolation="nearest")
        axes.set_title(f"{title}, nodes by class")
        figure.colorbar(shown, ax=axes, shrink=0.8)
    save_figure(figure, out)
