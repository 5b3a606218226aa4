"""Commands and runs killed at random times, also while they write: in the end everything is as if nobody had."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from processes import alive, runs_of, start, status

METHOD = '''
"""Two loops, one of them cached; dies by itself at a given moment of a given write."""
import os, signal, time
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar
import torch
from ddbench import DistilledDataset, State, register_method

moment, _, number = os.environ.get("DIE_WHILE_WRITING", "").partition(":")
calls = Counter()

def deadly(name, function, late):
    def call(*arguments):
        calls[name] += 1
        due = name == moment and calls[name] == int(number)
        done = function(*arguments) if late or not due else None
        if due:
            descriptor = os.open(os.environ["DEATHS"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
            os.write(descriptor, f"{name} ".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return call

os.replace = deadly("replaced", deadly("replace", os.replace, late=False), late=True)
os.fsync = deadly("flush", os.fsync, late=False)

@register_method("frail")
@dataclass(frozen=True)
class Frail:
    """Adds noise to real images."""

    family: ClassVar[str] = "test"
    paper: ClassVar[str] = "none"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {}
    scale: float = 0.01

    def distill(self, task, meter):
        def experts(generator):
            state = State(w=torch.zeros(4))
            for _ in meter.steps(10, state, name="experts"):
                state.w += torch.rand(4, generator=generator)
            return {"w": state.w}

        shift = meter.cached("experts", {"scale": self.scale}, experts)["w"].mean()
        images, labels = task.real_init()
        state = State(images=images, seen=[])
        def result():
            return DistilledDataset.pixels(state.images, labels)
        for step in meter.steps(100, state, result):
            noise = torch.rand(images.shape, generator=task.generator("noise"))
            state.images += self.scale * (noise + shift)
            state.seen.append(step)
            meter.log(noise=noise.mean())
            time.sleep(0.01)
        return result()
'''
BOARD = """
board: killed
datasets: [digits]
ipc: 1
network: {name: convnet, depth: 1, width: 8}
protocol: quick-300@1
networks: 2
snapshots: [0, 0.5]
steps: 40
compile: false
checkpoint_seconds: 0
entries:
  - {methods: [./frail.py], seeds: 2}
  - {methods: [./frail.py], set: {scale: 0.02}}
  - {methods: [distribution_matching], set: {batch_real: 16}}
"""
PATIENCE_SECONDS = 180.0
FROM_OUTSIDE, WHILE_WRITING = ("command", "run", "server"), ("flush", "replace", "replaced")
"""the server is what forks the runs"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc")


@dataclass
class Assassin:
    """Carries a board out in one folder after the other, and kills until it has killed often enough."""

    board: Path
    kills: int
    draw: random.Random
    ways: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FROM_OUTSIDE + WHILE_WRITING, 0))
    commands: int = 0

    @property
    def killed(self) -> int:
        return sum(self.ways.values())

    @property
    def deaths(self) -> Path:
        """The moments at which processes have died by themselves."""
        return self.board.parent / "deaths"

    def carry_through(self, out: Path) -> None:
        """Repeat the command until it says that all is well."""
        while True:
            before, killed = finished(out), self.killed
            code = self.command(out)
            assert code == 0 or self.killed > killed, (out.parent / f"{out.name}.log").read_text()
            assert before.items() <= finished(out).items(), "a finished run was repeated"
            if code == 0:
                return

    def command(self, out: Path) -> int:
        self.commands += 1
        deadly = self.killed < self.kills
        env = {"DEATHS": str(self.deaths)}
        if deadly:
            env["DIE_WHILE_WRITING"] = f"{self.draw.choice(WHILE_WRITING)}:{self.draw.randint(1, 80)}"
        process = start(self.board, out, "--workers", "2", "--device", "cpu", env=env)
        try:
            if deadly:
                self.kill(process.pid, self.draw.choice(FROM_OUTSIDE))
            code = process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
        said = out.with_name(f"{out.name}.log").read_text()
        assert "Traceback" not in said, said
        for death in self.deaths.read_text().split() if self.deaths.exists() else []:
            self.ways[death] += 1
        self.deaths.unlink(missing_ok=True)
        return code

    def kill(self, command: int, way: str) -> None:
        """Somewhere within the seconds that two runs take, side by side."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while alive(command) and not runs_of(command) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(self.draw.uniform(0.0, 5.0))
        victims = [command] if way == "command" else runs_of(command)
        if way == "server":
            victims = list({status(run)[1] for run in victims})
        if victims and alive(victim := self.draw.choice(victims)):
            os.kill(victim, signal.SIGKILL)
            self.ways[way] += 1


def finished(out: Path) -> dict[Path, tuple[int, int]]:
    """When the records and artefacts of finished runs were written."""
    found = {}
    for path in out.glob("*/*/record.json"):
        if json.loads(path.read_bytes())["result"]["status"] != "crashed":
            artifact = path.with_name("artifact.safetensors")
            found[path] = path.stat().st_mtime_ns, artifact.stat().st_mtime_ns
    return found


def outcome(out: Path) -> dict[str, tuple[str, bytes]]:
    """Every record's result, and every artefact."""
    return {
        path.parent.name: (
            json.dumps(json.loads(path.read_bytes())["result"]),
            path.with_name("artifact.safetensors").read_bytes(),
        )
        for path in out.glob("*/*/record.json")
    }


@pytest.mark.slow  # five commands or more, each with a fork server of its own; `test_kill.py` kills one by default
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [2, 60])
def test_whoever_is_killed_nothing_is_lost(tmp_path: Path, kills: int) -> None:
    (tmp_path / "frail.py").write_text(METHOD)
    board = tmp_path / "board.yaml"
    board.write_text(BOARD)
    Assassin(board, 0, random.Random(0)).carry_through(tmp_path / "whole")
    whole = outcome(tmp_path / "whole")
    assert len(whole) == 4

    assassin, rounds = Assassin(board, kills, random.Random(kills)), 0
    while assassin.killed < kills:
        out = tmp_path / f"broken-{rounds}"
        assassin.carry_through(out)
        assert outcome(out) == whole
        assert not list(out.rglob("*.damaged")), "a torn file was seen"
        assert not list(out.rglob(".*.part"))
        rounds += 1
    print(f"{assassin.ways} in {assassin.commands} commands over {rounds} boards of {len(whole)} runs")
