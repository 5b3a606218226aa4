"""Networks trained on an artefact of a graph and tested on the graph itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.compute import host
from ddbench.compute.generators import derive_seed, seeded
from ddbench.evaluation.descent import optimizer_of
from ddbench.evaluation.labelling import check_labels_of_images
from ddbench.evaluation.losses import check_labels, training_loss
from ddbench.evaluation.modality import Evaluator
from ddbench.evaluation.protocols import AnyProtocol, Protocol, register_protocol
from ddbench.evaluation.schedule import schedule_of
from ddbench.evaluation.selection import moments, select
from ddbench.graphs.adjacency import Adjacency, SparseAdjacency, normalised
from ddbench.graphs.data import Graph
from ddbench.graphs.decoders import adjacency_of
from ddbench.graphs.networks import GraphNetwork, build_graph_network
from ddbench.networks import InitialWeights
from ddbench.records.cell import NetworkSpec
from ddbench.records.schema import Score
from ddbench.registry import PROTOCOLS as PROTOCOLS
from ddbench.task.settings.base import share

READ_EVERY = 5
"""steps between two readings of a network on the validation and the test nodes"""

register_protocol(
    Protocol(
        "gcn-600@1",
        "Jin et al., ICLR 2022 (arXiv 2110.07580), the authors' evaluation: Adam on all nodes at a time; they report "
        "the test accuracy at the step that is best on the validation nodes, here shown beside that of the last step",
        steps=600,
        short=600,
        batch_size=10**6,
        optimizer="adam",
    )
)
register_protocol(
    Protocol(
        "gcn-full-200@1",
        "Kipf & Welling, ICLR 2017 (arXiv 1609.02907): Adam for 200 steps on the labelled nodes of the graph itself; "
        "weight decay is on all layers, theirs on the first, and the last step counts, theirs may stop before",
        steps=200,
        short=200,
        batch_size=10**6,
        decay_at=1.0,
        restart=False,
        optimizer="adam",
        kind="full_data",
    )
)


@dataclass(frozen=True)
class _Course:
    """What a network is trained on: features, one adjacency for each layer, labels and their kind, which outputs count.

    Attributes:
        rows: positions of the nodes with labels; None for all
    """

    x: Tensor
    layers: list[Adjacency]
    labels: Tensor
    kind: str
    rows: Tensor | None = None


@dataclass(frozen=True)
class GraphEvaluator:
    """Trains networks on artefacts under one protocol and tests them on the graph.

    Args:
        graph: its test nodes are scored on, its validation nodes select readings; lies on `device`
        protocol: how networks are trained
        network: which architecture
        device: where
        report: told the share of a training that is done, before every step
    """

    graph: Graph
    protocol: Protocol
    network: NetworkSpec
    device: torch.device
    report: Callable[[float], None] = lambda share: None

    @cached_property
    def module(self) -> GraphNetwork:
        """The architecture; its own parameters are never used."""
        spec, features = self.network, self.graph.size[1]
        return build_graph_network(spec.name, features, self.graph.classes, spec.parameters).to(self.device)

    @cached_property
    def whole(self) -> tuple[Tensor, list[Adjacency]]:
        """The graph's features and one adjacency for each layer."""
        adjacency = SparseAdjacency(normalised(self.graph.edges, self.graph.size[0]))
        return self.graph.features, [adjacency] * self.module.depth

    def reporting(self, report: Callable[[float], None]) -> GraphEvaluator:
        other = replace(self, report=report)
        vars(other).update({name: getattr(self, name) for name in ("module", "whole")})
        return other

    def under(self, network: NetworkSpec, protocol: AnyProtocol) -> Evaluator:
        if not isinstance(protocol, Protocol):
            raise TypeError(f"{protocol.name} is not for graphs")
        return replace(self, network=network, protocol=protocol)

    def starts_as(self, provenance: Mapping[str, Any]) -> bool:
        return True

    def score(self, artifact: DistilledDataset, *, seed: int, short: bool = False) -> Score:
        """Train the seed's network on the artefact and test it.

        Its weights, and what is dropped of it, come from the protocol's name, the architecture and `seed`, drawn on the
        CPU. The accuracy is that of the last step; `validation` is the test accuracy at the reading that is best on the
        validation nodes, `held_out` what the last step has on these, and `oracle` the best test accuracy.

        Args:
            seed: of the evaluation network, 0, 1, ...
            short: read at the end alone
        """
        test, held_out = list[float](), list[float]()
        for weights in self._readings(artifact, seed, short):
            answers = self._answers(weights)
            for found, nodes in ((test, self.graph.test), (held_out, self.graph.validation)):
                found.append(share(answers[nodes.cpu()] == host.read(self.graph.labels[nodes], "answers")))
        selected = select(test, held_out)
        metrics = {"held_out": held_out[-1], "validation": selected.validation, "oracle": selected.oracle}
        return Score(network=self.network, seed=seed, accuracy=test[-1], metrics=metrics)

    def logits(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Logits, (N, K), of a network with these weights for all nodes of the graph."""
        found: Tensor = functional_call(self.module, dict(weights), self.whole)
        return found

    def _answers(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The class of each node, (N,), in host memory."""
        with torch.no_grad():
            return host.read(self.logits(weights).argmax(1), "answers")

    def _course(self, artifact: DistilledDataset) -> _Course:
        if self.protocol.kind == "full_data":
            return _Course(*self.whole, self.graph.labels[self.graph.train], "index", self.graph.train)
        check_labels_of_images(artifact)
        parts = {name: part.to(self.device, non_blocking=True) for name, part in artifact.parts.items()}
        x, labels = artifact.decoder.decode(parts, 0, None)  # (n, F), (n,) or (n, K)
        return _Course(x, [adjacency_of(parts)] * self.module.depth, labels, artifact.label_kind)

    def _readings(self, artifact: DistilledDataset, seed: int, short: bool) -> Iterator[dict[str, Tensor]]:
        """The weights of the seed's network while it is trained, in place: every few steps, the last at the end."""
        check_labels(self.protocol, artifact.label_kind)
        course = self._course(artifact)
        generator = seeded(derive_seed("evaluate", self.protocol.name, self.network, seed))
        fresh = InitialWeights(self.module)(generator)
        weights = {name: weight.to(self.device, copy=True).requires_grad_() for name, weight in fresh.items()}
        recipe = Recipe() if self.protocol.kind == "full_data" else artifact.recipe
        schedule = schedule_of(self.protocol, recipe, len(course.labels), short)
        optimizer, steps = optimizer_of(weights, schedule), len(schedule.lrs)
        read = set(moments(steps, 1 if short else max(1, steps // READ_EVERY)))
        for step, lr in enumerate(schedule.lrs):
            self.report(step / steps)
            if step == schedule.drop:
                optimizer = optimizer_of(weights, schedule)
            optimizer.param_groups[0]["lr"] = lr
            logits = functional_call(self.module, weights, (course.x, course.layers, generator))
            logits = logits if course.rows is None else logits[course.rows]
            loss = training_loss(self.protocol, logits, course.labels, course.kind)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step + 1 in read:
                yield weights
