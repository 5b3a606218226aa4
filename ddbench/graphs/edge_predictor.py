"""Edges as a function of the features of the two nodes: a small network asked about every ordered pair.

Jin et al., "Graph Condensation for Graph Neural Networks", ICLR 2022, arXiv 2110.07580, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddbench.graphs.adjacency import Adjacency, DenseAdjacency
from ddbench.networks import InitialWeights

WIDTH = 128


class EdgePredictor(nn.Module):
    """The weight of an edge from the features of its nodes: a perceptron of two hidden layers with batch norm.

    The norm takes the statistics of all pairs of the graph at hand. The first layer is applied to nodes and not to
    pairs: its product with a pair is the sum of its products with the two.

    Args:
        features: F
        generator: draws its weights, on their device
    """

    def __init__(self, features: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = nn.Linear(2 * features, WIDTH)
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH, track_running_stats=False) for _ in range(2))
        self.second = nn.Linear(WIDTH, WIDTH)
        self.last = nn.Linear(WIDTH, 1)
        self.to(generator.device)
        self.load_state_dict(InitialWeights(self)(generator))

    def forward(self, x: Tensor) -> Tensor:
        """Return weights in (0, 1), symmetric, none of a node with itself: (n, F) -> (n, n)."""
        to, of = self.first.weight.chunk(2, 1)  # (128, F) each
        pairs = (x @ to.T)[:, None] + (x @ of.T)[None] + self.first.bias  # (n, n, 128)
        hidden = self.norms[0](pairs.flatten(0, 1)).relu()
        hidden = self.norms[1](self.second(hidden)).relu()
        logits = self.last(hidden).view(len(x), len(x))
        weights: Tensor = ((logits + logits.T) / 2).sigmoid()
        return weights - torch.diag(weights.diagonal())

    def adjacency(self, x: Tensor) -> Adjacency:
        """Return the adjacency of nodes with these features, (n, F)."""
        return DenseAdjacency(self(x))
