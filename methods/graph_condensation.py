"""Graph condensation: a graph gives a network's weights the gradients that the real graph gives them.

Jin, Zhao, Zhang, Liu, Tang & Shah, "Graph Condensation for Graph Neural Networks", ICLR 2022, arXiv 2110.07580,
Algorithm 1 (GCond).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, LogRange, Meter, State, register_method
from ddbench.graphs.linear import LinearClassifier, output_distance
from ddbench.graphs.synthetic_graph import SyntheticGraph
from ddbench.graphs.task import GraphTask


@register_method("graph_condensation", aliases=["gcond"])
@dataclass(frozen=True)
class GraphCondensation:
    """Graph condensation (GCond; without `edges`, GCond-X). Jin et al., ICLR 2022, Algorithm 1.

    The network is a linear classifier of features that are propagated twice, whatever evaluates the graph, so that both
    sides' gradients have a closed form. A fresh one is matched and trained on the synthetic graph in turns; a step is a
    matching with the training before it. It costs a pass over the labelled nodes' propagated features, one over the
    synthetic nodes, and with edges the predictor of edges on every pair of them.

    Differences: the real gradient is of all neighbours, where the authors' code draws 10 and of each 5; labels and the
    nodes that features start from are of the same class, where in its released graphs they are not.
    """

    family: ClassVar[str] = "gradient matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2110.07580"
    modalities: ClassVar[tuple[str, ...]] = ("graphs",)
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 2,
        "matchings": 3,
        "training_steps": 2,
        "period": 2,
        "edge_turns": 1,
    }

    iterations: PositiveInt = 601
    """fresh networks"""
    matchings: PositiveInt = 20
    """matchings with each network"""
    training_steps: NonNegativeInt = 15
    """training steps on the synthetic graph between two matchings, by Adam"""
    edges: bool = True
    """learn edges, as a function of features; if not, the graph has none"""
    lr_features: Annotated[PositiveFloat, LogRange(1e-5, 1e-2)] = 1e-4
    """step size of Adam on the features"""
    lr_edges: Annotated[PositiveFloat, LogRange(1e-5, 1e-2)] = 1e-4
    """step size of Adam on the predictor of edges"""
    lr_network: PositiveFloat = 0.01
    """step size of Adam on the network"""
    period: PositiveInt = 50
    """fresh networks after which the turns of edges and features repeat"""
    edge_turns: NonNegativeInt = 10
    """how many of them change the predictor of edges; the others change features"""

    def distill(self, task: GraphTask, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticGraph(task, self.edges, self.lr_features, self.lr_edges)
        network = LinearClassifier(*task.shape, task.classes, self.lr_network, task.device)
        state = State(synthetic=synthetic, network=network)
        order = torch.cat([task.real.class_indices(c) for c in range(task.classes)])
        real, counts = task.real.propagated[order], task.real.counts  # (L, F), class by class
        answers, targets = (F.one_hot(y, task.classes).float() for y in (task.real.labels[order], task.labels()))
        for step in meter.steps(self.iterations * self.matchings, state, synthetic.artifact):
            number, matching = divmod(step, self.matchings)
            nodes = synthetic.propagated()  # (K * ipc, F), class by class
            if matching:
                state.network.train(nodes.detach(), targets, self.training_steps)
            else:
                state.network.restart(task.generator("networks"))
            theirs = state.network.class_gradients(real, answers, counts)  # (K, K, F)
            ours = state.network.class_gradients(nodes, targets, [task.ipc] * task.classes)  # (K, K, F)
            loss = output_distance(ours, theirs)
            synthetic.descend(loss, edges=self.edges and number % self.period < self.edge_turns)
            meter.log(loss=loss)
        return synthetic.artifact()
