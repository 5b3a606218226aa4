"""The file that a run on a graph learns from: features, edges and the labels of the training nodes, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ddbench.errors import UserError
from ddbench.evaluation.modality import TrainingFile
from ddbench.graphs.adjacency import field_of, normalised
from ddbench.graphs.data import Graph
from ddbench.graphs.task import LabelledNodes
from ddbench.io.atomic import canonical_json, digest, write_atomically
from ddbench.io.safetensors_files import read_tensors, tensor_bytes


@dataclass(frozen=True, eq=False)
class TrainingGraph:
    """A graph of which the labels of the training nodes alone are known.

    Attributes:
        features: (N, F) sparse, rows that sum to 1
        edges: (E, 2)
        train: (L,), positions of the training nodes
        labels: (L,), theirs
        classes: K
    """

    features: Tensor
    edges: Tensor
    train: Tensor
    labels: Tensor
    classes: int

    @classmethod
    def of(cls, graph: Graph) -> TrainingGraph:
        return cls(graph.features, graph.edges, graph.train, graph.labels[graph.train], graph.classes)

    def labelled(self, depth: int, device: torch.device) -> LabelledNodes:
        """Return the training nodes with what surrounds them, on a device, for networks of so many layers."""
        matrix = normalised(self.edges, len(self.features))
        field = field_of(self.features, matrix, self.train, depth)
        classes = [self.train[self.labels == c] for c in range(self.classes)]
        among = matrix.index_select(0, self.train).index_select(1, self.train).to_dense() != 0
        return LabelledNodes(
            self.features.index_select(0, self.train).to_dense().to(device),
            field.propagated.to(device),
            self.labels.to(device),
            among.fill_diagonal_(False).float().to(device),
            tuple(field_of(self.features, matrix, own, depth).to(device) for own in classes),
            tuple(torch.bincount(self.labels, minlength=self.classes).tolist()),
        )


def write_training_graph(folder: Path, graph: Graph) -> TrainingFile:
    """Write what runs of a cell may see, under a name that says which graph it is of."""
    seen = TrainingGraph.of(graph)
    tensors = {
        "places": seen.features.indices().contiguous(),
        "values": seen.features.values(),
        "edges": seen.edges,
        "train": seen.train,
        "labels": seen.labels,
    }
    header = {"name": graph.name, "digest": graph.digest, "size": list(graph.size), "classes": graph.classes}
    payload = tensor_bytes(tensors, header)
    path = folder / f"{digest(canonical_json(header))[7:23]}.safetensors"
    write_atomically(path, payload)
    return TrainingFile(path, digest(payload))


def read_training_graph(file: TrainingFile) -> TrainingGraph:
    """Read such a file.

    Raises:
        UserError: when it is gone or is not what was written.
    """
    try:
        found = digest(file.path.read_bytes())
    except OSError as error:
        raise UserError(f"{file.path} cannot be read ({error.strerror}); run the command again") from error
    if found != file.digest:
        raise UserError(f"{file.path} was changed after it was written; run the command again")
    header, tensors = read_tensors(file.path)
    count, width = header["size"]
    features = torch.sparse_coo_tensor(
        tensors["places"], tensors["values"], (count, width), is_coalesced=True, check_invariants=False
    )
    return TrainingGraph(features, tensors["edges"], tensors["train"], tensors["labels"], header["classes"])
