"""The documentation's generated pages and links; `.ci/run` builds the whole of it, and carries its notebook out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import ddbench
from ddbench.cli.app import command

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_has_one_place(generated: ModuleType) -> None:
    page = "\n".join(generated.api())
    named = re.findall(r"(?:auto(?:class|function):: |`)ddbench\.(\w+)", page)
    assert sorted(named) == ddbench.__all__
    assert {name for names in generated.TOPICS.values() for name in names} <= set(ddbench.__all__)


@pytest.mark.slow  # a process for each command; `.ci/run` carries it out
def test_every_command_is_there_with_its_help(generated: ModuleType) -> None:
    page = "\n".join(generated.commands())
    for name in command().commands:
        assert f"## ddbench {name}\n" in page
        assert f"Usage: ddbench {name}" in page


def test_two_rows_are_the_first_and_the_control(generated: ModuleType) -> None:
    board = [
        "# x",
        "| rank | method |",
        "|--|--|",
        "| 1 | [a] |",
        "| 2 | [b] |",
        "| 3 | [random_real] |",
        "",
        "| 9 | other |",
    ]
    assert list(generated.two_rows(board)) == ["| rank | method |", "|--|--|", "| 1 | `a` |", "| 3 | `random_real` |"]


def test_every_page_is_reached() -> None:
    """A page that no list of pages names would be found by searching alone."""
    text = {path.stem: path.read_text() for path in DOCS.glob("*.md")}
    listed = {
        line
        for page in text.values()
        for block in re.findall(r"```{toctree}\n(.*?)```", page, re.DOTALL)
        for line in block.split()
    }
    assert set(text) - {"index"} <= listed


def test_links_between_pages_lead_somewhere() -> None:
    for path in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([\w./-]+)(?:#[\w-]*)?\)", path.read_text()):
            assert target.startswith("generated/") or (DOCS / target).exists(), f"{path.name} links to {target}"
