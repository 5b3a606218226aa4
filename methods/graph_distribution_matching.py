"""Graph distribution matching: real and synthetic nodes of a class have similar mean embeddings.

Liu, Li, Chen & Song, "Graph Condensation via Receptive Field Distribution Matching", 2022, arXiv 2206.13697 (GCDM).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, LogRange, Meter, State, register_method
from ddbench.graphs.synthetic_graph import SyntheticGraph
from ddbench.graphs.task import GraphTask


@register_method("graph_distribution_matching", aliases=["gcdm"])
@dataclass(frozen=True)
class GraphDistributionMatching:
    """Matching of receptive fields (GCDM; without `edges`, GCDM-X). Liu et al. 2022.

    A node's embedding in a fresh network of the task is a function of its receptive field; each step compares the mean
    embeddings of each class's nodes in the real and in the synthetic graph. It costs a forward pass over all that the
    labelled nodes depend on, and a first-order pass through the synthetic graph.

    Differences: every step has a fresh network, as in distribution matching of images, where the paper trains one
    between matchings.
    """

    family: ClassVar[str] = "distribution matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2206.13697"
    modalities: ClassVar[tuple[str, ...]] = ("graphs",)
    networks: ClassVar[tuple[str, ...]] = ("gcn", "sgc")
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 4, "period": 2, "edge_turns": 1}

    iterations: PositiveInt = 3000
    """steps, each with a fresh network"""
    edges: bool = True
    """learn edges, as a function of features; if not, the graph has none"""
    lr_features: Annotated[PositiveFloat, LogRange(3e-5, 3e-2)] = 3e-4
    """step size of Adam on the features"""
    lr_edges: Annotated[PositiveFloat, LogRange(3e-5, 3e-2)] = 3e-4
    """step size of Adam on the predictor of edges"""
    period: PositiveInt = 30
    """steps after which the turns of edges and features repeat"""
    edge_turns: NonNegativeInt = 10
    """how many of them change the predictor of edges; the others change features"""

    def distill(self, task: GraphTask, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticGraph(task, self.edges, self.lr_features, self.lr_edges)
        for step in meter.steps(self.iterations, State(synthetic=synthetic), synthetic.artifact):
            weights = task.initial()  # a fresh network
            real = [task.embed(weights, field.features, field.layers) for field in task.real.fields]  # (n_c, D) each
            theirs = torch.stack([own.mean(0) for own in real])  # (K, D)
            nodes = task.embed(weights, synthetic.features, task.layers(synthetic.adjacency()))  # (K * ipc, D)
            ours = nodes.unflatten(0, (task.classes, task.ipc)).mean(1)  # (K, D)
            loss = (ours - theirs).square().mean(1).sum()
            synthetic.descend(loss, edges=self.edges and step % self.period < self.edge_turns)
            meter.log(loss=loss)
        return synthetic.artifact()
