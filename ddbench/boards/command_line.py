"""Command-line options as a board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ddbench.boards.board import Board, load_board, make_board
from ddbench.errors import UserError
from ddbench.records.notation import parse_settings

SHIPPED = (Path(__file__).parents[1] / "configs").resolve()
"""the boards that come with it"""
SELECTING = ("methods", "datasets", "ipc")
"""options that say which part of a board's file to run"""


def settings_from(options: list[str] | None) -> dict[str, Any]:
    """Hyper-parameters from `--set KEY=VALUE` options."""
    try:
        return parse_settings(options or [])
    except ValueError as error:
        raise UserError(f"--set {error}") from error


def board_from(path: Path | None, options: dict[str, Any]) -> Board:
    """The board of a file, or one made of options; with neither, the quickstart.

    Raises:
        UserError: when an option would change what a file says; a file's name tells what ran.
    """
    if path is not None or not options:
        foreign = [name for name in options if name not in SELECTING]
        if foreign:
            raise UserError(f"{path} says how to run its cells; leave out --{foreign[0]}, or the file")
        return load_board(path or SHIPPED / "quickstart.yaml")
    if "methods" not in options:
        raise UserError("name at least one --method, or a board's file")
    shared = {"board": "mine", "datasets": ["digits"], "ipc": [1], "protocol": "quick-300@1"}
    if options.get("datasets", ["digits"]) == ["digits"]:
        shared["network"] = "convnet,depth=2,width=32"
    entry = {"methods": options["methods"], "set": options.get("set", {})}
    rest = {name: value for name, value in options.items() if name not in ("methods", "set")}
    return make_board({**shared, **rest, "entries": [entry]}, where="command line")
