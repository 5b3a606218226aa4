"""A data set that is one graph: nodes with features, some of them with a label that may be learned from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddbench.data.dataset import SPLIT, stratified_split
from ddbench.errors import UserError

Array = NDArray[Any]
MOST_NUMBERS = 2**28
"""largest number of entries of the matrix of features, which is dense where it is propagated"""
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Graph:
    """One undirected graph whose nodes are classified; `make_graph` builds one from checked arrays.

    Attributes:
        places: (2, M) int64, row and column of each number of the sparse features
        values: (M,) float32, these numbers
        size: nodes N and features F
        edges: (E, 2) int64, each edge once, no node with itself
        labels: (N,) int64 in 0..K-1; -1 of a node that is in none of the three parts and has none
        train: (T,) int64, the nodes whose labels methods may see
        validation: (V,) int64, the nodes that readings of evaluation networks are selected by
        test: (S,) int64, the nodes that are scored on
        classes: K
        given_digest: the digest to report in place of computing it
    """

    name: str
    places: Tensor
    values: Tensor
    size: tuple[int, int]
    edges: Tensor
    labels: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    classes: int
    given_digest: str | None = None

    @cached_property
    def digest(self) -> str:
        """Digest `sha256:...` of sizes, types and bytes of the arrays; a split adds its name, `+validation(...)`."""
        if self.given_digest is not None:
            return self.given_digest
        content = hashlib.sha256(f"{self.size} {self.classes}".encode())
        for name in ("places", "values", "edges", "labels", *PARTS):
            array = getattr(self, name).cpu().contiguous().numpy()
            content.update(f"{name}{array.dtype}{array.shape}".encode())
            content.update(array.data)
        return f"sha256:{content.hexdigest()}"

    @cached_property
    def features(self) -> Tensor:
        """The features with rows that sum to 1, (N, F) sparse; a row of zeros stays one."""
        sums = torch.zeros(self.size[0], device=self.values.device).index_add_(0, self.places[0], self.values)
        scaled = self.values / sums[self.places[0]].where(sums[self.places[0]] != 0, 1.0)
        return torch.sparse_coo_tensor(self.places, scaled, self.size, check_invariants=False).coalesce()

    @property
    def counts(self) -> list[int]:
        """Labelled training nodes of each class."""
        return torch.bincount(self.labels[self.train], minlength=self.classes).tolist()

    def to(self, device: torch.device | str) -> Graph:
        """Return the same graph with its tensors on a device."""
        names = ("places", "values", "edges", "labels", *PARTS)
        return replace(self, given_digest=self.digest, **{name: getattr(self, name).to(device) for name in names})

    def split(self, split: str) -> Graph:
        """Return the graph as a cell sees it: `test`, or `validation(SHARE)`, which leaves the test nodes out of it.

        Of the validation nodes a stratified share is scored on, and the others select readings. Training nodes stay.

        Raises:
            UserError: for another split.
        """
        if split == "test":
            return self
        named = SPLIT.fullmatch(split)
        if named is None or named["kind"] != "validation":
            raise UserError(f"split {split!r} of a graph is neither test nor a validation split; leave it out")
        own = self.labels[self.validation].cpu().numpy()
        kept, held = stratified_split(own, float(named["fraction"]), int(named["seed"] or 0))
        chosen = self.validation[torch.from_numpy(kept)], self.validation[torch.from_numpy(held)]
        return replace(self, validation=chosen[0], test=chosen[1], given_digest=f"{self.digest}+{split}")


@dataclass(frozen=True)
class Features:
    """A sparse matrix of features, row by row.

    Args:
        starts: (N + 1,) where the numbers of each row begin
        columns: (M,) column of each
        values: (M,) the numbers, or one for all
        shape: nodes and features
    """

    starts: Array
    columns: Array
    values: Array
    shape: tuple[int, int]


def make_graph(
    name: str, features: Features, edges: Array, labels: Array, nodes: Mapping[str, Array], source: str | None = None
) -> Graph:
    """Check arrays and copy them into a `Graph` on the CPU.

    Args:
        edges: (E, 2) integers; direction, repetition and edges of a node to itself have no effect
        labels: (N,) integers in 0..K-1, or -1 of nodes in no part
        nodes: the positions of the `train`, `validation` and `test` nodes
        source: where the arrays came from, for messages

    Raises:
        UserError: one sentence that names the array, what it holds, and the fix.
    """
    where, (count, width) = source or name, features.shape
    if count < 1 or width < 1 or count * width > MOST_NUMBERS:
        raise UserError(f"{where}: shape is {count} x {width}; graphs of up to {MOST_NUMBERS} numbers are read")
    places, values = _sparse(where, features)
    _check_integers(where, "edges", edges, count, columns=2)
    _check_integers(where, "labels", labels, None, least=-1)
    if len(labels) != count:
        raise UserError(f"{where}: labels are {len(labels)} for {count} nodes; save one label for each node")
    for part in PARTS:
        _check_integers(where, part, nodes[part], count)
        if len(nodes[part]) == 0 or len(np.unique(nodes[part])) != len(nodes[part]):
            raise UserError(f"{where}: {part} is empty or names a node twice; save the positions of different nodes")
        if (labels[nodes[part]] < 0).any():
            raise UserError(f"{where}: a node of {part} has no label; leave it out of {part}")
    _check_apart(where, [nodes[part] for part in PARTS])
    classes = int(labels.max()) + 1
    missing = sorted(set(range(classes)) - set(labels[nodes["train"]].tolist()))
    if missing:
        raise UserError(f"{where}: no training node has class {missing[0]}; label one of each class")
    once = np.unique(np.sort(edges.astype(np.int64), axis=1), axis=0)
    once = once[once[:, 0] != once[:, 1]]
    train, validation, test = (torch.from_numpy(nodes[part].astype(np.int64)) for part in PARTS)
    given = torch.from_numpy(once), torch.from_numpy(labels.astype(np.int64))
    return Graph(name, places, values, (count, width), *given, train, validation, test, classes)


def _sparse(where: str, features: Features) -> tuple[Tensor, Tensor]:
    """Return the places, (2, M), and the numbers, (M,), of sparse features; those that are 0 are left out."""
    count, width = features.shape
    _check_integers(where, "columns", features.columns, width)
    _check_integers(where, "starts", features.starts, len(features.columns) + 1)
    starts: Array = features.starts.astype(np.int64)
    lengths: Array = starts[1:] - starts[:-1]
    if len(lengths) != count or (lengths < 0).any() or starts[-1] != len(features.columns) or starts[0] != 0:
        raise UserError(
            f"{where}: starts do not divide {len(features.columns)} numbers into {count} rows; save them so"
        )
    numbers = np.broadcast_to(features.values.astype(np.float32), features.columns.shape)
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        raise UserError(f"{where}: features are negative or not finite; rows that sum to 1 are made of them: mend them")
    rows = np.repeat(np.arange(count), lengths)
    kept = numbers != 0
    places = np.stack([rows[kept], features.columns[kept].astype(np.int64)])
    return torch.from_numpy(places), torch.from_numpy(numbers[kept].copy())


def _check_integers(
    where: str, field: str, array: Array, most: int | None, columns: int | None = None, least: int = 0
) -> None:
    wanted = "(N,)" if columns is None else f"(N, {columns})"
    if array.dtype.kind not in "iu" or array.ndim != (1 if columns is None else 2) or array.shape[1:] != _row(columns):
        raise UserError(f"{where}: {field} have type {array.dtype}, shape {array.shape}; save {wanted} integers")
    if array.size and (int(array.min()) < least or (most is not None and int(array.max()) >= most)):
        top = "" if most is None else f" and below {most}"
        raise UserError(
            f"{where}: {field} hold {int(array.min())} to {int(array.max())}; they must be at least {least}{top}"
        )


def _row(columns: int | None) -> tuple[int, ...]:
    return () if columns is None else (columns,)


def _check_apart(where: str, parts: Sequence[Array]) -> None:
    together = np.concatenate(parts)
    if len(np.unique(together)) != len(together):
        raise UserError(f"{where}: a node is in two of {', '.join(PARTS)}; keep them apart")
