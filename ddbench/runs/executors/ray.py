"""Runs on a cluster. Ray places them, and places them again where a node is lost; each is watched on its node as here.

The output folder lies on a file system that every node shares: there a run that lost its node goes on from its last
checkpoint. What a method file or a data set is called by its path is found there too.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ddbench.boards.jobs import Job
from ddbench.compute.device import resolve_device
from ddbench.compute.environment import now
from ddbench.compute.module_path import module_path
from ddbench.errors import UserError
from ddbench.io.atomic import make_folder
from ddbench.records.files import damage, read_record
from ddbench.records.run_folder import RECORD
from ddbench.records.schema import UNFINISHED, Record
from ddbench.registry import discover_all_but_methods
from ddbench.runs.executors import Assignment, Event, Listener
from ddbench.runs.executors.interruption import Interruption
from ddbench.runs.executors.lane import leave_record
from ddbench.runs.executors.local import GRACE_SECONDS, Local
from ddbench.runs.status import Outcome

LOSSES = 3
"""nodes that a run may lose and still go on"""
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Ray:
    """As many runs at once as the cluster has room for: a run takes its threads' cores and, on GPUs, one of them."""

    device: torch.device

    @classmethod
    def named(cls, device: str) -> Ray:
        """On the nodes' CPUs or GPUs.

        Args:
            device: `cpu`, `cuda`, or `auto`: whatever this machine has

        Raises:
            UserError: when Ray is not installed.
        """
        _import_ray()
        if device not in ("auto", "cpu", "cuda"):
            raise UserError(f"--device {device} with --executor ray: Ray chooses among GPUs; use auto, cpu or cuda")
        return cls(resolve_device("auto") if device == "auto" else torch.device(device))

    def run(self, assignments: list[Assignment], out: Path, on_event: Listener) -> list[Record]:
        ray, records = _import_ray(), list[Record]()
        if not assignments:
            return records
        with _connected(ray), Interruption() as interruption:
            cluster = _Cluster(ray, on_event)
            for job, folder in assignments:
                cluster.submit(job, folder.resolve(), out.resolve())
            while cluster.busy and not interruption.asked:
                records += cluster.finished()
            if interruption.asked:
                cluster.wind_down()
        return records


class _Cluster:
    """The runs that Ray has in hand."""

    def __init__(self, ray: Any, on_event: Listener) -> None:
        self._ray, self._on_event = ray, on_event
        self._queue = _queue(ray)
        self._busy: dict[Any, tuple[Job, Path, str]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._busy)

    def submit(self, job: Job, folder: Path, out: Path) -> None:
        needs = {"num_cpus": job.cell.threads, "num_gpus": int(job.cell.device == "cuda")}
        self._warn_if_too_large(job, needs)
        make_folder(folder)  # what tells a node whether it shares the file system
        task = self._ray.remote(carry_out).options(
            **needs, max_retries=LOSSES, scheduling_strategy="SPREAD", name=job.folder
        )
        ref = task.remote(job, folder, out, self._queue, os.getcwd(), _settings(), _left_out())
        self._busy[ref] = job, folder, now()

    def finished(self) -> Iterator[Record]:
        """Wait a moment, pass on what runs report, and give the records of those that have ended."""
        ready, _ = self._ray.wait(list(self._busy), timeout=POLL_SECONDS)
        self._pass_on()
        for ref in ready:
            job, folder, started = self._busy.pop(ref)
            record = self._outcome(ref, job, folder, started)
            self._on_event(Event(job, "finished", record=record))
            yield record

    def wind_down(self) -> None:
        """Let every run keep its state at its next step, if that comes soon."""
        for ref, (job, _, _) in self._busy.items():
            self._on_event(Event(job, "stopping"))
            self._ray.cancel(ref, force=False)
        self._ray.wait(list(self._busy), num_returns=len(self._busy), timeout=1.5 * GRACE_SECONDS)

    def _outcome(self, ref: Any, job: Job, folder: Path, started: str) -> Record:
        try:
            record: Record = self._ray.get(ref)
            return record
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            reason = f"Ray gave it up after {LOSSES + 1} attempts ({type(error).__name__})"
            return leave_record(job, folder, Outcome("crashed", reason), started, self._on_event)

    def _pass_on(self) -> None:
        busy = {job.folder for job, _, _ in self._busy.values()}
        for event in self._queue.get_nowait_batch(self._queue.size()):
            if event.job.folder in busy:
                self._on_event(event)

    def _warn_if_too_large(self, job: Job, needs: Mapping[str, int]) -> None:
        wanted = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"]}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= number for name, number in wanted.items()) for node in nodes):
            room = " and ".join(f"{number} {name}" for name, number in wanted.items() if number)
            self._on_event(Event(job, "warning", f"no node has {room}: runs wait until one that has joins the cluster"))


def carry_out(
    job: Job,
    folder: Path,
    out: Path,
    queue: Any,
    place: str,
    settings: Mapping[str, str],
    left_out: Collection[str] = (),
) -> Record:
    """On a node: one run, in a process of its own.

    Args:
        queue: for events
        place: where the command was given; relative paths start there
        settings: environment variables of the command
        left_out: folders that a run imports nothing from, whoever has put them on this process's module path

    Raises:
        UserError: when the run's folder is not there.
    """
    sys.path[:] = [entry for entry in sys.path if entry not in left_out]
    os.environ.update(settings)
    with suppress(OSError):
        os.chdir(place)
    if not folder.exists():
        raise UserError(
            f"{out} is not there on node {socket.gethostname()}; choose an --out on a file system that all nodes share"
        )
    path = folder / RECORD
    if path.exists() and damage(path) is None:  # a node may be lost after it is written
        record = read_record(path)
        if record.result.status not in UNFINISHED:
            return record

    def tell(event: Event) -> None:
        if event.kind != "finished":
            queue.put(event)

    discover_all_but_methods()
    return Local([torch.device(job.cell.device)]).run([(job, folder)], out, tell)[0]


def _import_ray() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        raise UserError("--executor ray needs Ray; install it with `pip install -e '.[ray]'`") from error


@contextmanager
def _connected(ray: Any) -> Iterator[None]:
    """To the cluster at RAY_ADDRESS, or the one that runs here, or one that is started for the while."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", job_config=_job_config())
    except ConnectionError as error:
        address = os.environ.get("RAY_ADDRESS", "this machine")
        raise UserError(f"no Ray answers at {address} ({error}); start it, or unset RAY_ADDRESS") from error
    try:
        yield
    finally:
        ray.shutdown()


def _job_config() -> Any:
    """Return the settings of a job whose workers do not have the current directory first on their module path.

    Ray puts it there for every job but that of a remote client.
    """
    config = import_module("ray.job_config").JobConfig()
    config._client_job = bool(_left_out())
    return config


def _left_out() -> tuple[str, ...]:
    """Return the folders that Ray adds to its workers' module path and that are not on the command's."""
    here = os.getcwd()
    return () if here in module_path() else (here,)


def _queue(ray: Any) -> Any:
    """Return a queue of events on this machine, which is not the node that is lost."""
    strategies = import_module("ray.util.scheduling_strategies")
    here = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return import_module("ray.util.queue").Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("DDBENCH_")}
