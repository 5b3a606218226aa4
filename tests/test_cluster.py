"""The job array of docs/cluster.md without a scheduler; workflows, forms and the citation, which others read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "docs" / "cluster" / "board.slurm"


@pytest.fixture
def queue(tmp_path: Path) -> dict[str, str]:
    """The environment of a task: its `scontrol` and `ddbench` note what they are called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    (folder / "ddbench").write_text(
        f"#!{sys.executable}\n"
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        f"Path({str(tmp_path / 'called')!r}).write_text(' '.join(sys.argv[1:]))\n"
        "def end(number, frame):\n"
        "    time.sleep(0.3)  # writes a checkpoint\n"
        "    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"Path({str(tmp_path / 'ready')!r}).touch()\n"
        "if code := os.environ.get('ENDS_WITH'):\n"
        "    sys.exit(int(code))\n"
        "time.sleep(60)\n"
    )
    for path in folder.iterdir():
        path.chmod(0o755)
    task = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_JOB_ID": "17"}
    return {**os.environ, **task, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_task_has_its_share(queue: dict[str, str], tmp_path: Path) -> None:
    for code, ends in (("0", 0), ("1", 0), ("2", 2)):
        done = subprocess.run(["bash", SCRIPT, "board.yaml", "out"], env={**queue, "ENDS_WITH": code}, check=False)
        assert done.returncode == ends
    assert (tmp_path / "called").read_text() == "evaluate board.yaml --shard 3/8 --out out"
    assert not (tmp_path / "requeued").exists()


def test_a_task_whose_time_is_up_is_queued_again_once_its_command_has_ended(
    queue: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen(["bash", SCRIPT, "board.yaml", "out"], env=queue) as task:
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        task.send_signal(signal.SIGTERM)
    assert task.returncode == 130
    assert (tmp_path / "requeued").read_text() == "requeue 17_3\n"


def test_a_task_says_what_it_needs(queue: dict[str, str]) -> None:
    done = subprocess.run(["bash", SCRIPT, "board.yaml"], env=queue, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "name a folder that all tasks see" in done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_workflows_and_forms_can_be_read(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    wanted = {"jobs"} if path.parent.name == "workflows" else {"name", "description", "body"}
    assert path.stem == "config" or wanted <= set(content)


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(cited["version"]) == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
