"""The board that options mean, as YAML that others can run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ddbench.boards.board import MOST_BYTES, Board, load_board, make_board
from ddbench.boards.command_line import content_of
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically
from ddbench.io.documents import read_bytes
from ddbench.records.notation import parse_settings

HEADING = "# Written by `ddbench evaluate --save-board`: the cells that its options meant; paths start where it ran."
ORDER = (
    "board", "title", "modality", "datasets", "ipc", "network", "preprocessing", "setting", "pool", "attack",
    "protocol", "networks", "budget", "steps", "peak_bytes", "seeds", "threads", "precision", "capture",
)  # fmt: skip
"""fields of a board in the order in which those that ship have them"""


class SavedBoard:
    """A board made of options that is to be written into a file, whose name becomes its own.

    Args:
        file: where it is to be written; what is there already must be the same board

    Raises:
        UserError: when the options are no board, the name of the file cannot be one, or another file is there.
    """

    def __init__(self, file: Path, options: Mapping[str, Any]) -> None:
        if file.suffix != ".yaml":
            raise UserError(f"{str(file)!r} does not end in .yaml; boards do")
        content = {**content_of(options), "board": file.stem}
        self.board: Board = make_board(content, where="command line")
        self._file, self._text = file, board_text(content)
        if file.exists() and not self._is_written():
            raise UserError(f"{file} exists, and it is not the board of these options; choose another --save-board")

    def write(self) -> None:
        """Write the file, unless it is there.

        Raises:
            CannotWrite: when that fails.
        """
        if not self._file.exists():
            write_atomically(self._file, self._text.encode())

    def _is_written(self) -> bool:
        try:
            return read_bytes(self._file, MOST_BYTES) == self._text.encode() or self._is_same(load_board(self._file))
        except (OSError, ValueError):
            return False

    def _is_same(self, other: Board) -> bool:
        return other.model_dump() == self.board.model_dump()


def board_text(content: Mapping[str, Any], heading: str = HEADING) -> str:
    """Write a board's values as the boards that ship are written: a line a field, and a line an entry."""
    fields = sorted((name for name in content if name != "entries"), key=lambda name: (*ORDER, name).index(name))
    written = {name: _spelt(content[name]) if name == "network" else content[name] for name in fields}
    lines = [heading, *(f"{name}: {_flow(value)}" for name, value in written.items()), "entries:"]
    for entry in content["entries"]:
        lines.append(f"  - {_flow({name: value for name, value in entry.items() if value not in ({}, None)})}")
    return "\n".join(lines) + "\n"


def _spelt(network: Any) -> Any:
    """Return a network as the boards that ship have it, `{name: convnet, width: 32}`."""
    if not isinstance(network, str):
        return network
    name, *settings = network.split(",")
    return {"name": name, **parse_settings(settings)} if settings else name


def _flow(value: Any) -> str:
    """Write a value on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")
