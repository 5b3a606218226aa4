"""Products with a graph's normalised adjacency matrix, sparse or dense, and attention along its edges.

Kipf & Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017, arXiv 1609.02907: the
matrix is D^-1/2 (A + I) D^-1/2, with the degrees D of A + I.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from ddbench.errors import UserError


class Adjacency(Protocol):
    """What a layer of a graph network gathers a node's neighbours with: R nodes from M nodes, mostly the same."""

    def propagate(self, x: Tensor) -> Tensor:
        """Return the product of the normalised matrix and x, (M, D) -> (R, D)."""
        ...

    def attend(self, values: Tensor, target: Tensor, source: Tensor) -> Tensor:
        """Return the means of neighbours' values by attention, (R, H, D).

        Args:
            values: (M, H, D), of H heads
            target, source: (R, H) and (M, H); a leaky ReLU of their sum is the logit of an edge, whose weight the
                exponential is multiplied by
        """
        ...


class NoEdges:
    """A graph without edges: each node has itself alone."""

    def propagate(self, x: Tensor) -> Tensor:
        return x

    def attend(self, values: Tensor, target: Tensor, source: Tensor) -> Tensor:
        return values


@dataclass(frozen=True, eq=False)
class DenseAdjacency:
    """A weighted graph in an (n, n) matrix, which gradients pass through.

    Args:
        edges: weights of at least 0; those of nodes with themselves are added to 1
    """

    edges: Tensor

    @cached_property
    def with_loops(self) -> Tensor:
        """The weights with 1 added on the diagonal, (n, n)."""
        return self.edges + torch.eye(len(self.edges), dtype=self.edges.dtype, device=self.edges.device)

    @cached_property
    def matrix(self) -> Tensor:
        """The normalised matrix, (n, n)."""
        root = self.with_loops.sum(1).rsqrt()
        return root[:, None] * self.with_loops * root

    def propagate(self, x: Tensor) -> Tensor:
        return self.matrix @ x

    def attend(self, values: Tensor, target: Tensor, source: Tensor) -> Tensor:
        logits = leaky(target[:, None] + source[None])  # (n, n, H)
        logits = logits.masked_fill((self.with_loops == 0)[..., None], -torch.inf)
        shares = (logits - logits.amax(1, keepdim=True).detach()).exp() * self.with_loops[..., None]
        found: Tensor = torch.einsum("rmh,mhd->rhd", shares / shares.sum(1, keepdim=True), values)
        return found


@dataclass(frozen=True, eq=False)
class SparseAdjacency:
    """A graph of N nodes in a sparse matrix.

    Args:
        matrix: normalised, (N, N) sparse, symmetric; `normalised` makes it
    """

    matrix: Tensor

    def propagate(self, x: Tensor) -> Tensor:
        found: Tensor = torch.sparse.mm(self.matrix, x)
        return found

    def attend(self, values: Tensor, target: Tensor, source: Tensor) -> Tensor:
        to, of = self.matrix.indices()  # (E,) each; every edge has the weight 1
        logits = leaky(target[to] + source[of])  # (E, H)
        places = to[:, None].expand_as(logits)
        highest = torch.full_like(target, -torch.inf).scatter_reduce(0, places, logits.detach(), "amax")
        shares = (logits - highest[to]).exp()
        sums = torch.zeros_like(target).index_add(0, to, shares)
        gathered = torch.zeros_like(values).index_add(0, to, shares[..., None] * values[of])
        return gathered / sums[..., None]


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows and columns of a normalised matrix: what some nodes gather from the nodes that they have edges with.

    Args:
        matrix: (R, M)
    """

    matrix: Tensor

    def propagate(self, x: Tensor) -> Tensor:
        return self.matrix @ x

    def attend(self, values: Tensor, target: Tensor, source: Tensor) -> Tensor:
        raise UserError("attention is not computed for a part of a graph; distil with network gcn or sgc")


def leaky(logits: Tensor) -> Tensor:
    """Return the activation of attention's logits: a leaky ReLU of slope 0.2, as in its paper."""
    found: Tensor = torch.nn.functional.leaky_relu(logits, 0.2)
    return found


def normalised(edges: Tensor, nodes: int) -> Tensor:
    """Return D^-1/2 (A + I) D^-1/2 of a graph whose edges, (E, 2), are each there once; (N, N) sparse, float32."""
    loops = torch.arange(nodes, device=edges.device)
    ends = torch.cat([edges.T, edges.T.flip(0), loops.expand(2, nodes)], 1)  # (2, 2 E + N)
    root = torch.bincount(ends[0], minlength=nodes).float().rsqrt()
    weights = root[ends[0]] * root[ends[1]]
    return torch.sparse_coo_tensor(ends, weights, (nodes, nodes), check_invariants=False).coalesce()


@dataclass(frozen=True, eq=False)
class Field:
    """All that decides the outputs of some nodes: their neighbours' features, once propagated, and the rest as blocks.

    A network that is called with `features` and `layers` gives for the nodes what it gives for them on the whole graph,
    at a fraction of the cost.

    Args:
        features: (M, F), once propagated, of the nodes at all but the last step from those nodes
        layers: one `Adjacency` for each layer; the first does nothing, since its product is taken already
    """

    features: Tensor
    layers: Sequence[Adjacency]

    @property
    def propagated(self) -> Tensor:
        """The nodes' features, propagated once for each layer."""
        found = self.features
        for layer in self.layers:
            found = layer.propagate(found)
        return found

    def to(self, device: torch.device) -> Field:
        """Return the same field on a device."""
        moved = [Block(layer.matrix.to(device)) if isinstance(layer, Block) else layer for layer in self.layers]
        return Field(self.features.to(device), moved)


def field_of(features: Tensor, matrix: Tensor, nodes: Tensor, depth: int) -> Field:
    """Return what decides the outputs of some nodes in a network of so many layers.

    Args:
        features: (N, F) sparse
        matrix: normalised, (N, N) sparse
        nodes: (R,), their positions
    """
    layers = list[Adjacency]()
    for _ in range(depth - 1):
        rows = matrix.index_select(0, nodes).coalesce()
        nodes, places = torch.unique(rows.indices()[1], return_inverse=True)
        block = torch.zeros(rows.shape[0], len(nodes))
        block[rows.indices()[0], places] = rows.values()
        layers.insert(0, Block(block))
    once = torch.sparse.mm(matrix.index_select(0, nodes), features.to_dense())  # sparse by sparse is in beta
    return Field(once, [NoEdges(), *layers])
