"""Docstrings and field notes name their subject: none begins as a fragment does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRAGMENT = re.compile(r"\s*(of|that|whether|where)\s", re.IGNORECASE)
"""openings that leave out what is described"""


def notes(tree: ast.Module) -> Iterator[ast.Constant]:
    """Every string that is a statement: docstrings, and the notes beneath fields and constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def fragments(source: str) -> list[tuple[int, str]]:
    """Line and first line of each docstring or note that begins as a fragment."""
    found = [(note.lineno, str(note.value).strip().partition("\n")[0]) for note in notes(ast.parse(source))]
    return sorted((line, text) for line, text in found if FRAGMENT.match(text + " "))


SOURCE = '''"""Of a module."""
WIDTH = 1
"""that it has"""
HEIGHT = 2
"""offset; zero where there is none"""

class Box:
    """
    Whether it is."""

    def fits(self):
        """Thatched or not."""
        self.side = 1
        """Where
        it ends"""
'''


def test_fragments_are_found_in_docstrings_and_notes() -> None:
    found = [(1, "Of a module."), (3, "that it has"), (8, "Whether it is."), (14, "Where")]
    assert fragments(SOURCE) == found


def test_no_docstring_or_note_begins_as_a_fragment() -> None:
    paths = [path for package in ("ddbench", "methods") for path in sorted((ROOT / package).rglob("*.py"))]
    assert paths
    found = [f"{path.relative_to(ROOT)}:{line}: {text}" for path in paths for line, text in fragments(path.read_text())]
    assert not found, "say what the thing is:\n" + "\n".join(found)
