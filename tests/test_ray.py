"""A board on a Ray cluster of two nodes, one of which is lost: the same results as on one machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ddbench.errors import UserError
from ddbench.records.files import read_records
from ddbench.records.schema import Record
from ddbench.runs.executors import Event
from ddbench.runs.plan import plan_runs, read_runs, run_jobs
from factories import by_method, outer
from processes import EVALUATE, console, hostile_folder

ray = pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
from ray.cluster_utils import Cluster  # noqa: E402

from ddbench.runs.executors.ray import Ray, carry_out  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes, each a raylet of its own, with room for one run each; this process is on the first."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # others on this machine would starve them
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "no-git"))  # a commit between two runs would show in the artefacts
    cluster = Cluster()
    for _ in range(2):
        cluster.add_node(num_cpus=1, num_gpus=0, object_store_memory=80 * 2**20, include_dashboard=False)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def results(records: list[Record]) -> dict[str, str]:
    return {name: json.dumps(record.model_dump(mode="json")["result"]) for name, record in by_method(records).items()}


def artifacts(out: Path) -> dict[str, bytes]:
    return {path.parent.parent.name: path.read_bytes() for path in out.glob("*/*/artifact.safetensors")}


def raylet_of(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def test_a_cluster_that_loses_a_node_gives_the_same_results(
    cluster: Cluster, tmp_path: Path, write: Callable[..., str]
) -> None:
    log = tmp_path / "log"
    line = "f\"{os.environ.get('RAY_RAYLET_PID')} {self.name} {step}\\n\".encode()"
    slow = f"time.sleep(0.4); os.write(os.open({str(log)!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY), {line})"
    jobs = outer(*(write(name, slow) for name in ("one", "two", "three", "four")), write("dies", "os._exit(3)"))
    here = run_jobs(plan_runs(jobs, tmp_path / "here"), tmp_path / "here")
    log.unlink()

    _, doomed = cluster.list_all_nodes()
    raylet, events, taken = str(raylet_of(doomed)), list[Event](), list[str]()

    def steps() -> list[tuple[str, str, int]]:
        """Raylet, method and number of every step so far."""
        lines = log.read_text().splitlines() if log.exists() else []
        return [(pid, name, int(step)) for pid, name, step in map(str.split, lines)]

    def listen(event: Event) -> None:
        events.append(event)
        reached = [name for pid, name, step in steps() if pid == raylet and step == 3]
        if reached and not taken:
            taken.append(reached[0])
            cluster.remove_node(doomed, allow_graceful=False)

    there = run_jobs(
        plan_runs(jobs, tmp_path / "there"), tmp_path / "there", executor=Ray.named("cpu"), on_event=listen
    )
    (name,) = taken
    places = {pid for pid, method, _ in steps() if method == name}
    assert len(places) == 2, "the run went on elsewhere"
    assert places > {raylet}
    numbers = [step for _, method, step in steps() if method == name]
    assert sorted(set(numbers)) == list(range(8))
    assert len(numbers) <= 9, "from its last checkpoint: at most the step in hand was repeated"

    assert results(there) == results(here)
    assert artifacts(tmp_path / "there") == artifacts(tmp_path / "here")
    assert results(read_runs(tmp_path / "there")) == results(here)
    assert by_method(there)["dies"].result.status == "crashed"
    finished = [event.job.folder for event in events if event.kind == "finished"]
    assert sorted(finished) == sorted(job.folder for job in jobs)


def test_an_output_folder_that_a_node_does_not_see_is_refused(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = outer(write("one"))
    with pytest.raises(
        UserError, match=rf"{tmp_path}/out is not there on node .*; choose an --out on a file system that"
    ):
        carry_out(job, tmp_path / "out" / "run", tmp_path / "out", None, str(tmp_path), {})


def test_a_node_forgets_a_folder_that_is_not_on_the_commands_path(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = outer(write("one"))
    path = list(sys.path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *path])
    with pytest.raises(UserError, match="is not there on node"):
        carry_out(job, tmp_path / "out" / "run", tmp_path / "out", None, str(tmp_path), {}, (str(tmp_path),))
    assert sys.path == path


def test_the_command_works_in_a_folder_of_modules_that_raise(tmp_path: Path) -> None:
    folder, out = hostile_folder(tmp_path / "hostile"), tmp_path / "out"
    done = console(folder, *EVALUATE, out, "--executor", "ray")
    assert done.returncode == 0, done.stderr
    (record,) = read_records(out)
    assert (record.result.status, record.result.reason) == ("ok", None)
