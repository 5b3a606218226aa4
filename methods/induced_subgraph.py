"""Real nodes with the edges between them: the control that every method on graphs must beat.

A baseline of Jin et al., "Graph Condensation for Graph Neural Networks", ICLR 2022, arXiv 2110.07580, section 4, which
takes its coresets from Welling, "Herding dynamical weights to learn", ICML 2009, and Sener & Savarese, ICLR 2018.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ddbench import DistilledDataset, Meter, register_method
from ddbench.graphs.decoders import DenseGraph, Nodes
from ddbench.graphs.task import GraphTask


@register_method("induced_subgraph", aliases=["random_subgraph"])
@dataclass(frozen=True)
class InducedSubgraph:
    """The subgraph of chosen labelled nodes. Jin et al. 2022, section 4 ("Random", "Herding", "K-Center").

    At random it takes the nodes from which every method starts at the same seed. It costs nothing, or a distance from
    every node of a class for each one chosen.

    Differences: the coresets compare propagated features, where the authors train a network for its embeddings.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/2110.07580"
    modalities: ClassVar[tuple[str, ...]] = ("graphs",)
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {}

    choice: Literal["random", "herding", "k_center"] = "random"
    """which nodes of a class are taken: any; by `herding`, those whose mean is closest to the class mean; by
    `k_center`, those that leave no node of the class far away"""
    edges: bool = True
    """store the edges between them, not the nodes alone"""

    def distill(self, task: GraphTask, meter: Meter) -> DistilledDataset:
        chosen = task.real_init() if self.choice == "random" else self._coreset(task)  # (K * ipc,), class by class
        features, labels = task.real.take(chosen)
        parts = {"features": features, "labels": labels}
        if not self.edges:
            return DistilledDataset(parts, Nodes())
        return DistilledDataset({**parts, "edges": task.real.edges[chosen][:, chosen]}, DenseGraph())

    def _coreset(self, task: GraphTask) -> Tensor:
        choose, found = herd if self.choice == "herding" else centers, []
        for c in range(task.classes):
            indices = task.real.class_indices(c)
            found.append(indices[choose(task.real.propagated[indices], task.ipc)])
        return torch.cat(found)


def herd(features: Tensor, n: int) -> Tensor:
    """Choose n rows of (N, F), each to bring their mean closest to that of all; return their positions, (n,)."""
    mean, total = features.mean(0), torch.zeros_like(features[0])
    distance, chosen = torch.zeros(len(features), device=features.device), list[Tensor]()
    for count in range(1, n + 1):
        found = (mean - (total + features) / count).square().sum(1) + distance
        best = found.argmin(0, keepdim=True)
        distance = distance.index_fill(0, best, torch.inf)  # nothing is taken twice
        total = total + features.index_select(0, best)[0]
        chosen.append(best)
    return torch.cat(chosen)


def centers(features: Tensor, n: int) -> Tensor:
    """Choose n rows of (N, F): the one nearest to the mean, then each time the one farthest from those chosen; (n,)."""
    nearest = torch.full((len(features),), torch.inf, device=features.device)
    best, chosen = (features - features.mean(0)).square().sum(1).argmin(0, keepdim=True), list[Tensor]()
    for _ in range(n):
        chosen.append(best)
        distance = (features - features.index_select(0, best)).square().sum(1)
        nearest = torch.minimum(nearest, distance).index_fill(0, best, -1)
        best = nearest.argmax(0, keepdim=True)
    return torch.cat(chosen)
