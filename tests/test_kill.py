"""The command killed with `kill -9` during experts, mid-distillation and mid-evaluation, then run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import ddbench
from ddbench.io.atomic import read_sealed
from ddbench.meter import checkpoint
from ddbench.meter.resuming import group_of
from factories import write_board, write_method
from processes import alive, descendants, start

NETWORKS = 4
BOARD = f"""
board: killed
datasets: [digits]
ipc: 1
network: {{name: convnet, depth: 1, width: 8}}
protocol: quick-300@1
networks: {NETWORKS}
steps: 500
compile: false
checkpoint_seconds: 0
entries:
  - {{methods: [random_real], networks: 1}}
  - methods: [trajectory_matching]
    set: {{iterations: 1000, experts: 4, expert_epochs: 6, epoch_batches: 15, batch_real: 32, student_steps: 2,
          max_start: 3, lr_images: 10.0, lr_lr: 1.0e-5, augment: false}}
"""
"""240 steps of experts, who go no further than a segment can reach, then 260 of distillation"""
SETTINGS = """
board: settings
datasets: [digits]
ipc: 1
network: {name: convnet, depth: 1, width: 8}
protocol: own-recipe@1
networks: 1
checkpoint_seconds: 0
compile: false
seeds: 1
entries:
  - {methods: [backprop], setting: fixed, set: &few {iterations: 100, batch_real: 64}}
  - {methods: [backprop], set: *few}
  - {methods: [backprop], setting: pretrained, pool: {dataset: digits, train: 2, held_out: 1, steps: 20}, set: *few}
"""
POLL_SECONDS = 0.005
PATIENCE_SECONDS = 180.0
ORPHAN_SECONDS = 60.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")

CPU = torch.device("cpu")


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


def run_folder(out: Path, method: str) -> Path:
    """Of the method's one run; a place where nothing is before it has begun."""
    found = list(out.glob(f"{method}/*/"))
    assert len(found) <= 1, found
    return found[0] if found else out / "not begun"


def mid_loop(out: Path, name: str) -> bool:
    saved = checkpoint.load(run_folder(out, "trajectory_matching") / "checkpoint.pt", CPU)
    loops = [loop for key, loop in saved["loops"].items() if group_of(key) == name] if saved else []
    return any(loop["step"] >= 10 and not loop["finished"] for loop in loops)


def mid_evaluation(out: Path) -> bool:
    return (run_folder(out, "trajectory_matching") / "scores.partial").exists()


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "record.json").read_bytes())
    return content


def times(folder: Path) -> list[int]:
    return [(folder / name).stat().st_mtime_ns for name in ("record.json", "artifact.safetensors")]


@pytest.mark.slow  # five commands, each with a fork server of its own; `.ci/run` carries it out beside the default run
def test_a_command_killed_at_three_moments_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text(BOARD)
    whole, broken, log = tmp_path / "whole", tmp_path / "broken", tmp_path / "broken.log"
    moments: list[Callable[[], bool]] = [
        lambda: mid_loop(broken, "experts"),
        lambda: mid_loop(broken, "distil"),
        lambda: mid_evaluation(broken),
    ]
    written = list[list[int]]()
    unbroken = start(board, whole)
    try:
        for moment in moments:
            kill_when(start(board, broken), moment, log)
            assert not (run_folder(broken, "trajectory_matching") / "record.json").exists(), "the moment was missed"
            written.append(times(run_folder(broken, "random_real")))
        kept = read_sealed(run_folder(broken, "trajectory_matching") / "scores.partial")
        assert kept is not None
        assert len(json.loads(bytes(kept))["scores"]) < NETWORKS
        finish(start(board, broken), log)
        finish(unbroken, tmp_path / "whole.log")
    finally:
        unbroken.kill()
        unbroken.wait()

    for method in ("random_real", "trajectory_matching"):
        one, other = run_folder(whole, method), run_folder(broken, method)
        assert one.name == other.name
        assert (one / "artifact.safetensors").read_bytes() == (other / "artifact.safetensors").read_bytes()
        assert json.dumps(record(one)["result"]) == json.dumps(record(other)["result"])
    run, control = run_folder(broken, "trajectory_matching"), run_folder(broken, "random_real")
    assert written == [times(control)] * 3, "a finished run was repeated"
    result = record(run)["result"]
    assert (result["status"], result["steps_done"]) == ("truncated", {"experts": 240, "distil": 260})
    assert len(result["scores"]) == NETWORKS
    assert [point["step"] for point in result["curve"]] == [0, 10, 135]  # 240, 250 and 375 of 500 steps
    assert record(run)["measured"]["attempts"] == 4
    assert record(control)["measured"]["attempts"] == 1


@pytest.mark.slow
def test_wherever_networks_start_a_killed_distillation_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text(SETTINGS)
    whole, broken, log = tmp_path / "whole", tmp_path / "broken", tmp_path / "broken.log"

    def mid_distillation_after(finished: int) -> bool:
        loops = [saved["loops"] for path in broken.glob("*/*/checkpoint.pt") if (saved := checkpoint.load(path, CPU))]
        steps = [loop["distil"]["step"] for loop in loops if "distil" in loop and not loop["distil"]["finished"]]
        return len(list(broken.glob("*/*/record.json"))) == finished and any(step >= 10 for step in steps)

    unbroken = start(board, whole)
    try:
        for finished in range(3):
            kill_when(start(board, broken, "--workers", "1"), partial(mid_distillation_after, finished), log)
        finish(start(board, broken), log)
        finish(unbroken, tmp_path / "whole.log")
    finally:
        unbroken.kill()
        unbroken.wait()

    folders = sorted(path.parent.relative_to(whole) for path in whole.glob("*/*/record.json"))
    settings = {record(whole / folder)["result"]["cell"]["setting"]: folder for folder in folders}
    assert sorted(settings) == ["fixed", "pretrained", "random"]
    for folder in folders:
        one, other = whole / folder, broken / folder
        assert (one / "artifact.safetensors").read_bytes() == (other / "artifact.safetensors").read_bytes()
        assert json.dumps(record(one)["result"]) == json.dumps(record(other)["result"])
        assert record(other)["measured"]["attempts"] == 2


@pytest.mark.slow  # a command begun, interrupted and begun again; `.ci/run` carries it out beside the default run
@pytest.mark.usefixtures("methods")
def test_control_c_repeats_no_step_and_says_how_to_go_on(tmp_path: Path) -> None:
    steps, board, log = tmp_path / "steps", tmp_path / "board.yaml", tmp_path / "out.log"
    body = f"time.sleep(0.05); os.write(os.open({str(steps)!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY), b'%d ' % step)"
    entry = {"methods": write_method(tmp_path, "patient", body), "set": {"iterations": 40}}
    write_board(tmp_path, checkpoint_seconds=1e6, entries=[entry])
    process = start(board, tmp_path / "out")
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not steps.exists() or len(steps.read_text().split()) < 5:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(POLL_SECONDS)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 130
    finally:
        process.kill()
        process.wait()
    said = log.read_text()
    assert "stopping: every run keeps its state at its next step; Control-C again ends at once" in said
    assert said.endswith("interrupted; the same command resumes\n")
    assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("*/*/record.json"))

    (resumed,) = ddbench.evaluate(board, tmp_path / "out", device="cpu")
    assert (resumed.result.status, resumed.measured.attempts) == ("ok", 2)
    assert steps.read_text().split() == [str(step) for step in range(40)]
