"""What decides a board's numbers as one digest: a nightly measurement begins anew when it changes."""

from __future__ import annotations

from pathlib import Path

from ddbench.boards.board import load_board
from ddbench.io.atomic import canonical_json, digest
from ddbench.records.source_digest import source_digest
from ddbench.registry import discover, find_method


def board_digest(file: Path) -> str:
    """Return 64 hexadecimal digits over a board's text and the digests of its methods.

    Raises:
        UserError: when the board or one of its methods cannot be read.
    """
    discover()
    methods = {cell.method for cell in load_board(file).cells()}
    sources = {name: source_digest(find_method(name)) for name in methods}
    return digest(canonical_json([file.read_text("utf-8"), sources])).removeprefix("sha256:")
