"""The command killed with `kill -9` during experts, mid-distillation and mid-evaluation, then run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddbench import checkpoint

BOARD = """
board: killed
datasets: [digits]
ipc: 1
network: {name: convnet, depth: 1, width: 8}
protocol: quick-300@1
networks: 6
steps: 680
checkpoint_seconds: 0
entries:
  - {methods: [random_real], networks: 1}
  - methods: [trajectory_matching]
    set: {iterations: 1000, experts: 4, expert_epochs: 6, epoch_batches: 20, batch_real: 32, student_steps: 4,
          max_start: 3, lr_images: 10.0, lr_lr: 1.0e-5}
"""
"""480 steps of experts, then 200 of distillation until the step budget ends"""
POLL_SECONDS = 0.005
PATIENCE_SECONDS = 90.0
ORPHAN_SECONDS = 5.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")


def start(board: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from ddbench.cli import main; main()", "evaluate", str(board), "--out", str(out)]
    # No git, so that a commit between two commands does not change the artefacts' headers.
    env = {**os.environ, "GIT_DIR": str(board.parent / "no-git"), "OMP_NUM_THREADS": "1"}
    with (board.parent / f"{out.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=board.parent)


def finish(process: subprocess.Popen[bytes], log: Path) -> None:
    assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool], log: Path) -> None:
    """Kill the command, and nothing else, at a moment; its workers must notice by themselves."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(POLL_SECONDS)
    workers = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + ORPHAN_SECONDS
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, f"{workers} outlived the command"
        time.sleep(POLL_SECONDS)
    assert len(workers) >= 2, "the process that forks, and the run"


def descendants(root: int) -> list[int]:
    parents = {int(stat.parent.name): status(int(stat.parent.name))[1] for stat in Path("/proc").glob("[0-9]*/stat")}
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]


def alive(pid: int) -> bool:
    return status(pid)[0] not in "XZ"


def status(pid: int) -> tuple[str, int]:
    """State and parent of a process; `X` where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X", 0
    state, parent = text.rpartition(")")[2].split()[:2]
    return state, int(parent)


def run_folder(out: Path, method: str) -> Path | None:
    return next(iter(out.glob(f"{method}/*/")), None)


def mid_loop(out: Path, name: str) -> bool:
    folder = run_folder(out, "trajectory_matching")
    saved = checkpoint.load(folder / "checkpoint.pt") if folder else None
    loop = saved["loops"].get(name) if saved else None
    return loop is not None and loop["step"] >= 10 and not loop["finished"]


def mid_evaluation(out: Path) -> bool:
    folder = run_folder(out, "trajectory_matching")
    return folder is not None and (folder / "distilled.partial").exists() and (folder / "scores.partial").exists()


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "record.json").read_bytes())
    return content


def test_a_command_killed_at_three_moments_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text(BOARD)
    whole, broken, log = tmp_path / "whole", tmp_path / "broken", tmp_path / "broken.log"
    unbroken = start(board, whole)
    finished: set[int] = set()
    moments: list[Callable[[], bool]] = [
        lambda: mid_loop(broken, "experts"),
        lambda: mid_loop(broken, "distil"),
        lambda: mid_evaluation(broken),
    ]
    try:
        for moment in moments:
            kill_when(start(board, broken), moment, log)
            run = run_folder(broken, "trajectory_matching")
            control = run_folder(broken, "random_real")
            assert run is not None
            assert control is not None
            assert not (run / "record.json").exists(), "the moment was missed"
            finished.add((control / "record.json").stat().st_mtime_ns)
            finished.add((control / "artifact.safetensors").stat().st_mtime_ns)
        assert len(json.loads((run / "scores.partial").read_bytes())) < 6
        finish(start(board, broken), log)
        finish(unbroken, tmp_path / "whole.log")
    finally:
        unbroken.kill()
        unbroken.wait()

    finished.update((control / name).stat().st_mtime_ns for name in ("record.json", "artifact.safetensors"))
    assert len(finished) == 2, "a finished run was repeated"
    for method in ("random_real", "trajectory_matching"):
        one, other = run_folder(whole, method), run_folder(broken, method)
        assert one is not None
        assert other is not None
        assert one.name == other.name
        assert (one / "artifact.safetensors").read_bytes() == (other / "artifact.safetensors").read_bytes()
        assert json.dumps(record(one)["result"]) == json.dumps(record(other)["result"])
        assert list(whole.glob(f"{method}/*")) == [one]
        assert list(broken.glob(f"{method}/*")) == [other]
    result, measured = record(run)["result"], record(run)["measured"]
    assert (result["status"], result["steps_done"]) == ("truncated", {"experts": 480, "distil": 200})
    assert len(result["scores"]) == 6
    assert [point["step"] for point in result["curve"]] == [0, 30]  # 480 and 510 of 680 steps
    assert measured["attempts"] == 4
    assert record(control)["measured"]["attempts"] == 1
