"""What a method gets of a graph: labelled nodes, what surrounds them, fresh networks and named generators.

All nodes' features and edges decide what a method learns, as in every paper of the field; of labels it sees those of
the training nodes alone, and it does not learn which other nodes are validated or tested on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ddbench.compute.generators import Generators
from ddbench.graphs.adjacency import Adjacency, Field
from ddbench.graphs.networks import GraphNetwork
from ddbench.networks import InitialWeights


@dataclass(frozen=True, eq=False)
class LabelledNodes:
    """The training nodes.

    Attributes:
        features: (L, F), rows that sum to 1
        propagated: (L, F), the same after as many products with the normalised adjacency as the network has layers
        labels: (L,)
        edges: (L, L) of 0 and 1: which of them are neighbours
        fields: all that decides a network's outputs for those of each class, in the order of `class_indices`
        counts: their number in each class
    """

    features: Tensor
    propagated: Tensor
    labels: Tensor
    edges: Tensor
    fields: tuple[Field, ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features, (n, F), and labels, (n,), of some of them."""
        return self.features[indices], self.labels[indices]

    def class_indices(self, c: int) -> Tensor:
        """Return the indices of those of a class, (n_c,), ascending."""
        order, start = self.labels.argsort(stable=True), sum(self.counts[:c])
        return order[start : start + self.counts[c]]

    def choose(self, n: int, generator: torch.Generator) -> Tensor:
        """Return the indices of n random ones of each class, (K * n,), class by class."""
        chosen = []
        for c in range(len(self.counts)):
            order = torch.randperm(self.counts[c], generator=generator, device=generator.device)
            chosen.append(self.class_indices(c)[order[:n]])
        return torch.cat(chosen)

    def batch(self, n: int, generator: torch.Generator, of: range) -> tuple[Tensor, Tensor]:
        """Return random nodes of each class: features, (K * n, F), and labels, class by class."""
        return self.take(self.choose(n, generator))


class GraphTask:
    """One distillation problem on a graph.

    Args:
        real: the labelled nodes, on the device
        network: the architecture; its own parameters are never used, see `forward`
        ipc: nodes per class, the storage a method may fill
        generators: named, seeded from the cell and the distillation seed
        device: where tensors and generators live
    """

    decoder = "nodes"
    """what an artefact without edges is stored by"""

    def __init__(
        self, real: LabelledNodes, network: GraphNetwork, *, ipc: int, generators: Generators, device: torch.device
    ) -> None:
        self.real = real
        self.network = network
        self.classes = len(real.counts)
        self.shape = (real.features.shape[1],)
        self.ipc = ipc
        self.device = device
        self._generators = generators
        self._initial, self._embedding = InitialWeights(network), _Embedding(network)

    def generator(self, name: str, device: torch.device | str | None = None) -> torch.Generator:
        """The task's generator of that name, on the task's device unless said otherwise; the meter saves it."""
        return self._generators.get(name, device or self.device)

    def initial(self, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return fresh weights by parameter name."""
        return self._initial(generator or self.generator("initial"))

    def forward(self, weights: Mapping[str, Tensor], x: Tensor, layers: Sequence[Adjacency]) -> Tensor:
        """Logits, (R, K), of the network with these weights for features (M, F); nothing is dropped."""
        logits: Tensor = functional_call(self.network, dict(weights), (x, layers))
        return logits

    def embed(self, weights: Mapping[str, Tensor], x: Tensor, layers: Sequence[Adjacency]) -> Tensor:
        """What the network's last linear map reads, (R, D)."""
        named = {f"network.{name}": weight for name, weight in weights.items()}
        features: Tensor = functional_call(self._embedding, named, (x, layers))
        return features

    def loss(self, weights: Mapping[str, Tensor], x: Tensor, layers: Sequence[Adjacency], labels: Tensor) -> Tensor:
        """Mean cross-entropy of the network with these weights, a scalar; labels (R,) or probabilities (R, K)."""
        return F.cross_entropy(self.forward(weights, x, layers), labels)

    def layers(self, adjacency: Adjacency) -> list[Adjacency]:
        """Return one adjacency for each layer of the network."""
        return [adjacency] * self.network.depth

    def labels(self) -> Tensor:
        """The labels of a balanced set, (K * ipc,), class by class."""
        return torch.arange(self.classes, device=self.device).repeat_interleave(self.ipc)

    def real_init(self) -> Tensor:
        """Indices of random labelled nodes, (K * ipc,), class by class: the same for every method at one seed."""
        return self.real.choose(self.ipc, self.generator("real_init"))


class _Embedding(nn.Module):
    """Makes `embed` of a network callable through `functional_call`."""

    def __init__(self, network: GraphNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, layers: Sequence[Adjacency]) -> Tensor:
        return self.network.embed(x, layers)
