"""What artefacts of graphs store: nodes with features, and a matrix of edges or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ddbench.decoders.base import Draw, class_labels, register_decoder
from ddbench.errors import UserError
from ddbench.graphs.adjacency import Adjacency, DenseAdjacency, NoEdges


@register_decoder
@dataclass(frozen=True)
class Nodes:
    """Nodes without edges. `parts`: `features` (n, F) and `labels` (n,) or (n, K)."""

    name: ClassVar[str] = "nodes"
    needs: ClassVar[tuple[str, ...]] = ("features", "labels")
    fresh: ClassVar[bool] = False
    rank: ClassVar[int] = 1
    """axes of what is decoded for one node"""

    def start(
        self, draw: Draw, shape: tuple[int, ...], classes: int, ipc: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        if len(shape) != self.rank:
            raise UserError(f"decoder 'nodes' stores nodes of a graph, not images of shape {shape}; choose 'pixels'")
        features = draw(ipc)
        return {"features": features, "labels": class_labels(features, classes)}

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        return parts["features"], parts["labels"]


@register_decoder
@dataclass(frozen=True)
class DenseGraph:
    """Nodes and an edge between any two. `parts`: those of `nodes`, and `edges` (n, n), weights of at least 0."""

    name: ClassVar[str] = "dense_graph"
    needs: ClassVar[tuple[str, ...]] = ("features", "labels", "edges")
    fresh: ClassVar[bool] = False
    rank: ClassVar[int] = 1

    def start(
        self, draw: Draw, shape: tuple[int, ...], classes: int, ipc: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        parts = Nodes().start(draw, shape, classes, ipc, generator)
        count = len(parts["features"])
        return {**parts, "edges": torch.zeros(count, count, device=parts["features"].device)}

    def decode(
        self, parts: Mapping[str, Tensor], epoch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        count = len(parts["features"])
        if parts["edges"].shape != (count, count):
            raise ValueError(f"its edges have shape {tuple(parts['edges'].shape)}, and its nodes are {count}")
        return parts["features"], parts["labels"]


def adjacency_of(parts: Mapping[str, Tensor]) -> Adjacency:
    """Return the adjacency of an artefact's parts."""
    return DenseAdjacency(parts["edges"]) if "edges" in parts else NoEdges()
