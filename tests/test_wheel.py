"""What is installed is whole: a wheel has the modules, the boards and the published figures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
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
BUILD = "from setuptools import build_meta; build_meta.build_wheel({folder!r})"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a wheel that was built from a copy of the tree."""
    copy, folder = tmp_path_factory.mktemp("copy") / "tree", tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "records")
    )
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
    assert (installed / "ddbench" / "method_template.txt").is_file()
    assert (installed / "ddbench" / "py.typed").is_file()
    figures = installed / "ddbench" / "leaderboard" / "published.yaml"
    assert figures.read_bytes() == (ROOT / "leaderboards" / "published.yaml").read_bytes()


def test_an_installed_package_reads_its_boards_and_figures(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", READ]
    said = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    folder, boards, figures = json.loads(said.stdout)
    assert Path(folder).is_relative_to(installed)
    assert boards == sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
    assert figures > 200
