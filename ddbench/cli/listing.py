"""What is registered, a line each, for people and scripts."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ddbench.boards.board import load_board
from ddbench.data import dataset_names
from ddbench.graphs.planetoid import GRAPHS
from ddbench.registry import ANALYSES, BROKEN, DATASETS, METHODS, NETWORKS, PROTOCOLS, STUDIES, discover


def catalogue(boards: Path) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Names and summaries by kind, and the plugins that do not import with the reason.

    Args:
        boards: a folder of YAML files
    """
    discover()
    listed = {
        "methods": {name: _method_line(METHODS.get(name)) for name in METHODS},
        "datasets": {name: _dataset_line(name) for name in dataset_names()},
        "graphs": dict.fromkeys(GRAPHS, "A citation network; methods of the modality graphs distil it."),
        "networks": {name: _first_line(NETWORKS.get(name)) for name in NETWORKS},
        "protocols": {name: PROTOCOLS.get(name).source for name in PROTOCOLS},
        "analyses": {name: _first_line(ANALYSES.get(name)) for name in ANALYSES},
        "studies": {name: _first_line(STUDIES.get(name)) for name in STUDIES},
        "boards": {str(path): load_board(path).title for path in sorted(boards.glob("*.yaml"))},
    }
    return listed, {name: plugin.reason for name, plugin in BROKEN.items()}


def _method_line(method: type[Any]) -> str:
    aliases = METHODS.aliases(method.name)
    named = f" [{', '.join(aliases)}]" if aliases else ""
    return _first_line(method) + named


def _dataset_line(name: str) -> str:
    return _first_line(DATASETS.get(name)) if name in DATASETS else "from $DDBENCH_DATA"


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]
