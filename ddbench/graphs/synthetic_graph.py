"""The synthetic graph while it is learned: features, and a predictor of edges or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.graphs.adjacency import Adjacency, NoEdges
from ddbench.graphs.decoders import DenseGraph, Nodes
from ddbench.graphs.edge_predictor import EdgePredictor
from ddbench.graphs.task import GraphTask


class SyntheticGraph:
    """The synthetic graph that a method learns, `ipc` nodes of each class, class by class; a `State` can hold it.

    Its features start from random labelled nodes of the same class as the labels.

    Args:
        task: the run's
        edges: learn edges too
        lr_features: step size of Adam on the features
        lr_edges: step size of Adam on the predictor of edges
    """

    def __init__(self, task: GraphTask, edges: bool, lr_features: float, lr_edges: float) -> None:
        self._depth = task.network.depth
        start, self.labels = task.real.take(task.real_init())
        self.features = start.clone().requires_grad_()
        """(n, F)"""
        self.predictor = EdgePredictor(start.shape[1], task.generator("edges")) if edges else None
        self._features_optimizer = torch.optim.Adam([self.features], lr=lr_features)
        self._edges_optimizer = torch.optim.Adam(self.predictor.parameters(), lr=lr_edges) if self.predictor else None

    def adjacency(self) -> Adjacency:
        """Return the adjacency, differentiable in features and predictor."""
        return NoEdges() if self.predictor is None else self.predictor.adjacency(self.features)

    def propagated(self) -> Tensor:
        """Return the features after as many products with the adjacency as the task's network has layers, (n, F)."""
        found, adjacency = self.features, self.adjacency()
        for _ in range(self._depth):
            found = adjacency.propagate(found)
        return found

    def descend(self, loss: Tensor, edges: bool = False) -> None:
        """Take a step of Adam down the gradient of a loss, on the predictor of edges or else on the features."""
        learned = list(self.predictor.parameters()) if edges and self.predictor is not None else [self.features]
        optimizer = self._edges_optimizer if edges and self._edges_optimizer else self._features_optimizer
        for own, gradient in zip(learned, torch.autograd.grad(loss, learned), strict=True):
            own.grad = gradient
        optimizer.step()

    def artifact(self) -> DistilledDataset:
        parts = {"features": self.features, "labels": self.labels}
        if self.predictor is None:
            return DistilledDataset(parts, Nodes())
        with torch.no_grad():
            return DistilledDataset({**parts, "edges": self.predictor(self.features)}, DenseGraph())

    def state_dict(self) -> dict[str, Any]:
        saved: dict[str, Any] = {"features": self.features, "features_optimizer": self._features_optimizer.state_dict()}
        if self.predictor is not None and self._edges_optimizer is not None:
            saved |= {"predictor": self.predictor.state_dict(), "edges_optimizer": self._edges_optimizer.state_dict()}
        return saved

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.features.copy_(saved["features"])
        self._features_optimizer.load_state_dict(saved["features_optimizer"])
        if self.predictor is not None and self._edges_optimizer is not None:
            self.predictor.load_state_dict(saved["predictor"])
            self._edges_optimizer.load_state_dict(saved["edges_optimizer"])
