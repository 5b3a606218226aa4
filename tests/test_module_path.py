"""Processes that ddbench starts import what the command does, and nothing of the current directory."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddbench.compute import module_path as paths
from ddbench.compute.module_path import inherited_module_path, module_path
from ddbench.records.files import read_records
from factories import write_method
from processes import EVALUATE, console, copy_checkout, hostile_folder

DISTILL = """
from pathlib import Path
import ddbench
record = ddbench.distill({method!r}, "digits", Path("made.safetensors"), steps=2, network="convnet,depth=1,width=8")
print(record.result.status, record.result.reason)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, a fresh one, which is on the path as ''."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(paths, "ORIGINAL_DIR", str(tmp_path))
    return tmp_path


def test_the_current_directory_is_left_out(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "src").mkdir()
    monkeypatch.setattr(sys, "path", ["", *sys.path[1:], ".", "src"])
    assert module_path() == sys.path[1:-2]


def test_what_stands_on_the_path_by_its_name_stays(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the current directory; and an editable install puts a name there that is no folder."""
    path = [*sys.path[1:], str(here), "__editable__.x.finder.__path_hook__"]
    monkeypatch.setattr(sys, "path", path)
    assert module_path() == path
    assert module_path() is not path


@pytest.mark.parametrize(("file", "name"), [("ours.py", "ours"), ("own/__init__.py", "own"), ("far/x.py", "far.x")])
def test_where_the_command_has_imported_from_it_the_current_directory_stays(
    here: Path, monkeypatch: pytest.MonkeyPatch, file: str, name: str
) -> None:
    (here / file).parent.mkdir(exist_ok=True)
    (here / file).write_text("")
    importlib.invalidate_caches()
    assert str(here) not in module_path()
    importlib.import_module(name)
    try:
        assert module_path() == [str(here), *sys.path[1:]]
        monkeypatch.chdir(here.parent)
        assert module_path() == [str(here), *sys.path[1:]]
    finally:
        for module in {name, name.partition(".")[0]}:
            del sys.modules[module]


def test_a_file_that_was_loaded_by_its_path_was_not_imported_from_there(here: Path) -> None:
    path = here / "mine.py"
    path.write_text("")
    spec = importlib.util.spec_from_file_location("ddbench_method_mine_0", path)
    assert spec is not None
    sys.modules["ddbench_method_mine_0"] = importlib.util.module_from_spec(spec)
    try:
        assert str(here) not in module_path()
    finally:
        del sys.modules["ddbench_method_mine_0"]


def test_a_process_that_is_started_meanwhile_inherits_the_path(here: Path) -> None:
    code = "import sys; print(*sys.path, sep='\\n')"
    expected = list(dict.fromkeys(entry for entry in module_path() if os.path.isabs(entry)))
    with inherited_module_path():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = done.stdout.splitlines()
    assert found[: len(expected)] == expected
    assert not {"", str(here)} & set(found)


def test_what_was_there_before_is_there_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "before")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    path, content, environment = sys.path, list(sys.path), dict(os.environ)

    def fail() -> None:
        with inherited_module_path():
            assert "" not in sys.path
            assert os.environ["PYTHONSAFEPATH"] == "1"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert sys.path is path
    assert sys.path == content
    assert dict(os.environ) == environment


@pytest.mark.slow  # a command with a fork server of its own; `.ci/run` carries it out beside the default run
def test_the_command_works_in_a_folder_of_modules_that_raise(tmp_path: Path) -> None:
    folder, out = hostile_folder(tmp_path / "hostile"), tmp_path / "out"
    done = console(folder, *EVALUATE, out)
    assert done.returncode == 0, done.stderr
    (record,) = read_records(out)
    assert (record.result.status, record.result.reason) == ("ok", None)


@pytest.mark.slow  # a folder with its own `ddbench` and `methods` is part of the test above
def test_the_command_works_in_a_checkout_that_is_not_the_installed_one(tmp_path: Path) -> None:
    folder, out = tmp_path / "clone", tmp_path / "out"
    copy_checkout(folder, "ddbench", "methods")
    done = console(folder, *EVALUATE, out)
    assert done.returncode == 0, done.stderr
    (record,) = read_records(out)
    assert (record.result.status, record.result.reason) == ("ok", None)


@pytest.mark.slow  # two commands, each with a fork server of its own
@pytest.mark.parametrize("script", ["script.py", "-"])
def test_a_run_uses_the_ddbench_of_the_command(tmp_path: Path, script: str) -> None:
    """A clone that is not installed, while another one may be: by a script's file, and on standard input."""
    copy_checkout(tmp_path, "ddbench", "methods")
    line = "Path('log').write_text(sys.modules['ddbench.runs.executors.distilling'].__file__)"
    code = DISTILL.format(method=write_method(tmp_path, "mine", line))
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, input=code, capture_output=True, text=True, check=False
    )
    assert done.stdout == "truncated None\n", done.stderr
    assert (tmp_path / "log").read_text() == str(tmp_path / "ddbench" / "runs" / "executors" / "distilling.py")
