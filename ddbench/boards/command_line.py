"""Command-line options as a board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddbench.boards.board import Board, load_board, make_board
from ddbench.errors import UserError
from ddbench.io.links import followed
from ddbench.records.notation import parse_settings

SHIPPED = followed(Path(__file__).parents[1] / "configs")
"""the boards that come with it"""
SELECTING = ("methods", "datasets", "ipc")
"""options that say which part of a board's file to run"""


def settings_from(options: list[str] | None) -> dict[str, Any]:
    """Hyper-parameters from `--set KEY=VALUE` options."""
    try:
        return parse_settings(options or [])
    except ValueError as error:
        raise UserError(f"--set {error}") from error


def board_of(named: Board | Mapping[str, Any] | str | Path | None) -> Board:
    """A board from whatever names one.

    Args:
        named: a board; the path of its file, or the name of one that ships; a mapping, either a whole board with
            `entries` or options as those of `ddbench evaluate`; None is the quickstart

    Raises:
        UserError: when it does not name one.
    """
    if isinstance(named, Board):
        return named
    if isinstance(named, Mapping):
        return make_board(named) if "entries" in named else _made_of(named)
    return load_board(_shipped(Path(named)) if named is not None else SHIPPED / "quickstart.yaml")


def board_from(path: Path | None, options: Mapping[str, Any]) -> Board:
    """The board of a file, or one made of options; with neither, the quickstart.

    Raises:
        UserError: when an option would change what a file says; a file's name tells what ran.
    """
    foreign = [name for name in options if name not in SELECTING]
    if path is not None and foreign:
        raise UserError(f"{path} says how to run its cells; leave out --{foreign[0]}, or the file")
    return board_of(path or options or None)


def _shipped(path: Path) -> Path:
    """Return the file of a board that ships, where only its name is given, as `cpu`."""
    file = SHIPPED / f"{path.name}.yaml"
    return file if path.name == str(path) and not path.exists() and file.is_file() else path


def _made_of(options: Mapping[str, Any]) -> Board:
    return make_board(content_of(options), where="command line")


def content_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a board's file would say that options mean, with the values that they leave out.

    Raises:
        UserError: when no method is named.
    """
    if "methods" not in options:
        raise UserError("name at least one --method, or a board's file")
    shared = {"board": "mine", "datasets": ["digits"], "ipc": [1], "protocol": "quick-300@1"}
    if options.get("datasets", ["digits"]) in ("digits", ["digits"]):
        shared["network"] = "convnet,depth=2,width=32"
    entry = {"methods": options["methods"], "set": options.get("set", {})}
    rest = {name: value for name, value in options.items() if name not in ("methods", "set")}
    return {**shared, **rest, "entries": [entry]}
