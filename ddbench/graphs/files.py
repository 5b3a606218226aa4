"""Graphs by name or path, and the `.npz` file that holds one."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ddbench.data import refuse_where_closed
from ddbench.data.paths import CACHE_VARIABLE, DATA_VARIABLE, provided, provided_names, user_path
from ddbench.errors import UserError, suggestion
from ddbench.graphs.data import Array, Features, Graph, make_graph
from ddbench.graphs.planetoid import GRAPHS, download
from ddbench.io.archives import open_archive

FIELDS = {
    "x_indptr": "starts of the rows of the features, (N + 1,)",
    "x_indices": "their columns, (M,)",
    "x_data": "their numbers, (M,) or (1,)",
    "shape": "nodes and features, (2,)",
    "edges": "pairs of nodes, (E, 2)",
    "y": "labels, (N,)",
    "train": "training nodes",
    "val": "validation nodes",
    "test": "test nodes",
}
"""arrays of a file, with what they are"""


def load_graph(name_or_path: str) -> Graph:
    """Load a graph by name, from `$DDBENCH_DATA` or else by a download, or from an `.npz` file.

    Raises:
        UserError: when there is none, or it cannot be read or downloaded.
    """
    refuse_where_closed("load_graph")
    name = str(name_or_path)
    file = provided(name) or (user_path(name) if name.endswith(".npz") else None)
    if file is not None:
        return _load_once(file, _stamp(file))
    if name in GRAPHS:
        return _download_once(name, os.environ.get(CACHE_VARIABLE))
    raise UserError(
        f"unknown graph {name!r}; {suggestion(name, [*GRAPHS, *provided_names()])} (or give the path of an .npz "
        f"file with arrays {', '.join(FIELDS)}, or put it into the folder named by {DATA_VARIABLE})"
    )


def is_graph(name_or_path: str) -> bool:
    """Return True for the name of a graph, or a file or provided name whose archive has edges."""
    name = str(name_or_path)
    file = provided(name) or (user_path(name) if name.endswith(".npz") else None)
    if file is None:
        return name in GRAPHS
    try:
        with open_archive(file) as archive:
            return "edges.npy" in archive.names
    except (OSError, ValueError):  # whoever reads it says what is wrong
        return False


def read_graph(path: Path) -> Graph:
    """Read a graph from an `.npz` file with the arrays of `FIELDS`; its name is the file's, without the ending.

    Raises:
        UserError: one sentence that names the file, the array and the fix.
    """
    try:
        with open_archive(path) as archive:
            missing = [field for field in FIELDS if f"{field}.npy" not in archive.names]
            if missing:
                raise UserError(f"{path} has no array {missing[0]}, {FIELDS[missing[0]]}; save {', '.join(FIELDS)}")
            arrays = {field: archive.array(field) for field in FIELDS}
    except ValueError as error:
        raise UserError(f"{path} {error}; write it again with numpy.savez") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; give the path of an .npz file") from error
    return _graph(path.stem, arrays, str(path))


def save_graph(path: Path, graph: Graph) -> None:
    """Write a graph as `read_graph` reads it."""
    rows, columns = graph.places.numpy()
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=graph.size[0]))])
    features = {"x_indptr": starts, "x_indices": columns, "x_data": graph.values.numpy()}
    arrays: dict[str, Any] = {**features, "shape": np.array(graph.size), "edges": graph.edges.numpy()}
    arrays |= {"y": graph.labels.numpy(), "train": graph.train.numpy(), "val": graph.validation.numpy()}
    np.savez(path, **arrays, test=graph.test.numpy())


def _graph(name: str, arrays: dict[str, Array], source: str) -> Graph:
    shape = arrays["shape"]
    if shape.dtype.kind not in "iu" or shape.shape != (2,):
        raise UserError(f"{source}: shape is {shape.tolist()}; save the numbers of nodes and of features")
    if arrays["x_data"].dtype.kind not in "biuf" or arrays["x_data"].shape not in ((1,), arrays["x_indices"].shape):
        raise UserError(f"{source}: x_data has shape {arrays['x_data'].shape}; save one number, or one for each column")
    features = Features(arrays["x_indptr"], arrays["x_indices"], arrays["x_data"], (int(shape[0]), int(shape[1])))
    nodes = {"train": arrays["train"], "validation": arrays["val"], "test": arrays["test"]}
    return make_graph(name, features, arrays["edges"], arrays["y"], nodes, source)


@lru_cache(maxsize=2)
def _load_once(path: Path, stamp: tuple[int, ...]) -> Graph:
    """Read a graph, cached by its file and by what changes when it is written."""
    return read_graph(path)


@lru_cache(maxsize=2)
def _download_once(name: str, cache: str | None) -> Graph:
    """Read a graph from the cache of downloads, cached by its name and the cache's folder."""
    return download(name)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # reading will say why
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
