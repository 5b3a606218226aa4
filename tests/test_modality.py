"""A second kind of data, points in the plane, registers itself in a file of its own; nothing of ddbench knows of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddbench.records.files import read_record
from ddbench.records.schema import Record
from processes import install

POINTS = '''
"""Points in the plane: a modality, a decoder and a metric."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ddbench.compute.generators import derive_seed, seeded
from ddbench.decoders.base import register_decoder
from ddbench.errors import UserError
from ddbench.evaluation.modality import TrainingFile
from ddbench.io.atomic import digest, write_atomically
from ddbench.io.safetensors_files import read_tensors, tensor_bytes
from ddbench.records.metrics import Metric, register_metric
from ddbench.records.schema import Score
from ddbench.registry import MODALITIES, PROTOCOLS

CLASSES, EACH = 3, 40
register_metric(Metric("margin", "mean gap between the two largest answers", low=0.0, high=1e6))


def points(split):
    """Three clusters on a circle: (N, 2), (N,)."""
    generator = seeded(derive_seed("points", split))
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    angle = 2 * torch.pi * labels / CLASSES
    centres = torch.stack([angle.cos(), angle.sin()], 1)
    return centres + 0.3 * torch.randn(len(labels), 2, generator=generator), labels


@register_decoder
@dataclass(frozen=True)
class Plane:
    """Stored points as they are."""

    name: ClassVar[str] = "plane"
    needs: ClassVar[tuple[str, ...]] = ("points", "labels")
    fresh: ClassVar[bool] = False
    rank: ClassVar[int] = 1

    def decode(self, parts, epoch, generator):
        return parts["points"], parts["labels"]


@dataclass(frozen=True)
class Clusters:
    name: str = "clusters"
    digest: str = "sha256:three-clusters"

    def check(self, artifact, described, seed):
        if tuple(artifact.parts["points"].shape) != (CLASSES * described.ipc, 2):
            raise ValueError(f"{len(artifact.parts['points'])} points for {CLASSES} classes x {described.ipc}")


@dataclass(frozen=True)
class Problem:
    """What a method gets: training points and named generators."""

    points: torch.Tensor
    labels: torch.Tensor
    ipc: int
    generators: object


@dataclass(frozen=True)
class Training:
    task: Problem
    described: object
    origin = {}
    provenance = {"preprocessing": {"kind": "none"}}

    def check(self, artifact):
        Clusters().check(artifact, self.described, None)


@dataclass(frozen=True)
class LinearEvaluator:
    """Ridge regression on the points, a random start of the targets for each seed."""

    protocol: object
    network: object
    report: object = print

    def score(self, artifact, *, seed, short=False):
        own, labels = artifact.decode()
        noise = 1e-3 * torch.randn(len(own), CLASSES, generator=seeded(seed))
        x = torch.cat([own, torch.ones(len(own), 1)], 1)
        wanted = torch.nn.functional.one_hot(labels, CLASSES).float() + noise
        solution = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(3), x.T @ wanted)
        test, answers = points("test")
        found = torch.cat([test, torch.ones(len(test), 1)], 1) @ solution
        top = found.topk(2, 1).values
        accuracy = int((found.argmax(1) == answers).sum()) / len(answers)
        metrics = {} if short else {"margin": float((top[:, 0] - top[:, 1]).mean())}
        return Score(network=self.network, seed=seed, accuracy=accuracy, metrics=metrics)

    def reporting(self, report):
        return replace(self, report=report)

    def under(self, network, protocol):
        return replace(self, network=network, protocol=protocol)

    def starts_as(self, provenance):
        return True


class Points:
    name = "points"

    def data(self, dataset, split, peek):
        if dataset != "clusters":
            raise UserError(f"unknown points {dataset!r}; there are clusters")
        return Clusters()

    def check(self, cell, dataset, method):
        if cell.ipc > EACH:
            raise UserError(f"ipc {cell.ipc} is more than a class has, {EACH}; lower it")

    def prepare(self, cell, dataset, folder, place):
        x, labels = points("train")
        payload = tensor_bytes({"x": x, "labels": labels}, {})
        write_atomically(folder / "clusters.safetensors", payload)
        return TrainingFile(folder / "clusters.safetensors", digest(payload))

    def training(self, cell, file, generators, place):
        _, tensors = read_tensors(file.path)
        return Training(Problem(tensors["x"], tensors["labels"], cell.ipc, generators), cell)

    def evaluator(self, described, dataset, place):
        return LinearEvaluator(PROTOCOLS.get(described.protocol), described.network)

    def show(self, file, out, dataset=None):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(b"")


MODALITIES.register("points")(Points())
'''
METHOD = '''
"""A method that moves points."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from points import CLASSES, Plane

from ddbench import DistilledDataset, State, register_method

MARK = Path(__file__).with_name("killed")


@register_method("moving_means")
@dataclass(frozen=True)
class MovingMeans:
    """Points that move to the mean of their class."""

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://example.org"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {}

    iterations: int = 10
    kill_at: int = -1

    def distill(self, task, meter):
        labels = torch.arange(CLASSES).repeat_interleave(task.ipc)
        start = torch.randn(len(labels), 2, generator=task.generators.get("start"))
        means = torch.stack([task.points[task.labels == c].mean(0) for c in labels])
        state = State(points=start)

        def result():
            return DistilledDataset({"points": state.points, "labels": labels}, Plane())

        for step in meter.steps(self.iterations, state, result):
            if step == self.kill_at and not MARK.exists():
                MARK.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            state.points = state.points + 0.5 * (means - state.points)
            meter.log(distance=(means - state.points).norm())
        return result()
'''
BOARD = """
board: plane
datasets: [clusters]
ipc: [1, 2]
modality: points
network: linear
protocol: quick-300@1
budget: 20s
networks: 2
checkpoint_seconds: 0
entries:
  - {methods: [./moving_means.py], set: {kill_at: 5}}
  - {methods: [./moving_means.py]}
"""


REFUSED = """
import ddbench
from ddbench.registry import load_method_file
from pathlib import Path

load_method_file(Path("moving_means.py").resolve())
for changes in ({"datasets": "circles"}, {"ipc": 41}, {"modality": "pionts"}):
    options = {"methods": ["moving_means"], "datasets": "clusters", "ipc": 1, "modality": "points", **changes}
    try:
        ddbench.evaluate(options)
    except ddbench.UserError as error:
        print(error)
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", *arguments]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A folder with the methods' file and a board of runs that are killed once, and of runs that are not."""
    install(tmp_path, "ddbench.extensions", "points", POINTS)
    (tmp_path / "moving_means.py").write_text(METHOD)
    (tmp_path / "plane.yaml").write_text(BOARD)
    return tmp_path


def evaluate(folder: Path, code: int) -> dict[tuple[int, int], Record]:
    """The records of a folder's board by the step at which they are killed and ipc, after the command has ended."""
    done = run(folder, "-m", "ddbench", "evaluate", "plane.yaml")
    assert done.returncode == code, done.stderr
    records = map(read_record, folder.glob("runs/plane/*/*/record.json"))
    return {(record.result.cell.hyperparameters["kill_at"], record.result.cell.ipc): record for record in records}


@pytest.mark.slow  # two commands of four runs each; `.ci/run` carries it out beside the default run
def test_points_are_distilled_killed_resumed_scored_recorded_and_tabled(board: Path) -> None:
    killed = evaluate(board, 1)
    assert sorted(record.result.status for record in killed.values()) == ["crashed", "ok", "ok", "ok"]
    records = evaluate(board, 0)
    assert sorted(record.measured.attempts for record in records.values()) == [1, 1, 1, 2]
    for (_, ipc), record in records.items():
        unbroken = records[-1, ipc]
        assert (record.result.status, record.result.steps_done) == ("ok", {"distil": 10})
        assert record.result.cell.modality == "points"
        assert record.accuracy is not None
        assert record.accuracy > 0.9
        assert all(score.metrics["margin"] > 0 for score in record.result.scores)
        assert record.stored_bytes["images"] == ipc * 3 * 2 * 4
        assert record.result.scores == unbroken.result.scores
        assert record.result.curve == unbroken.result.curve
    assert "moving_means" in (board / "runs/plane/leaderboard.md").read_text()


@pytest.mark.slow  # several processes; `.ci/run` carries it out
def test_a_modality_refuses_a_cell_in_its_own_words(board: Path) -> None:
    done = run(board, "-c", REFUSED)
    assert done.stdout.splitlines() == [
        "unknown points 'circles'; there are clusters",
        "ipc 41 is more than a class has, 40; lower it",
        "unknown modality 'pionts'; did you mean 'points'?",
    ], done.stderr
