"""Graphs: their files, products with the adjacency, networks, artefacts and evaluation, against dense textbooks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.board import make_board
from ddbench.boards.jobs import resolve
from ddbench.cli.registry import prepare
from ddbench.compute.generators import Generators, derive_seed, seeded
from ddbench.data import load_dataset_no_more
from ddbench.errors import UserError
from ddbench.graphs import planetoid
from ddbench.graphs.adjacency import Adjacency, DenseAdjacency, NoEdges, SparseAdjacency, field_of, normalised
from ddbench.graphs.data import Features, Graph, make_graph
from ddbench.graphs.decoders import DenseGraph, Nodes
from ddbench.graphs.edge_predictor import EdgePredictor
from ddbench.graphs.evaluator import GraphEvaluator
from ddbench.graphs.files import is_graph, load_graph, read_graph, save_graph
from ddbench.graphs.linear import LinearClassifier, output_distance
from ddbench.graphs.modality import Graphs, GraphTraining, _found
from ddbench.graphs.networks import GRAPH_NETWORKS, build_graph_network, dropped
from ddbench.graphs.task import GraphTask
from ddbench.graphs.tiny import tiny_graph
from ddbench.graphs.training_file import TrainingGraph, read_training_graph, write_training_graph
from ddbench.meter.meter import Meter
from ddbench.networks import InitialWeights
from ddbench.records.cell import Budget, NetworkSpec
from ddbench.registry import PROTOCOLS, discover
from methods.graph_condensation import GraphCondensation
from methods.graph_distribution_matching import GraphDistributionMatching
from methods.induced_subgraph import InducedSubgraph, centers, herd
from methods.one_step_graph_condensation import OneStepGraphCondensation
from methods.propagated_k_means import PropagatedKMeans

EDGES = np.array([[0, 1], [1, 2], [2, 1], [3, 3]])  # a path of three nodes, and one alone; one is there twice
NODES = {"train": np.array([0, 2]), "validation": np.array([1]), "test": np.array([3])}
LABELS = np.array([0, 0, 1, 1])
SPARSE = Features(np.array([0, 2, 3, 3, 4]), np.array([0, 2, 1, 2]), np.array([1.0, 3.0, 2.0, 5.0]), (4, 3))
SMALL = NetworkSpec(name="gcn", parameters={"width": 8})


def small(**changes: Any) -> Graph:
    values: dict[str, Any] = {"features": SPARSE, "edges": EDGES, "labels": LABELS, "nodes": NODES, **changes}
    return make_graph("small", **values)


def dense(graph: Graph) -> Tensor:
    """The adjacency of a graph, (N, N), of 0 and 1."""
    edges = torch.zeros(graph.size[0], graph.size[0])
    for a, b in graph.edges.tolist():
        edges[a, b] = edges[b, a] = 1
    return edges


def artifact_of(graph: Graph, edges: Tensor | None = None) -> DistilledDataset:
    """The first two training nodes of each class."""
    chosen = torch.cat([graph.train[graph.labels[graph.train] == c][:2] for c in range(graph.classes)])
    parts = {"features": graph.features.to_dense()[chosen], "labels": graph.labels[chosen]}
    return (
        DistilledDataset(parts, Nodes()) if edges is None else DistilledDataset({**parts, "edges": edges}, DenseGraph())
    )


# -- data -------------------------------------------------------------------------------------------------------------


def test_a_graph_by_hand() -> None:
    graph = small()
    assert graph.edges.tolist() == [[0, 1], [1, 2]]
    assert graph.features.to_dense().tolist() == [[0.25, 0, 0.75], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert (graph.counts, graph.classes) == ([1, 1], 2)


def test_a_file_gives_the_graph_back(tmp_path: Path) -> None:
    graph = tiny_graph()
    save_graph(tmp_path / "tiny.npz", graph)
    assert read_graph(tmp_path / "tiny.npz").digest == graph.digest
    other = dataclasses.replace(graph, labels=graph.labels.flip(0), given_digest=None)
    assert other.digest != graph.digest


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"edges": np.array([[0, 4]])}, "small: edges hold 0 to 4; they must be at least 0 and below 4"),
        ({"edges": np.array([0, 1])}, r"small: edges have type int64, shape \(2,\); save \(N, 2\) integers"),
        ({"labels": LABELS[:3]}, "small: labels are 3 for 4 nodes; save one label for each node"),
        ({"labels": np.array([0, 0, -1, 1])}, "small: a node of train has no label; leave it out of train"),
        ({"labels": np.array([0, 0, 2, 1])}, "small: no training node has class 1; label one of each class"),
        ({"nodes": {**NODES, "test": np.array([0])}}, "small: a node is in two of train, validation, test"),
        ({"nodes": {**NODES, "test": np.array([3, 3])}}, "small: test is empty or names a node twice"),
        ({"features": dataclasses.replace(SPARSE, values=-SPARSE.values)}, "small: features are negative"),
        ({"features": dataclasses.replace(SPARSE, starts=np.array([0, 2, 3, 4]))}, "small: starts do not divide 4"),
        ({"features": dataclasses.replace(SPARSE, shape=(2**20, 2**20))}, "small: shape is 1048576 x 1048576"),
    ],
)
def test_bad_arrays_are_refused_by_name(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        small(**changes)


def test_files_that_are_no_graphs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDBENCH_DATA", raising=False)
    np.savez(tmp_path / "half.npz", edges=EDGES)
    with pytest.raises(UserError, match=r"half.npz has no array x_indptr, starts of the rows"):
        read_graph(tmp_path / "half.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"text.npz .*; write it again with numpy.savez"):
        load_graph(str(tmp_path / "text.npz"))
    with pytest.raises(UserError, match=r"cannot read .*gone.npz: No such file"):
        load_graph(str(tmp_path / "gone.npz"))
    with pytest.raises(UserError, match=r"unknown graph 'coar'; did you mean 'cora'\?"):
        load_graph("coar")


def test_a_validation_split_keeps_test_nodes_out() -> None:
    graph = tiny_graph()
    split = graph.split("validation(0.4)")
    assert sorted([*split.validation.tolist(), *split.test.tolist()]) == sorted(graph.validation.tolist())
    assert torch.bincount(split.labels[split.test]).tolist() == [2, 2, 2]
    assert torch.equal(split.train, graph.train)
    assert split.digest == f"{graph.digest}+validation(0.4)"
    with pytest.raises(UserError, match=r"split 'held_out\(0.1\)' of a graph is neither"):
        graph.split("held_out(0.1)")


def test_a_methods_process_loads_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = list[bool]()
    monkeypatch.setattr("ddbench.data._CLOSED", closed)
    load_dataset_no_more()
    with pytest.raises(UserError, match="no test data: load_graph is closed to it"):
        load_graph("cora")


# -- the download -----------------------------------------------------------------------------------------------------


class Csr:
    """What pickles as the sparse matrices of scipy's old releases do."""

    def __init__(self, rows: np.ndarray[Any, Any]) -> None:
        places = [np.flatnonzero(row) for row in rows]
        self.indices = np.concatenate(places).astype(np.int32)
        self.indptr = np.cumsum([0, *map(len, places)]).astype(np.int32)
        self.data = np.ones(len(self.indices), np.float32)
        self._shape = rows.shape


Csr.__module__, Csr.__qualname__, Csr.__name__ = "scipy.sparse.csr", "csr_matrix", "csr_matrix"


def planetoid_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Five nodes: one labelled, one between, and of three test nodes one that the files leave out."""
    import sys
    import types

    monkeypatch.setitem(sys.modules, "scipy.sparse.csr", types.SimpleNamespace(csr_matrix=Csr))  # type: ignore[arg-type]
    rows, labels = np.eye(4, dtype=np.float32), np.eye(2, dtype=np.int32)
    neighbours = defaultdict(list, {0: [1, 4], 1: [0], 4: [0, 2], 2: [4]})
    content = {
        "x": Csr(rows[:1]), "y": labels[:2], "allx": Csr(rows[:2]), "ally": labels,
        "tx": Csr(rows[2:]), "ty": labels[::-1], "graph": neighbours,
    }  # fmt: skip
    pickled = {
        part: pickle.dumps(value, protocol=3).replace(b"numpy._core", b"numpy.core") for part, value in content.items()
    }
    return {**pickled, "test.index": b"4\n2\n"}


def test_planetoid_files_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planetoid, "VALIDATION", 0)
    seen = dict[str, Any]()
    monkeypatch.setattr(planetoid, "make_graph", lambda *given: seen.update(zip("nfelp", given, strict=True)))
    planetoid.from_files("cora", planetoid_files(monkeypatch))
    features = seen["f"]
    # rows of allx are nodes 0 and 1; those of tx are nodes 4 and 2, as test.index says; node 3 has nothing
    assert (features.starts.tolist(), features.columns.tolist()) == ([0, 1, 2, 3, 3, 4], [0, 1, 3, 2])
    assert features.shape == (5, 4)
    assert seen["l"].tolist() == [0, 1, 0, -1, 1]
    assert seen["p"]["test"].tolist() == [2, 4]
    assert seen["p"]["train"].tolist() == [0, 1]
    assert sorted(map(tuple, np.sort(seen["e"], axis=1).tolist())) == [(0, 1), (0, 1), (0, 4), (0, 4), (2, 4), (2, 4)]


def test_only_known_files_are_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"builtins.print is none of its types"):
        planetoid._unpickled(pickle.dumps(print))
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(planetoid, "ADDRESS", (tmp_path / "there").as_uri() + "/")
    with pytest.raises(UserError, match=r"cannot get cora: .*; connect once .* or put cora.npz"):
        planetoid.download("cora")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "ind.cora.x").write_bytes(b"another")
    with pytest.raises(UserError, match=r"cannot get cora: ind.cora.x has another content"):
        planetoid.download("cora")
    known = hashlib.sha256(b"another").hexdigest()
    monkeypatch.setitem(planetoid.DIGESTS, "cora.x", known)
    assert planetoid._file(tmp_path / "cache", "cora.x") == b"another"
    (tmp_path / "there" / "ind.cora.x").unlink()
    assert planetoid._file(tmp_path / "cache", "cora.x") == b"another"  # from the cache


# -- products ---------------------------------------------------------------------------------------------------------


def test_the_normalised_adjacency_by_hand() -> None:
    # degrees with loops are 2, 3, 2, 1
    a, b = 1 / 2, 1 / 6**0.5
    expected = torch.tensor([[a, b, 0, 0], [b, 1 / 3, b, 0], [0, b, a, 0], [0, 0, 0, 1]])
    graph = small()
    assert torch.allclose(normalised(graph.edges, 4).to_dense(), expected)
    assert torch.allclose(DenseAdjacency(dense(graph)).matrix, expected)


def attended(values: Tensor, target: Tensor, source: Tensor, weights: Tensor) -> Tensor:
    """Attention node by node and head by head."""
    found = torch.zeros_like(values)
    for i, row in enumerate(weights):
        for head in range(values.shape[1]):
            near = row.nonzero().flatten()
            shares = F.leaky_relu(target[i, head] + source[near, head], 0.2).exp() * row[near]
            found[i, head] = (shares / shares.sum()) @ values[near, head]
    return found


@pytest.mark.parametrize("weighted", [False, True])
def test_attention_is_that_of_a_loop(weighted: bool) -> None:
    graph, generator = small(), seeded(0)
    values, target, source = (torch.randn(4, 2, *rest, generator=generator) for rest in ((3,), (), ()))
    edges = dense(graph) * (0.5 if weighted else 1.0)
    expected = attended(values, target, source, edges + torch.eye(4))
    assert torch.allclose(DenseAdjacency(edges).attend(values, target, source), expected, atol=1e-6)
    if not weighted:
        sparse = SparseAdjacency(normalised(graph.edges, 4))
        assert torch.allclose(sparse.attend(values, target, source), expected, atol=1e-6)
    alone = DenseAdjacency(torch.zeros(4, 4)).attend(values, target, source)
    assert torch.allclose(alone, NoEdges().attend(values, target, source))


@pytest.mark.parametrize("name", GRAPH_NETWORKS)
def test_a_network_gives_the_same_with_sparse_and_dense_graphs(name: str) -> None:
    graph = tiny_graph()
    network = build_graph_network(name, graph.size[1], graph.classes, {})
    weights = InitialWeights(network)(seeded(0))
    ways: list[tuple[Tensor, Adjacency]] = [
        (graph.features, SparseAdjacency(normalised(graph.edges, graph.size[0]))),
        (graph.features.to_dense(), DenseAdjacency(dense(graph))),
    ]
    one, two = (functional_call(network, weights, (x, [how] * network.depth)) for x, how in ways)
    assert one.shape == (60, 3)
    assert torch.allclose(one, two, atol=1e-5)


def test_networks_by_their_formulas() -> None:
    graph = tiny_graph()
    x, a = graph.features.to_dense(), DenseAdjacency(dense(graph))
    gcn = build_graph_network("gcn", 12, 3, {"width": 5})
    first, last = gcn.layers  # type: ignore[union-attr, misc]
    expected = a.matrix @ (a.matrix @ x @ first.weight.T + first.bias).relu() @ last.weight.T + last.bias
    assert torch.allclose(gcn(x, [a, a]), expected, atol=1e-6)
    sgc = build_graph_network("sgc", 12, 3, {})
    linear: Any = sgc.classifier
    assert torch.allclose(sgc(x, [a, a]), linear(a.matrix @ a.matrix @ x), atol=1e-6)
    assert torch.allclose(linear(sgc.embed(x, [a, a])), sgc(x, [a, a]), atol=1e-6)
    assert torch.allclose(last(gcn.embed(x, [a, a])), gcn(x, [a, a]), atol=1e-6)


@pytest.mark.parametrize(("name", "depth"), [("gcn", 1), ("gcn", 2), ("gcn", 3), ("sgc", 2)])
def test_a_field_decides_what_the_whole_graph_does(name: str, depth: int) -> None:
    graph = tiny_graph()
    network = build_graph_network(name, 12, 3, {"depth": depth})
    matrix = normalised(graph.edges, 60)
    field = field_of(graph.features, matrix, graph.train, depth)
    whole = network(graph.features, [SparseAdjacency(matrix)] * depth)[graph.train]
    assert torch.allclose(network(field.features, field.layers), whole, atol=1e-5)
    powers = torch.linalg.matrix_power(matrix.to_dense(), depth)
    assert torch.allclose(field.propagated, (powers @ graph.features.to_dense())[graph.train], atol=1e-6)


def test_dropping_keeps_the_mean_and_nothing_is_dropped_without_a_generator() -> None:
    x = torch.ones(100, 100)
    found = dropped(x, 0.25, seeded(0))
    assert found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert abs(float(found.mean()) - 1) < 0.02
    assert dropped(x, 0.25, None) is x
    sparse = dropped(x.to_sparse(), 0.25, seeded(0))
    assert torch.equal(sparse.to_dense().flatten(), dropped(torch.ones(10_000), 0.25, seeded(0)))


@pytest.mark.parametrize(
    ("name", "parameters", "complaint"),
    [
        ("gcnn", {}, "unknown graph network 'gcnn'; did you mean 'gcn'"),
        ("gcn", {"with": 3}, "network 'gcn' has no parameter 'with'; did you mean 'width'"),
        ("gcn", {"width": 0}, "width of network 'gcn' is 0; it must be a whole number from 1 to 4096"),
        ("gcn", {"width": True}, "width of network 'gcn' is True"),
        ("gat", {"dropout": 1.0}, "dropout of network 'gat' is 1.0; it must be at least 0 and below 1"),
    ],
)
def test_networks_that_cannot_be_are_refused(name: str, parameters: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        build_graph_network(name, 12, 3, parameters)


# -- artefacts --------------------------------------------------------------------------------------------------------


def check(artifact: DistilledDataset, ipc: int = 2) -> None:
    training(ipc).check(artifact)


def training(ipc: int = 2) -> GraphTraining:
    return Graphs().tiny("random", Generators("test"), ipc)


def test_an_artefact_is_kept_with_its_bytes(tmp_path: Path) -> None:
    graph, edges = tiny_graph(), torch.rand(6, 6, generator=seeded(0))
    for made, stored in ((artifact_of(graph), 6 * 12 * 4), (artifact_of(graph, edges), (6 * 12 + 6 * 6) * 4)):
        made.save(tmp_path / "a.safetensors")
        read = DistilledDataset.load(tmp_path / "a.safetensors")
        assert read.holds_what(made)
        assert read.stored_bytes() == {"images": stored, "labels": 6 * 8, "recipe": 0, "initial": 0}
        check(read)


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"features": torch.zeros(6, 11)}, r"its nodes have \(11,\) features, and the task's 12"),
        (
            {"features": torch.zeros(7, 12), "labels": torch.zeros(7, dtype=torch.int64)},
            "7 nodes where .* 3 classes x 2",
        ),
        ({"labels": torch.full((6,), 3)}, "labels lie outside 0 to 2"),
        ({"edges": torch.full((6, 6), -0.1)}, "an edge has a negative weight"),
        ({"edges": torch.zeros(5, 5)}, r"its edges have shape \(5, 5\), and its nodes are 6"),
    ],
)
def test_artefacts_that_do_not_fit_are_refused(parts: dict[str, Tensor], complaint: str) -> None:
    good = dict(artifact_of(tiny_graph()).parts) | parts
    with pytest.raises(ValueError, match=complaint):
        check(DistilledDataset(good, DenseGraph() if "edges" in good else Nodes()))


def test_an_artefact_of_images_is_none_of_a_graph() -> None:
    with pytest.raises(ValueError, match="decoder 'pixels' is not for graphs"):
        check(DistilledDataset.pixels(torch.zeros(6, 1, 2, 6), torch.zeros(6, dtype=torch.int64)))
    with pytest.raises(UserError, match="decoder 'nodes' stores nodes of a graph, not images"):
        Nodes().start(lambda n: torch.zeros(n, 1, 8, 8), (1, 8, 8), 3, 2, seeded(0))


# -- what methods see -------------------------------------------------------------------------------------------------


def test_the_training_file_has_no_other_label(tmp_path: Path) -> None:
    graph = tiny_graph()
    file = write_training_graph(tmp_path, graph)
    hidden = graph.labels.index_fill(0, torch.cat([graph.validation, graph.test]), 0)
    other = dataclasses.replace(graph, labels=hidden, given_digest=graph.digest)
    assert write_training_graph(tmp_path, other).digest == file.digest
    read, known = read_training_graph(file), TrainingGraph.of(graph)
    assert torch.equal(read.features.to_dense(), known.features.to_dense())
    assert torch.equal(read.labels, graph.labels[graph.train])
    file.path.write_bytes(file.path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="was changed after it was written"):
        read_training_graph(file)
    file.path.unlink()
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        read_training_graph(file)


def test_labelled_nodes_are_those_of_the_graph() -> None:
    graph, real = tiny_graph(), training().task.real
    x, a = graph.features.to_dense(), DenseAdjacency(dense(graph)).matrix
    assert torch.equal(real.features, x[graph.train])
    assert torch.allclose(real.propagated, (a @ a @ x)[graph.train], atol=1e-6)
    assert torch.equal(real.edges, dense(graph)[graph.train][:, graph.train])
    assert real.class_indices(1).tolist() == [i for i in range(24) if graph.labels[graph.train][i] == 1]
    chosen = real.choose(2, seeded(0))
    assert real.labels[chosen].tolist() == [0, 0, 1, 1, 2, 2]
    assert len(set(chosen.tolist())) == 6


def test_noise_for_test_labels_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = tiny_graph()
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    save_graph(tmp_path / "tiny.npz", graph)
    (tmp_path / "noisy").mkdir()
    Graphs().lay_noise("tiny", tmp_path / "noisy")
    noisy = read_graph(tmp_path / "noisy" / "tiny.npz")
    assert torch.equal(noisy.labels[noisy.train], graph.labels[graph.train])
    assert torch.equal(noisy.features.to_dense(), graph.features.to_dense())
    assert not torch.equal(noisy.labels[noisy.test], graph.labels[graph.test])


# -- evaluation -------------------------------------------------------------------------------------------------------


def evaluator(protocol: str = "gcn-600@1", network: NetworkSpec = SMALL) -> GraphEvaluator:
    return GraphEvaluator(tiny_graph(), PROTOCOLS.get(protocol), network, torch.device("cpu"))


def textbook(graph: Graph, x: Tensor, a: Tensor, labels: Tensor, seed: int) -> list[Tensor]:
    """The classes that a GCN answers for all nodes after every five of 600 steps; everything is dense."""
    generator = seeded(derive_seed("evaluate", "gcn-600@1", SMALL, seed))
    network = build_graph_network("gcn", graph.size[1], graph.classes, {"width": 8})
    w1, b1, w2, b2 = (w.clone().requires_grad_() for w in InitialWeights(network)(generator).values())
    whole, xs = DenseAdjacency(dense(graph)).matrix, graph.features.to_dense()
    answers = []
    for step in range(600):
        if step in (0, 300):
            optimizer = torch.optim.Adam([w1, b1, w2, b2], lr=0.01 if step == 0 else 0.001, weight_decay=5e-4)
        hidden = (a @ x @ w1.T + b1).relu()
        hidden = hidden * (torch.rand(hidden.shape, generator=generator) >= 0.5) * 2
        loss = F.cross_entropy(a @ hidden @ w2.T + b2, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 5 == 0:
            with torch.no_grad():
                answers.append((whole @ (whole @ xs @ w1.T + b1).relu() @ w2.T + b2).argmax(1))
    return answers


@pytest.mark.parametrize("edges", [None, 0.5])
def test_scores_are_those_of_the_textbook(edges: float | None) -> None:
    graph = tiny_graph()
    weights = None if edges is None else edges * (torch.ones(6, 6) - torch.eye(6))
    artifact = artifact_of(graph, weights)
    x, labels = artifact.decode()
    a = torch.eye(6) if weights is None else DenseAdjacency(weights).matrix
    answers = textbook(graph, x, a, labels, seed=1)
    test, held_out = (
        [float((found[nodes] == graph.labels[nodes]).float().mean()) for found in answers]
        for nodes in (graph.test, graph.validation)
    )
    score = evaluator().score(artifact, seed=1)
    assert score.accuracy == pytest.approx(test[-1])
    best = held_out.index(max(held_out))
    assert score.metrics == pytest.approx(
        {"held_out": held_out[-1], "validation": test[best], "oracle": max(test)}, abs=1e-6
    )


@pytest.mark.parametrize("name", ["sgc", "gat,width=4,heads=2"])
def test_other_networks_learn_and_seeds_repeat(name: str) -> None:
    from ddbench.records.notation import make_network

    scored = evaluator().under(make_network(name), PROTOCOLS.get("gcn-600@1"))
    artifact = artifact_of(tiny_graph())
    first = scored.score(artifact, seed=0)
    assert first.accuracy > 0.6
    assert scored.score(artifact, seed=0, short=True).accuracy == first.accuracy


def test_all_data_are_trained_on_whatever_is_stored() -> None:
    graph = tiny_graph()
    empty = DistilledDataset({"features": torch.zeros(1, 12), "labels": torch.zeros(1, dtype=torch.int64)}, Nodes())
    full = evaluator("gcn-full-200@1")
    score = full.score(empty, seed=0)
    assert score.accuracy > 0.8
    assert score == full.score(artifact_of(graph), seed=0)


def test_another_graph_than_that_of_a_cell_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    save_graph(tmp_path / "tiny.npz", tiny_graph())
    described: Any = types.SimpleNamespace(dataset="tiny", dataset_digest="sha256:other")
    with pytest.raises(UserError, match="data set 'tiny' with digest sha256:other is asked for"):
        _found(described, "tiny")


# -- controls ---------------------------------------------------------------------------------------------------------


def distilled(method: Any, ipc: int = 2) -> DistilledDataset:
    artifact: DistilledDataset = method.distill(training(ipc).task, Meter(Budget()))
    check(artifact, ipc)
    return artifact


def test_nodes_are_not_labelled_by_a_teacher() -> None:
    taught = dataclasses.replace(distilled(InducedSubgraph()), teacher={"weight": torch.ones(1)})
    with pytest.raises(UserError, match="label source is 'teacher', and this protocol reads the one label of each"):
        evaluator().score(taught, seed=0)


def test_propagated_k_means_by_its_definition() -> None:
    real = training().task.real
    one = distilled(PropagatedKMeans(), ipc=1)
    means = torch.stack([real.propagated[real.labels == c].mean(0) for c in range(3)])
    assert torch.allclose(one.parts["features"], means, atol=1e-6)
    every = distilled(PropagatedKMeans(), ipc=8)  # as many as there are: the nodes themselves, in some order
    for c in range(3):
        found, own = every.parts["features"][8 * c : 8 * c + 8], real.propagated[real.labels == c]
        assert torch.allclose(torch.cdist(found, own).amin(0), torch.zeros(8), atol=1e-3)
    assert every.parts["labels"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert "edges" not in every.parts
    # within-class sum of squares is no larger than that of centres drawn at random
    two, drawn = distilled(PropagatedKMeans()).parts["features"], real.propagated[training().task.real_init()]

    def spread(centres: Tensor) -> float:
        own = [torch.cdist(real.propagated[real.labels == c], centres[2 * c : 2 * c + 2]) for c in range(3)]
        return float(torch.cat(own).amin(1).square().sum())

    assert spread(two) < spread(drawn)


def test_an_induced_subgraph_is_of_the_graph() -> None:
    graph, task = tiny_graph(), training(4).task
    found = distilled(InducedSubgraph(), ipc=4)
    chosen = graph.train[task.real_init()]
    assert torch.equal(found.parts["features"], graph.features.to_dense()[chosen])
    assert torch.equal(found.parts["edges"], dense(graph)[chosen][:, chosen])
    assert float(found.parts["edges"].sum()) > 0
    assert torch.equal(found.parts["labels"], graph.labels[chosen])
    bare = distilled(InducedSubgraph(edges=False), ipc=4)
    assert torch.equal(bare.parts["features"], found.parts["features"])
    assert "edges" not in bare.parts


def test_coresets_by_hand() -> None:
    # as of images, see tests/test_methods.py: one dimension, and two
    features = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
    assert [herd(features, n).tolist() for n in (1, 2, 3)] == [[2], [2, 1], [2, 1, 3]]
    spread = torch.tensor([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    assert [centers(spread, n).tolist() for n in (1, 2, 3, 4)] == [[1], [1, 3], [1, 3, 2], [1, 3, 2, 0]]
    for choice, choose in (("herding", herd), ("k_center", centers)):
        real = training().task.real
        found = distilled(InducedSubgraph(choice=choice))  # type: ignore[arg-type]
        for c in range(3):
            own = real.class_indices(c)
            expected = real.features[own[choose(real.propagated[own], 2)]]
            assert torch.equal(found.parts["features"][2 * c : 2 * c + 2], expected)


# -- boards -----------------------------------------------------------------------------------------------------------

BOARD: dict[str, Any] = {
    "board": "g", "datasets": ["tiny"], "ipc": [1, 2], "modality": "graphs", "network": "gcn,width=8", "seeds": 2,
    "protocol": "gcn-600@1", "networks": 1, "entries": [{"methods": ["propagated_k_means"]}],
}  # fmt: skip


@pytest.fixture
def tiny_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has the tiny graph by name."""
    discover()
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    save_graph(tmp_path / "tiny.npz", tiny_graph())
    return tmp_path


@pytest.mark.usefixtures("tiny_file")
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"datasets": ["tinny"]}, "unknown graph 'tinny'; did you mean 'tiny'"),
        ({"ipc": 9}, r"ipc 9 is larger than the smallest class of tiny \(8 labelled nodes\); lower it"),
        (
            {"entries": [{"methods": ["random_real"]}]},
            "random_real is not for graphs; choose one of full_data, graph_cond",
        ),
        ({"modality": "images"}, "propagated_k_means is for graphs, not images; set modality: graphs"),
        ({"protocol": "dsa-1000@1"}, "protocol dsa-1000@1 is for images; choose gcn-600@1 or gcn-full-200@1"),
        ({"protocol": "krr-fc@1"}, "protocol krr-fc@1 is for images; choose gcn-600@1"),
        ({"network": "convnet"}, "network convnet is not for graphs; choose gat, gcn, sgc"),
        ({"also": [{"network": "mlp"}]}, "network mlp is not for graphs"),
        ({"setting": "fixed"}, "propagated_k_means does not work in the 'fixed' setting"),
        ({"preprocessing": "zca"}, "preprocessing 'zca' is for images; leave it out"),
        ({"peek": 0.1}, "peek holds training images back, and a graph has validation nodes of its own"),
    ],
)
def test_cells_that_cannot_work_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        resolve(make_board({**BOARD, **changes}), "cpu")


@pytest.mark.slow  # several runs in processes of their own
def test_a_board_of_graphs_runs(tiny_file: Path) -> None:
    methods = ["propagated_k_means", "induced_subgraph"]
    board = {**BOARD, "ipc": [2], "also": [{"network": "sgc"}], "entries": [{"methods": methods}]}
    whole = {"methods": ["full_data"], "protocol": "gcn-full-200@1", "also": []}
    records = ddbench.evaluate({**board, "entries": [*board["entries"], whole]}, tiny_file / "out")
    assert [record.result.status for record in records] == ["ok"] * 6
    for record in records:
        score = record.result.scores[0]
        assert score.accuracy > 0.4
        assert {"held_out", "validation", "oracle"} == set(score.metrics)
    assert len(list((tiny_file / "out" / "pictures").glob("*.png"))) == 3
    artifact = next((tiny_file / "out").rglob("propagated_k_means/*seed0*/artifact.safetensors"))
    (again,) = ddbench.score(artifact, count=1)
    assert again == records[0].result.scores[0]


# -- gradient matching ------------------------------------------------------------------------------------------------


def classifier(features: int = 12, classes: int = 3) -> LinearClassifier:
    made = LinearClassifier(features, classes, 0.01, torch.device("cpu"))
    made.restart(seeded(0))
    return made


def test_the_closed_form_is_the_gradient_of_a_network_on_the_graph() -> None:
    """Autograd through an SGC on the whole graph, class by class; by hand it is the propagated nodes times P - Y."""
    graph, real, linear = tiny_graph(), training().task.real, classifier()
    network = build_graph_network("sgc", 12, 3, {})
    network.load_state_dict({"classifier.weight": linear.weight, "classifier.bias": linear.bias})
    logits = network(graph.features, [SparseAdjacency(normalised(graph.edges, 60))] * 2)
    order = torch.cat([real.class_indices(c) for c in range(3)])
    answers = F.one_hot(real.labels[order], 3).float()
    found = linear.class_gradients(real.propagated[order], answers, real.counts)
    for c in range(3):
        own = graph.train[real.labels == c]
        loss = F.cross_entropy(logits[own], graph.labels[own])
        (expected,) = torch.autograd.grad(loss, [network.classifier.weight], retain_graph=True)  # type: ignore[list-item, union-attr]
        assert torch.allclose(found[c], expected, atol=1e-6)


def test_training_by_the_closed_form_is_training_by_autograd() -> None:
    real, linear = training().task.real, classifier()
    network = torch.nn.Linear(12, 3)
    network.load_state_dict({"weight": linear.weight, "bias": linear.bias})
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(network(real.propagated), real.labels).backward()
        optimizer.step()
    linear.train(real.propagated, F.one_hot(real.labels, 3).float(), 20)
    assert torch.allclose(linear.weight, network.weight, atol=1e-5)
    assert torch.allclose(linear.bias, network.bias, atol=1e-5)
    linear.restart(seeded(1))
    other = LinearClassifier(12, 3, 0.01, torch.device("cpu"))
    other.restart(seeded(1))
    for one in (linear, other):
        one.train(real.propagated, F.one_hot(real.labels, 3).float(), 3)
    assert torch.equal(linear.weight, other.weight)  # a restart forgets the moments


def test_the_distance_of_gradients_by_hand() -> None:
    ours = torch.tensor([[[1.0, 0.0], [3.0, 4.0]]])
    theirs = torch.tensor([[[0.0, 2.0], [6.0, 8.0]]])
    assert float(output_distance(ours, theirs)) == pytest.approx(1.0, abs=1e-5)  # 1 - 0 and 1 - 1


def test_the_predictor_of_edges_is_a_network_of_pairs() -> None:
    predictor, x = EdgePredictor(4, seeded(0)), torch.randn(5, 4, generator=seeded(1))
    pairs = torch.stack([torch.cat([x[i], x[j]]) for i in range(5) for j in range(5)])
    norms = [torch.nn.BatchNorm1d(128) for _ in range(2)]
    hidden = norms[1](predictor.second(norms[0](predictor.first(pairs)).relu())).relu()
    logits = predictor.last(hidden).view(5, 5)
    expected = ((logits + logits.T) / 2).sigmoid()
    found = predictor(x)
    off = ~torch.eye(5, dtype=torch.bool)
    assert torch.allclose(found[off], expected[off], atol=1e-5)
    assert found.diagonal().tolist() == [0] * 5
    assert torch.equal(found, found.T)


def dc_of_a_linear_model(task: GraphTask, lr: float, steps: int) -> Tensor:
    """Gradient matching, as of images, of a linear model; one network, trained for 2 steps between matchings."""
    chosen = task.real_init()
    x, y = task.real.features[chosen].clone().requires_grad_(), task.real.labels[chosen]
    network = torch.nn.Linear(12, 3)
    with torch.no_grad():
        for weight in (network.weight, network.bias):
            weight.uniform_(-(12**-0.5), 12**-0.5, generator=task.generator("networks"))
    images, weights = torch.optim.Adam([x], lr=lr), torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(steps):
        for _ in range(2 if step else 0):
            weights.zero_grad()
            F.cross_entropy(network(x.detach()), y).backward()
            weights.step()
        loss = torch.zeros(())
        for c in range(3):
            real = F.cross_entropy(network(task.real.propagated[task.real.labels == c]), torch.full((8,), c))
            (theirs,) = torch.autograd.grad(real, [network.weight])
            own = F.cross_entropy(network(x[y == c]), y[y == c])
            (ours,) = torch.autograd.grad(own, [network.weight], create_graph=True)
            loss = loss + (1 - F.cosine_similarity(ours, theirs, dim=1)).sum()
        (x.grad,) = torch.autograd.grad(loss, [x])
        images.step()
    return x.detach()


def test_without_edges_it_is_gradient_matching_of_a_linear_model() -> None:
    settings: dict[str, Any] = {"iterations": 1, "matchings": 4, "training_steps": 2, "lr_features": 1e-3}
    found = distilled(GraphCondensation(edges=False, **settings))
    expected = dc_of_a_linear_model(training().task, 1e-3, 4)
    assert torch.allclose(found.parts["features"], expected, atol=1e-5)
    assert not torch.allclose(expected, training().task.real.features[training().task.real_init()], atol=1e-3)


@pytest.mark.parametrize("cls", [GraphCondensation, OneStepGraphCondensation, GraphDistributionMatching])
def test_features_start_from_nodes_of_their_labels_and_learning_takes_turns(cls: Any) -> None:
    """Initial features belong to the labels: in the graphs that GCond's authors released they do not."""
    snapshots = list[DistilledDataset]()

    class Watching(Meter):
        def steps(self, n: int, state: Any, result: Any = None, name: str = "distil") -> Any:
            for step in super().steps(n, state, result, name):
                snapshots.append(result())
                yield step

    task, tiny = training().task, {**cls.tiny, "iterations": 4, "period": 2, "edge_turns": 1}
    known = {field.name for field in dataclasses.fields(cls)}
    tiny = {name: value for name, value in tiny.items() if name in known}
    final = cls(**tiny).distill(task, Watching(Budget(), snapshots=()))
    start = snapshots[0].parts
    for features, label in zip(start["features"], start["labels"].tolist(), strict=True):
        own = task.real.features[task.real.labels == label]
        assert bool((own == features).all(1).any())
    turns = cls.tiny.get("matchings", 1)
    moved = [snapshot.parts["features"] for snapshot in [*snapshots[::turns], final]]
    changed = [not torch.equal(a, b) for a, b in pairwise(moved)]
    assert changed == [False, True, False, True]  # edges, then features
    edges = [snapshot.parts["edges"] for snapshot in [*snapshots[::turns], final]]
    assert not torch.equal(edges[0], edges[1])


def test_one_step_condensation_matches_the_gradients_of_a_network_on_the_graph() -> None:
    """The logged loss is that of a dense GCN, whose gradients are taken on the whole graph."""
    graph, task, meter = tiny_graph(), training().task, Meter(Budget(), snapshots=())
    OneStepGraphCondensation(iterations=1, edges=False).distill(task, meter)
    meter.finish()
    twin = training().task
    chosen, weights = twin.real_init(), list(twin.initial().values())
    w1, b1, w2, b2 = (weight.requires_grad_() for weight in weights)
    a, x, total = DenseAdjacency(dense(graph)).matrix, graph.features.to_dense(), 0.0
    real = a @ (a @ x @ w1.T + b1).relu() @ w2.T + b2
    own = (x[graph.train][chosen] @ w1.T + b1).relu() @ w2.T + b2
    for c in range(3):
        nodes = graph.train[graph.labels[graph.train] == c]
        theirs = torch.autograd.grad(F.cross_entropy(real[nodes], graph.labels[nodes]), weights, retain_graph=True)
        mine = torch.nn.functional.cross_entropy(own[2 * c : 2 * c + 2], torch.full((2,), c))
        ours = torch.autograd.grad(mine, weights, retain_graph=True)
        total += sum(float((p - q).square().sum()) for p, q in zip(ours, theirs, strict=True))
    assert meter.history["loss"][0][1] == pytest.approx(total, rel=1e-4)


def test_distribution_matching_compares_embeddings_on_the_graph() -> None:
    graph, task, meter = tiny_graph(), training().task, Meter(Budget(), snapshots=())
    GraphDistributionMatching(iterations=1, edges=False).distill(task, meter)
    meter.finish()
    twin = training().task
    chosen, (w1, b1, _, _) = twin.real_init(), twin.initial().values()
    a, x = DenseAdjacency(dense(graph)).matrix, graph.features.to_dense()
    real, own = a @ (a @ x @ w1.T + b1).relu(), (x[graph.train][chosen] @ w1.T + b1).relu()
    total = 0.0
    for c in range(3):
        nodes = graph.train[graph.labels[graph.train] == c]
        total += float((own[2 * c : 2 * c + 2].mean(0) - real[nodes].mean(0)).square().mean())
    assert meter.history["loss"][0][1] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("place", ["tiny", "tiny.npz"])
def test_prepare_says_what_a_graph_has(tiny_file: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    graph = tiny_graph()
    given = str(tiny_file / place) if place.endswith(".npz") else place
    assert is_graph(given)
    prepare(given, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["nodes"], said["edges"], said["features"]) == (*graph.size[:1], len(graph.edges), graph.size[1])
    assert sum(said["classes"].values()) == said["train"] == len(graph.train)
    assert said["digest"] == graph.digest


def test_images_and_nothing_are_no_graph(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", train_images=np.zeros(1))
    (tmp_path / "broken.npz").write_bytes(b"x")
    assert is_graph("cora")
    assert not any(map(is_graph, ("digits", "nothing", str(tmp_path / "images.npz"), str(tmp_path / "broken.npz"))))
