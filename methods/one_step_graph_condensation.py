"""One-step graph condensation: gradients are matched at fresh networks alone.

Jin, Tang, Jiang, Li, Zhang, Tang & Yin, "Condensing Graphs via One-Step Gradient Matching", KDD 2022, arXiv 2206.07746,
Algorithm 1 (DosCond), as the authors have it for nodes.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, LogRange, Meter, State, Weights, register_method
from ddbench.graphs.synthetic_graph import SyntheticGraph
from ddbench.graphs.task import GraphTask


@register_method("one_step_graph_condensation", aliases=["doscond"])
@dataclass(frozen=True)
class OneStepGraphCondensation:
    """One-step gradient matching of nodes (DosCond). Jin et al., KDD 2022.

    Each step draws fresh weights of the task's network and matches the gradients that the nodes of each class give them
    in the real and in the synthetic graph, by squared distance. It costs a forward and backward pass over all that the
    labelled nodes depend on, and a second-order pass through the synthetic graph for each class.

    Differences: the real gradient is of all neighbours, where the authors' code draws 10 and of each 5; edges are
    weights of a predictor, as in that code, where the paper draws them from a distribution.
    """

    family: ClassVar[str] = "gradient matching"
    paper: ClassVar[str] = "https://arxiv.org/abs/2206.07746"
    modalities: ClassVar[tuple[str, ...]] = ("graphs",)
    networks: ClassVar[tuple[str, ...]] = ("gcn", "sgc")
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 4, "period": 2, "edge_turns": 1}

    iterations: PositiveInt = 5000
    """steps, each with a fresh network"""
    edges: bool = True
    """learn edges, as a function of features; if not, the graph has none"""
    lr_features: Annotated[PositiveFloat, LogRange(1e-4, 1e-1)] = 1e-3
    """step size of Adam on the features"""
    lr_edges: Annotated[PositiveFloat, LogRange(1e-4, 1e-1)] = 1e-3
    """step size of Adam on the predictor of edges"""
    period: PositiveInt = 50
    """steps after which the turns of edges and features repeat"""
    edge_turns: NonNegativeInt = 10
    """how many of them change the predictor of edges; the others change features"""

    def distill(self, task: GraphTask, meter: Meter) -> DistilledDataset:
        synthetic = SyntheticGraph(task, self.edges, self.lr_features, self.lr_edges)
        for step in meter.steps(self.iterations, State(synthetic=synthetic), synthetic.artifact):
            weights = {name: weight.requires_grad_() for name, weight in task.initial().items()}
            logits = task.forward(weights, synthetic.features, task.layers(synthetic.adjacency()))  # (K * ipc, K)
            loss = logits.new_zeros(())
            for c in range(task.classes):
                own = slice(c * task.ipc, (c + 1) * task.ipc)
                ours = self._gradient(logits[own], synthetic.labels[own], weights, create_graph=True)
                field = task.real.fields[c]
                real = task.forward(weights, field.features, field.layers)  # (n_c, K)
                theirs = self._gradient(real, task.real.labels[task.real.class_indices(c)], weights)
                loss = loss + sum((a - b).square().sum() for a, b in zip(ours, theirs, strict=True))
            synthetic.descend(loss, edges=self.edges and step % self.period < self.edge_turns)
            meter.log(loss=loss)
        return synthetic.artifact()

    def _gradient(
        self, logits: torch.Tensor, labels: torch.Tensor, weights: Weights, create_graph: bool = False
    ) -> tuple[torch.Tensor, ...]:
        """Return the gradient of the mean cross-entropy of some nodes, a tensor for each of the weights."""
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph, retain_graph=create_graph)
