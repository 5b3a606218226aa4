"""Cora and Citeseer as Planetoid has them: downloaded once, known by the digests of their files, and kept.

Yang, Cohen & Salakhutdinov, "Revisiting Semi-Supervised Learning with Graph Embeddings", ICML 2016, arXiv 1603.08861:
20 labelled nodes of each class, 500 validation nodes and 1000 test nodes.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import urllib.request
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ddbench.data.paths import CACHE_VARIABLE, DATA_VARIABLE, cache_folder
from ddbench.errors import UserError
from ddbench.graphs.data import Array, Features, Graph, make_graph
from ddbench.io.atomic import write_atomically

ADDRESS = "https://raw.githubusercontent.com/kimiyoung/planetoid/af6abf468a772cc055bec88c52e4d6f51b7c37e3/data/"
GRAPHS = ("citeseer", "cora")
PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph", "test.index")
"""files of a graph: features and one-hot labels of the training nodes, the test nodes, and all but the test nodes; the
neighbours of each node; and the test nodes' positions, in the order of `tx`"""
VALIDATION = 500
DIGESTS = {
    "cora.x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
    "cora.y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
    "cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "cora.test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    "citeseer.x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
    "citeseer.y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    "citeseer.tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
    "citeseer.ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
    "citeseer.allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
    "citeseer.ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
    "citeseer.graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
    "citeseer.test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
}
"""SHA-256 of each file; one with another content is not read, since it is a pickle"""
SECONDS = 60


def download(name: str) -> Graph:
    """Read a graph of `GRAPHS` from the cache folder, where it is downloaded on first use.

    Raises:
        UserError: when the download fails, or gives other files.
    """
    folder = cache_folder() / "datasets" / "planetoid"
    try:
        files = {part: _file(folder, f"{name}.{part}") for part in PARTS}
    except (OSError, HTTPException) as error:
        raise UserError(
            f"cannot get {name}: {error}; connect once (it fills the folder named by {CACHE_VARIABLE}, now "
            f"{cache_folder()}), or put {name}.npz, see docs/graphs.md, into the folder named by {DATA_VARIABLE}"
        ) from error
    return from_files(name, files)


def from_files(name: str, files: Mapping[str, bytes]) -> Graph:
    """Make a graph of the contents of its files, by the names of `PARTS`."""
    read = {part: _unpickled(files[part]) for part in PARTS[:-1]}
    positions = np.array(files["test.index"].split(), dtype=np.int64)  # (S,)
    known, count = read["allx"].shape[0], int(positions.max()) + 1
    places = np.concatenate([np.arange(known), positions])  # node of each row of allx, and then of tx
    labels = np.full(count, -1)  # Citeseer has nodes without features or a label among the test nodes
    labels[places] = np.concatenate([read["ally"], read["ty"]]).argmax(1)
    ends = np.array([(a, b) for a, others in read["graph"].items() for b in others], dtype=np.int64)
    train = len(read["y"])
    nodes = {
        "train": np.arange(train),
        "validation": np.arange(train, train + VALIDATION),
        "test": np.sort(positions),
    }
    return make_graph(name, _features([read["allx"], read["tx"]], places, count), ends, labels, nodes)


class PickledMatrix:
    """What a pickle says of a sparse matrix of scipy's, row by row: `data`, `indices`, `indptr` and `_shape`."""

    data: Array
    indices: Array
    indptr: Array
    _shape: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape


def _features(matrices: list[PickledMatrix], places: Array, count: int) -> Features:
    """Return matrices below each other, with the rows put to their places among `count`."""
    lengths = np.concatenate([np.diff(matrix.indptr) for matrix in matrices])
    ends = np.cumsum(lengths)
    values = np.concatenate([matrix.data for matrix in matrices])
    columns = np.concatenate([matrix.indices for matrix in matrices])
    row_of = np.full(count, -1)
    row_of[places] = np.arange(len(places))
    rows = [np.arange(ends[row] - lengths[row], ends[row]) if row >= 0 else np.arange(0) for row in row_of]
    starts = np.cumsum([0, *map(len, rows)])
    order = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
    return Features(starts, columns[order], values[order], (count, matrices[0].shape[1]))


class _Unpickler(pickle.Unpickler):
    """Reads the types of Planetoid's files and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in TYPES:
            raise pickle.UnpicklingError(f"{module}.{name} is none of its types")
        return TYPES[module, name]


_RECONSTRUCT: Callable[..., Any] = np.zeros(0).__reduce__()[0]  # type: ignore[assignment]
TYPES: dict[tuple[str, str], Any] = {
    ("scipy.sparse.csr", "csr_matrix"): PickledMatrix,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "defaultdict"): defaultdict,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
}


def _unpickled(content: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # types were written otherwise by the numpy of 2016
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()


def _file(folder: Path, name: str) -> bytes:
    """Return a file's content, from the cache or the network.

    Raises:
        OSError: when it cannot be had, or is another one.
    """
    path = folder / f"ind.{name}"
    if path.is_file() and _digest(content := path.read_bytes()) == DIGESTS[name]:
        return content
    with urllib.request.urlopen(f"{ADDRESS}ind.{name}", timeout=SECONDS) as answer:
        content = answer.read()
    if _digest(content) != DIGESTS[name]:
        raise OSError(f"ind.{name} has another content than it should have")
    write_atomically(path, content)
    return bytes(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
