"""What an artefact of a graph has to be to take part in a board."""

from __future__ import annotations

from ddbench.artifacts.checks import MOST_RECIPE_BYTES
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.graphs.decoders import DenseGraph, Nodes


def check_graph_artifact(artifact: DistilledDataset, features: int, classes: int, ipc: int) -> None:
    """Refuse an artefact that is not what the task asked for.

    Storage is counted in nodes, `classes * ipc`, whatever the number of each class; a matrix of edges comes on top, as
    in every paper, and its bytes are shown.

    Raises:
        ValueError: more nodes than asked for, other features, labels that are none of the task's classes, edges of
            negative weight, or initial weights.
    """
    if not isinstance(artifact.decoder, Nodes | DenseGraph):
        raise ValueError(f"decoder {artifact.decoder.name!r} is not for graphs; store nodes or dense_graph")
    found, labels = artifact.decode()
    if found.shape[1:] != (features,):
        raise ValueError(f"its nodes have {tuple(found.shape[1:])} features, and the task's {features}")
    if not 1 <= len(found) <= classes * ipc:
        raise ValueError(f"{len(found)} nodes where the task allows {classes} classes x {ipc}")
    if len(labels) != len(found):
        raise ValueError(f"{len(found)} nodes but {len(labels)} labels")
    if artifact.label_kind == "index" and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        raise ValueError(f"labels lie outside 0 to {classes - 1}")
    if artifact.label_kind != "index" and labels.shape[1:] != (classes,):
        raise ValueError(f"labels have shape {tuple(labels.shape)}, the task has {classes} classes")
    if "edges" in artifact.parts and bool((artifact.parts["edges"] < 0).any()):
        raise ValueError("an edge has a negative weight; store weights of at least 0")
    if artifact.initial is not None:
        raise ValueError("it stores initial weights, and networks on graphs start from fresh ones")
    if artifact.stored_bytes()["recipe"] > MOST_RECIPE_BYTES:
        raise ValueError(f"the recipe takes more than {MOST_RECIPE_BYTES} bytes")
