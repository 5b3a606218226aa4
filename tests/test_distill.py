"""One artefact by one call, from a script of one's own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from ddbench.artifacts.card import card
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.errors import CannotWrite, UserError
from ddbench.io.atomic import digest
from ddbench.meter.hooks import Logged
from ddbench.records.files import read_record, write_record
from ddbench.records.schema import Record
from ddbench.runs.api import distill, trace_of
from ddbench.runs.executors import process
from ddbench.runs.forecast import CellForecast, Forecast
from ddbench.runs.plan import Event, Plan
from ddbench.runs.record import failed_record
from ddbench.runs.tensorboard import TensorBoard
from factories import METHOD, Call, make_cell, make_record

CALL = """
record = distill({method!r}, "digits", Path({method!r} + ".safetensors"), steps=2, network="convnet,depth=1,width=8")
print(record.result.status)
"""
SMALL: dict[str, Any] = {"steps": 2, "network": "convnet,depth=1,width=8"}


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


@pytest.mark.slow  # several processes; `.ci/run` carries it out
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


@pytest.mark.slow  # several processes; `.ci/run` carries it out
def test_a_process_has_the_environment_of_its_start(tmp_path: Path) -> None:
    """The server that forks keeps the environment in which the first process was started."""
    (tmp_path / "tells.py").write_text(
        "import os\ndef answer(outbox, anchor):\n    outbox.send(os.environ.get('DDBENCH_DATA'))\n"
    )
    code = """
import os, tells
from ddbench.runs.executors.process import Process
for place in ("first", "second", None):
    os.environ.pop("DDBENCH_DATA", None)
    os.environ.update({"DDBENCH_DATA": place} if place else {})
    process = Process(tells.answer)
    print(process.inbox.recv())
    process.end()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["first", "second", "None"]


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


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
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


@pytest.mark.slow  # several processes; `.ci/run` carries it out
def test_the_traceback_of_a_method_stays(tmp_path: Path, write: Callable[..., str]) -> None:
    out = tmp_path / "made.safetensors"
    record = distill(write("mine", "raise IndexError('seven')"), "digits", out, **SMALL)
    assert (record.result.status, record.result.reason) == ("failed", "IndexError: seven")
    assert "IndexError: seven" in trace_of(out).read_text()
    distill(write("mine"), "digits", out, **SMALL)
    assert not trace_of(out).exists()


# -- what the command says, keeps and passes on -----------------------------------------------------------------------


@pytest.mark.slow  # processes of their own; `.ci/run` carries it out
def test_a_set_may_stay_unscored_and_its_losses_be_heard(tmp_path: Path, write: Callable[..., str]) -> None:
    method, out, stages, heard = write("mine"), tmp_path / "made.safetensors", list[str](), list[tuple[str, Logged]]()

    def note(event: Event) -> None:
        stages.extend([event.stage] if event.kind == "progress" else [])

    hook = {"on_event": note, "on_log": lambda run, logged: heard.append((run, logged))}
    record = distill(method, "digits", out, score=False, **hook, **SMALL)
    assert (record.result.status, record.result.unscored, record.result.scores) == ("truncated", True, [])
    assert record.stored_bytes == DistilledDataset.load(out).stored_bytes()
    assert read_record(tmp_path / "made.record.json") == record
    assert stages == ["prepare", "distil 0/8", "check"]
    run = f"mine/{record.name}"
    assert heard == [(run, Logged("distil", step, {"loss": 1 / (step + 1)})) for step in (0, 1)]
    assert record.measured.log == {"loss": [(0, 1.0), (1, 0.5)]}
    text = card(out, tmp_path / "card").read_text()
    assert "Not measured yet: `ddbench score made.safetensors`." in text
    assert re.search(r"\| charged +\| `[\d.]+ s` +\|", text)

    with pytest.raises(UserError, match=r"made\.safetensors exists, and it is not what this command makes; choose"):
        distill(method, "digits", out, seed=1, score=False, **SMALL)
    other = distill(method, "digits", out, seed=1, score=False, force=True, **SMALL)
    assert (other.result.seed, read_record(tmp_path / "made.record.json")) == (1, other)
    assert DistilledDataset.load(out).provenance["seed"] == 1
    assert distill(method, "digits", out, seed=1, force=True, **SMALL) == other  # is there, and is kept


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            {"steps": (30, 100)},
            ["x.safetensors: 10.0 s, 30 of 100 distil steps, accuracy 50.0 %; `ddbench score x.safetensors` scores it, "
             "x.record.json is its record"],
        ),
        (
            {"steps": (5, 20_000), "accuracies": (), "unscored": True, "status": "truncated"},
            ["x.safetensors: 10.0 s, 5 of 20000 distil steps, not scored; `ddbench score x.safetensors` scores it, "
             "x.record.json is its record",
             "warning: barely begun: the budget ended after 5 of 20,000 planned steps, so the set is hardly more than "
             "what the method starts from; raise --budget"],
        ),
        (
            {"steps": (5, 5), "status": "overdrawn", "reason": "12 s were charged to a budget of 2 s"},
            ["x.safetensors: 10.0 s, 5 of 5 distil steps, not scored; `ddbench score x.safetensors` scores it, "
             "x.record.json is its record",
             "warning: overdrawn: 12 s were charged to a budget of 2 s; its scores do not count"],
        ),
    ],
)  # fmt: skip
def test_the_command_says_what_came_of_it(
    changes: dict[str, Any], sentences: list[str], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record(**{"status": "truncated", **changes}, artifact=digest(b"made"))
    monkeypatch.setattr("ddbench.distill", lambda *given, **options: record, raising=False)
    code, out, err = call("distill", "dm", "-d", "digits", "--out", "x.safetensors")
    assert (code, out, err.splitlines()) == (0, "", sentences)


@pytest.mark.parametrize(
    ("distil", "options", "said"),
    [
        (20.0, [], "distilling takes about 20 s, and scoring then about 2 min, which --no-score leaves out"),
        (None, ["--no-score"], "distilling takes as long as its steps do; the set is not scored"),
    ],
)
def test_the_command_says_first_what_it_will_take(
    distil: float | None, options: list[str], said: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = CellForecast(make_cell(), 1, distil, 120.0, 0, "budget")

    def start(*given: object, on_start: Callable[[Plan], None], score: bool, **rest: object) -> Record:
        assert score == (not options)
        on_start(Plan([], [], [], []))
        return make_record(status="ok", artifact=digest(b"made"))

    monkeypatch.setattr("ddbench.distill", start, raising=False)
    monkeypatch.setattr("ddbench.runs.remaining.forecast_left", lambda todo, device: Forecast([cell]))
    assert call("distill", "dm", "-d", "digits", "--out", "x.safetensors", *options)[2].splitlines()[0] == said


class Writer:
    """Stands for TensorBoard's."""

    made: ClassVar[list[Writer]] = []

    def __init__(self, folder: str, flush_secs: int) -> None:
        self.folder, self.curves, self.closed = folder, list[tuple[str, float, int]](), False
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.curves.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_curves_are_written_for_tensorboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setattr(Writer, "made", [])
    with TensorBoard(tmp_path) as curves:
        curves("dm/a", Logged("experts", 0, {"loss": 2.0}))
        curves("dm/b", Logged("distil", 3, {"loss": 1.0, "lr": 0.5}))
        curves("dm/a", Logged("distil", 1, {"loss": 1.5}))
    assert [(one.folder, one.curves, one.closed) for one in Writer.made] == [
        (f"{tmp_path}/dm/a", [("experts/loss", 2.0, 0), ("distil/loss", 1.5, 1)], True),
        (f"{tmp_path}/dm/b", [("distil/loss", 1.0, 3), ("distil/lr", 0.5, 3)], True),
    ]


def test_tensorboard_that_is_missing_is_one_sentence(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said = "ddbench: curves for TensorBoard need it; install it with `pip install -e '.[tensorboard]'`\n"
    for command in (["distill", "dm", "-d", "digits", "--out", "x.safetensors"], ["evaluate", "-m", "dm"]):
        assert call(*command, "--tensorboard", "curves") == (2, "", said)
