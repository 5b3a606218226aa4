"""What records do not hold, and callers that render them pass in: family and paper of methods, and how a board says
that their settings were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddbench.io.atomic import canonical_json
from ddbench.records.cell import Cell, distinguishing
from ddbench.registry import METHODS, discover


@dataclass(frozen=True)
class Origin:
    family: str
    paper: str
    """link to the paper"""


Origins = Mapping[str, Origin]
"""family and paper by the method's name"""


class BoardOrigins(dict[str, Origin]):
    """Family and paper by the method's name, with how boards say that settings were chosen.

    Args:
        chosen: `paper`, `tuned(8)` or `hand`, by `settings_key`
    """

    def __init__(self, known: Origins, chosen: Mapping[str, str]) -> None:
        super().__init__(known)
        self._chosen = chosen

    def chosen(self, board: str, cell: Cell) -> str | None:
        """Return how a board says that a cell's settings were chosen; None where it has no such entry."""
        return self._chosen.get(settings_key(board, cell.method, cell.dataset, cell.ipc, cell.hyperparameters))


def settings_key(board: str, method: str, dataset: str, ipc: int, hyperparameters: Mapping[str, Any]) -> str:
    """Return a text that names the settings of a method on a board, so that other settings have no part in it."""
    return canonical_json([board, method, dataset, ipc, distinguishing(hyperparameters)]).decode()


def origins() -> dict[str, Origin]:
    """Return family and paper of the methods that ship; tables must not depend on which plugins are installed."""
    discover()
    shipped = [METHODS.get(name) for name in METHODS if METHODS.get(name).__module__.startswith("methods.")]
    return {method.name: Origin(method.family, method.paper) for method in shipped}
