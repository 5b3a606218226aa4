"""A board of methods that do what methods do in a weekend, beside honest ones: each costs its own cell alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddbench.boards.board import load_board
from ddbench.boards.jobs import Job, resolve
from ddbench.records.files import problems
from ddbench.runs.plan import plan_runs, read_runs, run_jobs
from factories import Call, by_method, outer, write_method

FAULTS = {
    "raises": "raise ValueError('on purpose')",
    "exits": "sys.exit(3)",
    "vanishes": "os._exit(4)",
    "segfaults": "ctypes.string_at(0)",
    "is_killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "hangs": "time.sleep(3600)",
    "swallows": "kept = [torch.ones(2**23) for _ in range(200) if time.sleep(0.02) is None]",
    "asks_too_much": "torch.ones(2**60)",
    "is_not_a_number": "meter.log(loss=math.nan)",
    "explodes": "meter.log(loss=-1e30)",
    "returns_rubbish": "return 'rubbish'",
    "fills_the_disk": "os.fsync = lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))",
    "honest": "pass",
}
"""`swallows` ends at 6.4 GB, if nobody ends it before"""
ENDINGS = {
    "raises": ("failed", "ValueError: on purpose"),
    "exits": ("failed", "it exited by sys.exit(3)"),
    "vanishes": ("crashed", "the process ended by itself with exit code 4"),
    "segfaults": ("crashed", "the process was ended by SIGSEGV (segmentation fault)"),
    "is_killed": (
        "crashed",
        "the process was ended by SIGKILL (killed), most likely because the machine ran out of memory",
    ),
    "hangs": ("timeout", "no step ended within 2 s; last heard of at "),
    "swallows": ("out_of_memory", "{} bytes in use, the budget allows 2,000,000,000"),
    "asks_too_much": ("out_of_memory", "[enforce fail at alloc_cpu.cpp"),
    "is_not_a_number": (
        "diverged",
        "loss became nan at step 4 of distil; the last good snapshot, snapshot-3, is from before step 4",
    ),
    "explodes": ("diverged", "loss exploded from 1 to -1e+30 at step 4 of distil; the last good snapshot, snapshot-3,"),
    "returns_rubbish": ("failed", "TypeError: distill returned a str; return a DistilledDataset"),
    "fills_the_disk": ("crashed", "cannot write {}: No space left on device; free some, and the same command goes on"),
    "honest": ("ok", ""),
    "random_real": ("ok", ""),
}
REPEATED = {"vanishes", "segfaults", "is_killed", "hangs", "fills_the_disk"}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board's file, and its methods' files; the one that hangs is waited for less long."""
    monkeypatch.setattr("ddbench.runs.api.resolve", impatient)
    files = [write_method(tmp_path, name, at_step_4(fault)) for name, fault in FAULTS.items()]
    path = tmp_path / "board.yaml"
    path.write_text(
        f"{{board: faults, datasets: digits, ipc: 1, network: 'convnet,depth=1,width=8', protocol: quick-300@1, "
        f"networks: 1, compile: false, peak_bytes: 2GB, entries: [{{methods: {[*files, 'random_real']}}}]}}"
    )
    return path


def at_step_4(fault: str) -> str:
    return f"if step == 4: {fault}"


def impatient(*arguments: Any) -> list[Job]:
    return [
        dataclasses.replace(job, stall_seconds=2.0) if job.cell.method == "hangs" else job
        for job in resolve(*arguments)
    ]


@pytest.mark.slow  # a dozen runs that end in as many ways; `.ci/run` carries it out beside the default run
def test_every_fault_costs_its_own_cell_alone(call: Call, board: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, shown, err = call("evaluate", board, "--workers", 2, "--device", "cpu", "--out", out)
    assert code == 1
    assert "Traceback" not in err
    assert "segfaults" in shown

    found = by_method(read_runs(out))
    assert found.keys() == ENDINGS.keys()
    for name, (status, reason) in ENDINGS.items():
        result = found[name].result
        assert result.status == status, (name, result.reason)
        beginning, _, end = reason.partition("{}")
        assert (result.reason or "").startswith(beginning), name
        assert end in (result.reason or ""), name
        assert "\n" not in (result.reason or "")
        assert bool(result.scores) == (status == "ok")
    assert all(problems(path) == [] for path in out.glob("*/*/record.json"))

    todo = plan_runs(impatient(load_board(board), "cpu"), out)
    assert {job.cell.method for job, _ in todo.jobs} == REPEATED
    assert by_method(todo.records).keys() == ENDINGS.keys() - REPEATED
    assert all(folder == out / job.folder for job, folder in todo.jobs), "they go on where they were"


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_run_that_was_ended_goes_on_from_its_checkpoint(tmp_path: Path, write: Callable[..., str]) -> None:
    mark = tmp_path / "ended"
    once = f"mark = Path({str(mark)!r}); mark.exists() or (mark.touch(), os._exit(9))"
    jobs = outer(write("sound"), write("ended", at_step_4(once)), curve_seeds=1)
    first = by_method(run_jobs(plan_runs(jobs, tmp_path / "out"), tmp_path / "out"))
    assert {name: record.result.status for name, record in first.items()} == {"sound": "ok", "ended": "crashed"}

    todo = plan_runs(jobs, tmp_path / "out")
    assert [job.cell.method for job, _ in todo.jobs] == ["ended"]
    (record,) = run_jobs(dataclasses.replace(todo, records=[]), tmp_path / "out")
    assert (record.result.status, record.measured.attempts) == ("ok", 2)
    assert record.result.scores == first["sound"].result.scores
    assert record.result.curve == first["sound"].result.curve
    assert len(list((tmp_path / "out").glob("*/*/record.json"))) == 2
    assert plan_runs(jobs, tmp_path / "out").jobs == []


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_failed_run_is_repeated_when_its_method_has_changed(
    tmp_path: Path, write: Callable[..., str], forget: Callable[[str], None]
) -> None:
    path, out = write("mine", "raise ValueError('a mistake')"), tmp_path / "out"
    (failed,) = run_jobs(plan_runs(outer(path), out), out)
    assert failed.result.status == "failed"
    assert plan_runs(outer(path), out).jobs == []

    write("mine")
    forget(path)
    jobs = outer(path)
    todo = plan_runs(jobs, out)
    assert [folder for _, folder in todo.jobs] == [out / jobs[0].folder]
    assert (todo.records, todo.changed) == ([failed], [])
    assert [record.result.status for record in run_jobs(todo, out)] == ["failed", "ok"]
    assert plan_runs(jobs, out).jobs == []
