"""Networks on graphs: pure functions of their parameters, a graph's features and one `Adjacency` for each layer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.errors import UserError, suggestion
from ddbench.graphs.adjacency import Adjacency
from ddbench.names import Registry

MOST = 2**12
"""largest width, depth or number of heads"""


class GraphNetwork(nn.Module):
    """Linear layers between which a node gathers its neighbours.

    Attributes:
        depth: number of layers, and of the `Adjacency` objects that it is called with
    """

    depth: int

    def embed(self, x: Tensor, layers: Sequence[Adjacency], dropout: torch.Generator | None = None) -> Tensor:
        """Return what the last linear map reads, with all products taken, (M, F) -> (R, D).

        Args:
            x: features, dense or sparse
            dropout: generator on the CPU; None drops nothing, as in evaluation
        """
        raise NotImplementedError

    def forward(self, x: Tensor, layers: Sequence[Adjacency], dropout: torch.Generator | None = None) -> Tensor:
        """Return logits, (M, F) -> (R, K)."""
        raise NotImplementedError


GRAPH_NETWORKS: Registry[type[GraphNetwork]] = Registry("graph network")


@GRAPH_NETWORKS.register("sgc")
class SGC(GraphNetwork):
    """Propagated features and one linear layer. Wu et al., ICML 2019, arXiv 1902.07153."""

    def __init__(self, features: int, classes: int, depth: int = 2) -> None:
        super().__init__()
        self.depth = depth
        self.classifier = nn.Linear(features, classes)

    def embed(self, x: Tensor, layers: Sequence[Adjacency], dropout: torch.Generator | None = None) -> Tensor:
        for layer in layers:
            x = layer.propagate(x)
        return x

    def forward(self, x: Tensor, layers: Sequence[Adjacency], dropout: torch.Generator | None = None) -> Tensor:
        found = weighted(self.classifier, x)  # first, since it leaves fewer columns
        for layer in layers:
            found = layer.propagate(found)
        return found + self.classifier.bias


@GRAPH_NETWORKS.register("gcn")
class GCN(GraphNetwork):
    """Graph convolutions with ReLU between them. Kipf & Welling, ICLR 2017, arXiv 1609.02907."""

    def __init__(
        self,
        features: int,
        classes: int,
        width: int = 256,
        depth: int = 2,
        dropout: float = 0.5,
        drop_input: float = 0.0,
    ) -> None:
        super().__init__()
        self.depth, self.rate, self.rate_input = depth, dropout, drop_input
        sizes = [features, *[width] * (depth - 1), classes]
        self.layers = nn.ModuleList(nn.Linear(wide, narrow) for wide, narrow in pairwise(sizes))

    def embed(self, x: Tensor, layers: Sequence[Adjacency], dropout: torch.Generator | None = None) -> Tensor:
        return layers[-1].propagate(self._hidden(x, layers, dropout))

    def forward(self, x: Tensor, layers: Sequence[Adjacency], dropout: torch.Generator | None = None) -> Tensor:
        last = cast(nn.Linear, self.layers[-1])  # it leaves fewer columns to propagate
        return layers[-1].propagate(weighted(last, self._hidden(x, layers, dropout))) + last.bias

    def _hidden(self, x: Tensor, layers: Sequence[Adjacency], dropout: torch.Generator | None) -> Tensor:
        x = dropped(x, self.rate_input, dropout)
        for own, layer in zip(self.layers[:-1], layers[:-1], strict=True):
            linear = cast(nn.Linear, own)
            x = (layer.propagate(weighted(linear, x)) + linear.bias).relu()
            x = dropped(x, self.rate, dropout)
        return x


@GRAPH_NETWORKS.register("gat")
class GAT(GraphNetwork):
    """Two layers of attention to neighbours, the first with several heads. Velickovic et al., ICLR 2018, 1710.10903.

    What it embeds is what its last layer attends to.

    The weight of an edge multiplies the exponential of its logit, which changes nothing where weights are 1.
    """

    def __init__(self, features: int, classes: int, width: int = 8, heads: int = 8, dropout: float = 0.5) -> None:
        super().__init__()
        self.depth, self.rate = 2, dropout
        self.first = Attention(features, heads, width)
        self.last = Attention(width * heads, 1, classes)

    def embed(self, x: Tensor, layers: Sequence[Adjacency], dropout: torch.Generator | None = None) -> Tensor:
        return dropped(F.elu(self.first(x, layers[0])), self.rate, dropout)

    def forward(self, x: Tensor, layers: Sequence[Adjacency], dropout: torch.Generator | None = None) -> Tensor:
        found: Tensor = self.last(self.embed(x, layers, dropout), layers[1])
        return found


class Attention(nn.Module):
    """A layer of attention: (M, F) -> (M, heads * width)."""

    def __init__(self, features: int, heads: int, width: int) -> None:
        super().__init__()
        self.values = nn.Linear(features, heads * width)
        self.target = nn.Linear(width, heads, bias=False)
        self.source = nn.Linear(width, heads, bias=False)

    def forward(self, x: Tensor, layer: Adjacency) -> Tensor:
        values = weighted(self.values, x).unflatten(1, self.target.weight.shape)  # (M, H, D)
        target, source = ((values * own.weight).sum(2) for own in (self.target, self.source))  # (M, H)
        return layer.attend(values, target, source).flatten(1) + self.values.bias


def weighted(linear: nn.Linear, x: Tensor) -> Tensor:
    """Return the product of dense or sparse x, (M, F), and a layer's weights, without its bias."""
    return torch.sparse.mm(x, linear.weight.T) if x.is_sparse else x @ linear.weight.T


def dropped(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Return x with a share of its numbers set to 0 and the others scaled up; of sparse x those that are stored.

    Args:
        generator: on the CPU, so that the same numbers are dropped on every device; None drops nothing
    """
    if generator is None or rate == 0:
        return x
    if x.is_sparse:
        values = dropped(x.values(), rate, generator)
        return torch.sparse_coo_tensor(x.indices(), values, x.shape, is_coalesced=True, check_invariants=False)
    kept = torch.rand(x.shape, generator=generator) >= rate
    return x * kept.to(x.device, non_blocking=True) / (1 - rate)


def build_graph_network(name: str, features: int, classes: int, parameters: Mapping[str, Any]) -> GraphNetwork:
    """Build a network for nodes of F features and K classes.

    Args:
        parameters: keyword parameters of the architecture; the others keep their defaults

    Raises:
        UserError: for an unknown network or parameter, or a value that it cannot have.
    """
    cls = GRAPH_NETWORKS.get(name)
    known = dict(list(inspect.signature(cls).parameters.items())[2:])
    for key, value in parameters.items():
        if key not in known:
            raise UserError(f"network {name!r} has no parameter {key!r}; {suggestion(key, known)}")
        whole = isinstance(known[key].default, int)
        if whole and not (type(value) is int and 1 <= value <= MOST):
            raise UserError(f"{key} of network {name!r} is {value!r}; it must be a whole number from 1 to {MOST}")
        if not whole and not (type(value) in (int, float) and 0 <= value < 1):
            raise UserError(f"{key} of network {name!r} is {value!r}; it must be at least 0 and below 1")
    return cls(features, classes, **parameters)
