"""What Windows does not have is not needed: a board runs where `ddbench` cannot see it. See `windows`."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from ddbench.boards.command_line import SHIPPED
from ddbench.compute import memory
from ddbench.io import atomic
from ddbench.io.links import followed
from ddbench.records.files import read_records
from ddbench.runs.executors import process
from ddbench.runs.status import of_exit
from factories import Call, write_board
from windows import ABSENT, Seen

app = importlib.import_module("ddbench.cli.app")
ROOT = Path(__file__).resolve().parent.parent
WINDOWS = Seen(sys, [], {"platform": "win32"})
CUSTOMIZE = "import sys\nsys.path.insert(0, {here!r})\nimport windows\nsys.path.remove({here!r})\nwindows.hide()\n"


def on_windows(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python where modules of `ddbench`, in every process, see Windows."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(CUSTOMIZE.format(here=str(ROOT / "tests")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)])}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow  # in a process of its own, which imports torch
def test_the_import_needs_nothing_that_windows_lacks(tmp_path: Path) -> None:
    code = (
        "import importlib, pkgutil, ddbench, signal, os, sys\n"
        "names = [one.name for one in pkgutil.walk_packages(ddbench.__path__, 'ddbench.')]\n"
        "[importlib.import_module(name) for name in names if not name.endswith(('__main__', '.ray'))]\n"
        "from ddbench.runs.executors import process\n"
        "print(len(names), sys.platform, hasattr(signal, 'SIGKILL'), process.starting_context().get_start_method())\n"
        "try:\n    import resource\nexcept ImportError as error:\n    print(error)\n"
    )
    done = on_windows(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    count, *seen = first.split()
    assert int(count) > 200
    assert (seen, second) == (["win32", "False", "spawn"], "No module named 'resource'")


@pytest.mark.slow  # every process is started anew, and imports torch
def test_a_board_runs_without_what_windows_lacks(tmp_path: Path) -> None:
    arguments = write_board(tmp_path, "random_real", networks=2)
    done = on_windows(tmp_path, "-m", "ddbench", *arguments)
    assert done.returncode == 0, done.stderr
    assert app.UNTESTED.partition(":")[0] in done.stderr
    (record,) = read_records(tmp_path / "out")
    assert (record.result.status, len(record.result.scores)) == ("ok", 2)
    assert record.measured.peak_bytes > 10**7
    assert record.measured.outside_seconds is not None


def test_platform_modules_are_guarded_and_texts_are_read_as_utf_8() -> None:
    """A module within `if sys.platform != "win32"` is imported for its platform; the encoding of Windows is another."""
    found = []
    for path in sorted((ROOT / "ddbench").rglob("*.py")):
        text = path.read_text("utf-8")
        if "read_text" not in text and not any(name in text for name in ABSENT):
            continue
        tree = ast.parse(text)
        for node in tree.body:
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.relative_to(ROOT)}: guard {name}" for name in names if name in ABSENT]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "read_text":
                named = node.args or node.keywords or "/proc" in ast.unparse(node)
                found += [] if named else [f"{path.relative_to(ROOT)}:{node.lineno}: name the encoding, utf-8"]
    assert not found


def test_a_folder_is_not_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "sys", WINDOWS)
    monkeypatch.setattr(atomic.os, "open", lambda *arguments: pytest.fail("a folder was opened"))
    atomic.write_atomically(tmp_path / "x", b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_the_peak_is_what_psutil_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Held:
        rss, peak_wset = 5, 7

    monkeypatch.setattr(memory, "sys", WINDOWS)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: Held)
    assert memory.peak_bytes(torch.device("cpu")) == 7


def test_signals_are_named_where_there_are_some() -> None:
    assert of_exit(-9).reason == (
        "the process was ended by SIGKILL (killed), most likely because the machine ran out of memory"
    )
    assert of_exit(-15).reason == "the process was ended by SIGTERM (terminated), from outside"
    assert of_exit(1).reason == "the process ended by itself with exit code 1"


def test_processes_are_spawned_where_nothing_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process.starting_context().get_start_method() == "forkserver"
    monkeypatch.setattr(process.multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    assert process.starting_context().get_start_method() == "spawn"


def test_a_clone_without_symbolic_links_has_its_boards(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "ddbench").mkdir()
    link = tmp_path / "ddbench" / "configs"
    link.write_text("../configs")
    assert followed(link) == (tmp_path / "configs").resolve()
    link.write_text("board: x\n")
    assert followed(link) == link.resolve()
    assert (ROOT / "configs").resolve() == SHIPPED


def test_one_sentence_says_that_windows_is_not_tested(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "sys", WINDOWS)
    code, _, err = call("list", "methods")
    assert (code, err) == (0, f"{app.UNTESTED}\n")
