"""Methods from elsewhere: another package, one that does not import, and a file of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddbench.records.files import read_records
from ddbench.registry import METHODS, discover
from factories import Call
from processes import install

PACKAGE = '''
"""A method in a package of its own."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, State, Task, register_method


@register_method("pull", aliases=["outside"])
@dataclass(frozen=True)
class Pull:
    """Pull random images towards batches of their class."""

    family: ClassVar[str] = "test"
    paper: ClassVar[str] = "https://example.org/pull"
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {"iterations": 5, "batch_real": 8}

    iterations: PositiveInt = 1000
    """steps; the budget may end the run earlier"""
    lr_images: PositiveFloat = 0.1
    batch_real: PositiveInt = 32
    """real images of each class a step"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        images, labels = task.real_init()  # (K * ipc, C, H, W), (K * ipc,)
        state = State(images=images)

        def result() -> DistilledDataset:
            return DistilledDataset.pixels(state.images, labels)

        for _ in meter.steps(self.iterations, state, result):
            real, _ = task.real.batch(self.batch_real, task.generator("real"), of=range(task.classes))
            means = real.unflatten(0, (task.classes, -1)).mean(1).repeat_interleave(task.ipc, 0)  # as images
            meter.log(distance=(means - state.images).square().mean())
            state.images = torch.lerp(state.images, means, self.lr_images)
        return result()
'''
RUN = "from ddbench.cli import main; main()"
TINY = ["-d", "digits", "--steps", "5", "--network", "convnet,depth=1,width=8", "--device", "cpu"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: a sound method and one that raises on import."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "ddbench.methods", "outside_pull", PACKAGE)
    install(folder, "ddbench.methods", "outside_broken", "raise RuntimeError('needs [a GPU]')")
    return folder


def ddbench(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, where `site` is on the path."""
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=site,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow  # processes of their own; `.ci/run` carries it out
def test_a_method_of_another_package_is_listed_and_a_broken_one_hides_nothing(site: Path) -> None:
    assert len([line for line in PACKAGE.splitlines() if line.strip()]) <= 40
    done = ddbench(site, "list", "methods", "--json")
    assert done.returncode == 0
    discover()
    listed = json.loads(done.stdout)
    assert listed["pull"] == "Pull random images towards batches of their class. [outside]"
    assert {name for name in METHODS if METHODS.get(name).__module__.startswith("methods.")} < set(listed)
    assert done.stderr == "plugin outside_broken does not import: RuntimeError: needs [a GPU]\n"


@pytest.mark.slow  # several processes; `.ci/run` carries it out
def test_a_method_of_another_package_is_checked(site: Path) -> None:
    done = ddbench(site, "check", "outside")
    assert (done.returncode, done.stderr) == (0, "outside keeps the contract\n")


@pytest.mark.slow  # the package is listed and checked by default, and `.ci/run` carries this out, too
def test_a_method_of_another_package_is_evaluated(site: Path, tmp_path: Path) -> None:
    done = ddbench(site, "evaluate", "-m", "pull", *TINY, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "pull" in done.stdout
    (record,) = read_records(tmp_path / "out")
    assert (record.result.cell.method, record.result.status) == ("pull", "truncated")
    assert record.result.steps_done == {"distil": 5}
    assert record.result.cell.hyperparameters == {"iterations": 1000, "lr_images": 0.1, "batch_real": 32}
    assert len(record.result.scores) == 5
    assert (tmp_path / "out" / "leaderboard.md").is_file()


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_new_method_runs_as_it_is(call: Call, tmp_path: Path) -> None:
    assert call("new", "my_own") == (0, "", f"wrote {tmp_path}/my_own.py; next: ddbench check ./my_own.py\n")
    assert [path.name for path in tmp_path.iterdir()] == ["my_own.py"]
    code, _, said = call("check", "./my_own.py")
    assert (code, said.splitlines()[0]) == (0, "./my_own.py keeps the contract")
    code, _, err = call("evaluate", "-m", "./my_own.py", *TINY, "--set", "batch_real=16", "--out", "out")
    assert code == 0, err
    (record,) = read_records(tmp_path / "out")
    assert (record.result.cell.method, record.result.status) == ("my_own", "truncated")
    assert record.result.steps_done == {"distil": 5}
