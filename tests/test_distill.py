"""One artefact by one call, from a script of one's own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.errors import CannotWrite
from ddbench.io.atomic import digest
from ddbench.records.files import write_record
from ddbench.runs.api import distill, trace_of
from ddbench.runs.executors import process
from ddbench.runs.plan import Plan
from ddbench.runs.record import failed_record
from factories import METHOD

CALL = """
record = distill({method!r}, "digits", Path({method!r} + ".safetensors"), steps=2, network="convnet,depth=1,width=8")
print(record.result.status)
"""
SMALL = {"steps": 2, "network": "convnet,depth=1,width=8"}


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(f"from pathlib import Path\nfrom ddbench import distill\n{text}")
    done = subprocess.run([sys.executable, str(path)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # the README's code is a script without a guard, too; `.ci/run` carries both out
def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    assert script(tmp_path, CALL.format(method="dm")) == "truncated\n"
    assert DistilledDataset.load(tmp_path / "dm.safetensors").decode()[0].shape == (10, 1, 8, 8)


@pytest.mark.slow  # two commands in one script; `.ci/run` carries it out beside the default run
def test_a_script_that_registers_a_method_or_imports_one_is_run_for_it(tmp_path: Path) -> None:
    own, imported = (METHOD.format(name=name, start="pass", body="pass", end="return result()") for name in "ab")
    (tmp_path / "ours.py").write_text(imported)
    calls = "".join(CALL.format(method=name) for name in "ab").replace("\n", "\n    ")
    code = f"{own}\nimport ours\nif __name__ == '__main__':\n    {calls}"
    assert script(tmp_path, code) == "truncated\ntruncated\n"


def test_a_script_that_knows_more_than_ddbench_is_told_apart(write: Callable[..., str]) -> None:
    code = f"""
from pathlib import Path
from ddbench.evaluation.protocols import Protocol, register_protocol
from ddbench.registry import discover, is_discovered, load_method_file
discover()
load_method_file(Path({write("mine")!r}))
print(is_discovered())
register_protocol(Protocol("own-1@1", "ours", steps=1, batch_size=1, lr=0.1))
print(is_discovered())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\nFalse\n"


def test_scripts_are_left_out_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "is_discovered", lambda: True)
    script, inside, leave = sys.modules["__main__"], threading.Event(), threading.Event()

    def other() -> None:
        with process._script_left_out():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with process._script_left_out():
        assert sys.modules["__main__"] is not script
        thread.start()
        inside.wait(0.2)  # in vain
    leave.set()
    thread.join()
    assert sys.modules["__main__"] is script


def test_a_place_that_is_no_folder_is_one_sentence(tmp_path: Path, write: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match=r"cannot write to .*/file/.x.safetensors.work \(Not a directory\)"):
        distill(write("mine"), "digits", tmp_path / "file" / "x.safetensors", **SMALL)


def test_a_crash_of_the_past_is_not_the_outcome(tmp_path: Path, write: Callable[..., str]) -> None:
    method, out = write("mine"), tmp_path / "made.safetensors"

    def crash_before(todo: Plan) -> None:
        ((job, folder),) = todo.jobs
        other = replace(job, method_source=digest(b"another"))
        record = failed_record(other, "crashed", "ran out of memory", "2026-01-01T00:00:00+00:00")
        write_record(folder.with_name(f"{folder.name}-before") / "record.json", record)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(method, "digits", out, on_start=crash_before, **SMALL)
    assert distill(method, "digits", out, **SMALL).result.status == "truncated"
    assert DistilledDataset.load(out).provenance["method"] == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".made")] == []


def test_the_traceback_of_a_method_stays(tmp_path: Path, write: Callable[..., str]) -> None:
    out = tmp_path / "made.safetensors"
    record = distill(write("mine", "raise IndexError('seven')"), "digits", out, **SMALL)
    assert (record.result.status, record.result.reason) == ("failed", "IndexError: seven")
    assert "IndexError: seven" in trace_of(out).read_text()
    distill(write("mine"), "digits", out, **SMALL)
    assert not trace_of(out).exists()
