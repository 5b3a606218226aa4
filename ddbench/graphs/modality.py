"""The modality `graphs`: data sets of one graph each, their tasks, and what scores artefacts on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.generators import Generators, seeded
from ddbench.errors import UserError
from ddbench.evaluation.modality import Described, Evaluator, Place, TrainingFile
from ddbench.evaluation.protocols import Protocol
from ddbench.graphs.checks import check_graph_artifact
from ddbench.graphs.data import Graph
from ddbench.graphs.evaluator import GraphEvaluator
from ddbench.graphs.files import load_graph, save_graph
from ddbench.graphs.networks import GRAPH_NETWORKS, build_graph_network
from ddbench.graphs.task import GraphTask
from ddbench.graphs.training_file import TrainingGraph, read_training_graph, write_training_graph
from ddbench.records.cell import Cell, NetworkSpec
from ddbench.registry import METHODS, MODALITIES, PROTOCOLS

PREPROCESSING = "normalize"
"""the preprocessing of a cell, which for graphs is that of features: rows that sum to 1"""


@dataclass(frozen=True)
class GraphData:
    """A graph with the split that a cell scores on."""

    graph: Graph

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def digest(self) -> str:
        return self.graph.digest

    def check(self, artifact: DistilledDataset, described: Described, seed: int | None) -> None:
        check_graph_artifact(artifact, self.graph.size[1], self.graph.classes, described.ipc)


@dataclass(frozen=True)
class GraphTraining:
    """The task of a run, and the check of what comes out."""

    task: GraphTask
    origin: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def check(self, artifact: DistilledDataset) -> None:
        task = self.task
        check_graph_artifact(artifact, task.shape[0], task.classes, task.ipc)


class Graphs:
    """Nodes of one graph that are to be classified."""

    name = "graphs"

    def data(self, dataset: str, split: str, peek: float | None) -> GraphData:
        if peek is not None:
            raise UserError(
                "peek holds training images back, and a graph has validation nodes of its own; leave it out"
            )
        return GraphData(load_graph(dataset).split(split))

    def check(self, cell: Cell, dataset: str, method: Any) -> None:
        graph = self.data(dataset, cell.split, cell.peek).graph
        if self.name not in getattr(method, "modalities", ()):
            known = [name for name in METHODS if self.name in getattr(METHODS.get(name), "modalities", ())]
            raise UserError(f"{method.name} is not for graphs; choose one of {', '.join(known)}")
        if cell.setting != "random":
            raise UserError(f"setting {cell.setting!r} is for images; networks on graphs start at random: leave it out")
        if cell.preprocessing != PREPROCESSING:
            raise UserError(f"preprocessing {cell.preprocessing!r} is for images; leave it out")
        if cell.ipc > min(graph.counts):
            raise UserError(
                f"ipc {cell.ipc} is larger than the smallest class of {graph.name} ({min(graph.counts)} labelled "
                "nodes); lower it"
            )
        for network, protocol in [
            (cell.network, cell.protocol),
            *((way.network, way.protocol) for way in cell.also or []),
        ]:
            _check_protocol(protocol)
            _check_network(network, graph)
        wanted = getattr(method, "networks", None)
        if wanted is not None and cell.network.name not in wanted:
            raise UserError(
                f"{method.name} distils with {' or '.join(wanted)}, not {cell.network}; score others by also"
            )

    def prepare(self, cell: Cell, dataset: str, folder: Path, place: Place) -> TrainingFile:
        return write_training_graph(folder, _found(cell, dataset))

    def lay_noise(self, dataset: str, folder: Path) -> None:
        graph = load_graph(dataset)
        hidden = torch.cat([graph.validation, graph.test])
        noise = torch.randint(graph.classes, (len(hidden),), generator=seeded(0))
        save_graph(folder / f"{graph.name}.npz", replace(graph, labels=graph.labels.index_copy(0, hidden, noise)))

    def training(self, cell: Cell, file: TrainingFile, generators: Generators, place: Place) -> GraphTraining:
        graph = read_training_graph(file)
        origin = {"dataset": cell.dataset_digest, "network": str(cell.network)}
        return training_on(graph, cell.network, cell.ipc, generators, place.device, origin)

    def evaluator(self, described: Described, dataset: str, place: Place) -> Evaluator:
        graph = _found(described, dataset).to(place.device)
        _check_protocol(described.protocol)
        _check_network(described.network, graph)
        protocol = PROTOCOLS.get(described.protocol)
        assert isinstance(protocol, Protocol)
        return GraphEvaluator(graph, protocol, described.network, place.device, partial(place.report, "evaluate"))

    def show(self, file: Path, out: Path, dataset: str | None = None) -> None:
        from ddbench.graphs.pictures import draw  # matplotlib takes a second

        draw(DistilledDataset.load(file), out)

    def tiny(self, setting: str, generators: Generators, ipc: int = 2, device: str = "cpu") -> GraphTraining:
        """The training of the contract's tiny task: `tiny_graph` and a network of one small hidden layer."""
        from ddbench.graphs.tiny import tiny_graph

        network = NetworkSpec(name="gcn", parameters={"width": 8})
        return training_on(TrainingGraph.of(tiny_graph()), network, ipc, generators, torch.device(device), {})


MODALITIES.register("graphs")(Graphs())


def training_on(
    graph: TrainingGraph,
    network: NetworkSpec,
    ipc: int,
    generators: Generators,
    device: torch.device,
    origin: Mapping[str, Any],
) -> GraphTraining:
    """Return what a run on a graph distils with."""
    made = build_graph_network(network.name, graph.features.shape[1], graph.classes, network.parameters)
    real = graph.labelled(made.depth, device)
    task = GraphTask(real, made.to(device), ipc=ipc, generators=generators, device=device)
    return GraphTraining(task, origin, {"preprocessing": {"kind": "rows_sum_to_one"}})


def _found(described: Described, dataset: str) -> Graph:
    """Return the graph of a cell or an artefact, with its split.

    Raises:
        UserError: when it is another one.
    """
    graph, (wanted, _, split) = load_graph(dataset), described.dataset_digest.partition("+")
    if graph.digest != wanted:
        raise UserError(
            f"data set {described.dataset!r} with digest {wanted[:19]} is asked for, but {graph.name!r} here is "
            f"another one ({graph.digest[:19]}); name or provide the right one"
        )
    return graph.split(split or "test")


def _check_protocol(name: str) -> None:
    protocol = PROTOCOLS.get(name)
    known = [own for own in PROTOCOLS if own.startswith("gcn-")]
    if not isinstance(protocol, Protocol) or protocol.augmentation != "none" or protocol.mixup or protocol.average:
        raise UserError(f"protocol {name} is for images; choose {' or '.join(known)} for graphs")


def _check_network(network: NetworkSpec, graph: Graph) -> None:
    if network.name not in GRAPH_NETWORKS:
        raise UserError(f"network {network} is not for graphs; choose {', '.join(GRAPH_NETWORKS)}")
    build_graph_network(network.name, graph.size[1], graph.classes, network.parameters)
