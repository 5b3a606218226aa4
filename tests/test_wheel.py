"""What is installed is whole: a wheel has the modules, the boards and the published figures."""

from __future__ import annotations

import ast
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
READ = """
import json
from ddbench.boards.board import load_board
from ddbench.leaderboard.published import load_published
from ddbench.boards.command_line import SHIPPED
boards = sorted(path.name for path in SHIPPED.glob("*.yaml") if load_board(path))
print(json.dumps([str(SHIPPED), boards, len(load_published().entries)]))
"""
DISTRIBUTIONS = {
    "PIL": "pillow",
    "markdown_it": "markdown-it-py",
    "pydantic_core": "pydantic",  # which needs one version of it exactly
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""who distributes a module of another name"""
BUILD = "from setuptools import build_meta; build_meta.build_wheel({folder!r})"


def no_part_of_it(folder: str, names: list[str]) -> set[str]:
    """Which of the names in a folder of the tree no wheel is built from."""
    patterns = {ROOT: (".*", "runs", "build", "*.egg-info"), ROOT / "leaderboards": ("records",)}
    return {name for pattern in patterns.get(Path(folder), ()) for name in fnmatch.filter(names, pattern)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a wheel that was built from a copy of the tree."""
    copy, folder = tmp_path_factory.mktemp("copy") / "tree", tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=no_part_of_it)
    subprocess.run([sys.executable, "-c", BUILD.format(folder=str(folder))], cwd=copy, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_a_wheel_holds_every_module(installed: Path) -> None:
    for package in ("ddbench", "methods"):
        ours = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")}
        assert {path.relative_to(installed) for path in (installed / package).rglob("*.py")} == ours


def test_a_wheel_holds_what_is_no_code(installed: Path) -> None:
    assert (installed / "ddbench" / "cli" / "method_template.txt").is_file()
    assert (installed / "ddbench" / "py.typed").is_file()
    figures = installed / "ddbench" / "leaderboard" / "published.yaml"
    assert figures.read_bytes() == (ROOT / "leaderboards" / "published.yaml").read_bytes()


@pytest.mark.slow  # a process that compiles a fresh package; `.ci/run` carries it out beside the default run
def test_an_installed_package_reads_its_boards_and_figures(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", READ]
    said = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    folder, boards, figures = json.loads(said.stdout)
    assert Path(folder).is_relative_to(installed)
    assert boards == sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
    assert figures > 200


def imported(file: Path) -> Iterator[str]:
    """Top-level names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_what_is_imported_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in declared}
    files = [path for package in ("ddbench", "methods") for path in (ROOT / package).rglob("*.py")]
    found = {name for file in files for name in imported(file)} - sys.stdlib_module_names - {"ddbench", "methods"}
    extras = {"timm", "pyautoattack", "pandas", "huggingface_hub", "datasets"}  # asked for by a user of what they give
    assert {DISTRIBUTIONS.get(name, name) for name in found} == names | extras


def test_every_dependency_has_a_lowest_version() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [requirement for requirement in declared if ">=" not in requirement] == []
