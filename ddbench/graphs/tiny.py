"""A graph so small that a run on it takes a second, for the contract of methods."""

from __future__ import annotations

import numpy as np

from ddbench.graphs.data import Features, Graph, make_graph

CLASSES, EACH, WORDS = 3, 20, 12


def tiny_graph() -> Graph:
    """3 classes of 20 nodes, 8 labelled for training, 5 for validation and 7 for tests, with 12 features.

    Nodes have some of the four features of their class and one of any, and mostly neighbours of their class.
    """
    random = np.random.RandomState(0)
    labels = np.arange(CLASSES * EACH) % CLASSES
    features = np.zeros((len(labels), WORDS), np.float32)
    for node, label in enumerate(labels):
        features[node, 4 * label + random.permutation(4)[:2]] = 1
        features[node, random.randint(WORDS)] = 1
    alike = labels[:, None] == labels
    edges = np.argwhere(np.triu(random.rand(*alike.shape) < np.where(alike, 0.2, 0.03), 1))
    rows, columns = np.nonzero(features)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(labels)))])
    nodes = {"train": np.arange(24), "validation": np.arange(24, 39), "test": np.arange(39, 60)}
    sparse = Features(starts, columns, features[rows, columns], features.shape)
    return make_graph("tiny", sparse, edges, labels, nodes)
