"""Methods, boards, records and files that several test files make."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from ddbench.analyses.analysis import make_analysis
from ddbench.boards.board import make_board
from ddbench.boards.jobs import Job, resolve
from ddbench.data import Dataset, make_dataset
from ddbench.records.cell import Budget, Cell, NetworkSpec, run_key
from ddbench.records.files import problems, read_record, write_record
from ddbench.records.findings import AnalysisRecord, Findings, Measure
from ddbench.records.run_folder import RECORD, REMAINS
from ddbench.records.schema import CurvePoint, FurtherScore, Measured, Record, Result, Score
from ddbench.records.studies import StudyRecord
from ddbench.registry import PROTOCOLS, discover
from ddbench.runs import record as records_of_runs
from ddbench.runs.context import RunContext, RunMonitor
from ddbench.runs.distill import distil, earlier, open_training
from ddbench.runs.plan import Event, Plan
from ddbench.runs.score import score
from ddbench.task.hyperparameters import settings_of

Call = Callable[..., tuple[int, str, str]]
"""the type of the fixture `call`"""
SOURCE = "sha256:" + "0" * 64
"""the default digest of a record's method"""
COUNTS = (5, 9, 7)
"""training images of each class of `toy`"""
CONVNET = NetworkSpec(name="convnet", parameters={"depth": 2})
METHOD = '''
import ctypes, errno, math, os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import torch
from ddbench import DistilledDataset, State, UserError, register_method

@register_method("{name}")
@dataclass(frozen=True)
class Method:
    """Adds noise to real images."""

    family: ClassVar[str] = "test"
    paper: ClassVar[str] = "none"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed")
    tiny: ClassVar[dict[str, object]] = {{}}
    iterations: int = 8

    def distill(self, task, meter):
        {start}
        images, labels = task.real_init()
        state = State(images=images)
        def result():
            return DistilledDataset.pixels(state.images, labels, initial=task.fixed_initial)
        for step in meter.steps(self.iterations, state, result):
            state.images += 0.01 * torch.rand(images.shape, generator=task.generator("noise"))
            meter.log(loss=1.0 / (step + 1))
            {body}
        {end}
'''


def write_board(folder: Path, *methods: str, **values: Any) -> list[str]:
    """Write a board of eager runs, each scored with one small network, and give the command that carries it out."""
    content = {
        "board": "b",
        "datasets": "digits",
        "ipc": 1,
        "network": "convnet,depth=1,width=8",
        "protocol": "quick-300@1",
        "networks": 1,
        "seeds": 1,
        "compile": False,
        "entries": [{"methods": list(methods)}],
    }
    (folder / "board.yaml").write_text(json.dumps({**content, **values}))
    return ["evaluate", "board.yaml", "--device", "cpu", "--out", "out"]


def write_method(folder: Path, name: str, body: str = "pass", end: str = "return result()", start: str = "pass") -> str:
    """Write a method's file and give its path.

    Args:
        body: a line at the end of every step
        end: the line after the loop
        start: the first line
    """
    path = folder / f"{name}.py"
    path.write_text(METHOD.format(name=name, body=body, end=end, start=start))
    return str(path)


def jobs_of(*methods: str, **values: Any) -> list[Job]:
    """Small runs on digits, by a protocol that this process alone knows (the fixture `short`)."""
    content = {
        "board": "b",
        "datasets": "digits",
        "ipc": 1,
        "network": "convnet,depth=1,width=8",
        "protocol": "short-3@1",
        "networks": 2,
        "checkpoint_seconds": 0,
        "compile": False,
        "entries": [{"methods": [method]} for method in methods],
    }
    return resolve(make_board({**content, **values}), "cpu")


def outer(*methods: str, **values: Any) -> list[Job]:
    """Runs that other processes can carry out: of a protocol that ships."""
    return jobs_of(*methods, **{"protocol": "quick-300@1", "networks": 1, "curve_seeds": 0, **values})


def run(
    job: Job,
    folder: Path,
    cache: Path,
    device: torch.device,
    report: Callable[[str, float], None] = lambda stage, share: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Record:
    """Carry a run through in this process, from wherever an earlier attempt left it, as an executor does in others."""
    discover()
    monitor = RunMonitor(report, stopping, lambda at: report(at.stage, at.fraction))
    context = RunContext.of(job, folder, cache, device, monitor)
    distilled = earlier(folder)
    if distilled is None:
        file = job.modality.prepare(job.cell, job.dataset, cache / "training", context.place)
        distilled = distil(context, open_training(context, file))
    scored = score(context, distilled, lambda: job.modality.evaluator(job.cell, job.dataset, context.place))
    record = records_of_runs.make_record(job, distilled, scored)
    write_record(folder / RECORD, record)
    for name in REMAINS:
        (folder / name).unlink(missing_ok=True)
    return record


def carry_out_here(
    todo: Plan, out: Path, *, executor: object = None, on_event: Callable[[Event], None] = lambda event: None
) -> list[Record]:
    """Carry out what is left in this process, in place of `runs.plan.run_jobs`."""
    made = list[Record]()
    for job, folder in todo.jobs:
        on_event(Event(job, "started"))
        made.append(run(job, folder, out / "cache", torch.device("cpu")))
        on_event(Event(job, "finished", record=made[-1]))
    return [*todo.records, *made]


def run_here(job: Job, folder: Path) -> Record:
    """Carry a run out in this process, and check what it has left."""
    shares = list[float]()
    record = run(job, folder, folder.parent / "cache", torch.device("cpu"), lambda stage, share: shares.append(share))
    assert all(0 <= share <= 1 for share in shares)
    assert problems(folder / "record.json") == []
    assert read_record(folder / "record.json") == record
    for leftover in ("distilled.partial", "scores.partial", "checkpoint.pt"):
        assert not (folder / leftover).exists()
    return record


def by_method(records: list[Record]) -> dict[str, Record]:
    return {record.result.cell.method: record for record in records}


def make_cell(method: str = "good", **changes: Any) -> Cell:
    """Return a cell on digits; `changes` replace its other fields."""
    fields: dict[str, Any] = {
        "method": method,
        "hyperparameters": {"lr": 0.5},
        "dataset": "digits",
        "dataset_digest": "sha256:" + "d" * 64,
        "preprocessing": "normalize",
        "network": CONVNET,
        "setting": "random",
        "ipc": 1,
        "protocol": "dsa-1000@1",
        "networks": 2,
        "budget": Budget(seconds=120),
        "device": "cpu",
        "threads": 1,
    }
    return Cell(**(fields | changes))


def make_record(
    method: str = "good",
    seed: int = 0,
    accuracies: Sequence[float] = (0.5,),
    *,
    steps: tuple[int, int] | None = None,
    curve: Sequence[tuple[float, float]] = (),
    further: Sequence[FurtherScore] = (),
    resolved: dict[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """Return the record of a run whose artefact was scored with one network per accuracy.

    Args:
        steps: how many were done, and planned
        curve: seconds and accuracy of each snapshot
        further: the result's `also`
        resolved: the record's `protocol`
        changes: other fields of the cell, the result, what was measured, or the record
    """
    cells, results, measurements, records = (
        {name: changes.pop(name) for name in model.model_fields if name in changes}
        for model in (Cell, Result, Measured, Record)
    )
    assert not changes, f"no part of a record has these fields: {changes}"
    cell = make_cell(method, **cells)
    result: dict[str, Any] = {
        "cell": cell,
        "seed": seed,
        "status": "ok" if accuracies else "diverged",
        "steps_done": {"distil": steps[0]} if steps else {},
        "steps_planned": {"distil": steps[1]} if steps else {},
        "scores": [Score(network=cell.network, seed=i, accuracy=accuracy) for i, accuracy in enumerate(accuracies)],
        "curve": [CurvePoint(step=i, accuracy=accuracy) for i, (_, accuracy) in enumerate(curve)],
        "also": list(further),
    }
    measured: dict[str, Any] = {
        "seconds": {"distil": 10.0},
        "curve_seconds": [moment for moment, _ in curve],
        "peak_bytes": 4_200_000,
        "started": "2025-01-01T00:00:00+00:00",
        "finished": "2025-01-01T00:00:00+00:00",
        "environment": {},
    }
    record: dict[str, Any] = {
        "key": run_key(cell, seed, records.get("method_source", SOURCE)),
        "board": "tiny",
        "method_source": SOURCE,
        "protocol": resolved or {"name": cell.protocol},
        "stored_bytes": {"images": 2560, "labels": 80},
        "result": Result(**(result | results)),
        "measured": Measured(**(measured | measurements)),
    }
    return Record(**(record | records))


def toy_arrays(channels: int = 3, side: int = 4, seed: int = 0) -> dict[str, Any]:
    """The arrays of 21 train images in three classes of unequal size, labels shuffled, and 6 test images."""
    random = np.random.RandomState(seed)
    return {
        "train_images": random.randint(0, 256, (sum(COUNTS), side, side, channels)).astype(np.uint8),
        "train_labels": random.permutation(np.repeat(np.arange(3), COUNTS)),
        "test_images": random.randint(0, 256, (6, side, side, channels)).astype(np.uint8),
        "test_labels": np.repeat(np.arange(3), 2),
    }


def toy(channels: int = 3, **changes: Any) -> Dataset:
    """The data set of `toy_arrays`, some of which may be other ones."""
    return make_dataset("toy", **{**toy_arrays(channels), **changes})


def rewrite_artifact(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]) -> None:
    """Change the header and the tensors of an artefact, leaving it a sound safetensors file."""
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["ddbench"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    safetensors.torch.save_file(tensors, path, {"ddbench": json.dumps(header)})


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path from there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_finding(
    record: Record, values: dict[str, list[float]], reason: str | None = None, analysis: str = "calibration"
) -> AnalysisRecord:
    """What an analysis has found of a record's artefact.

    Args:
        values: replicates of each measure
        reason: why it does not apply, where it does not
    """
    cell = record.result.cell
    metrics = {name: Measure.over(given) for name, given in values.items()}
    found = AnalysisRecord(
        key="",
        analysis=f"{analysis}@1",
        settings=settings_of(make_analysis(analysis)),
        artifact=str(record.result.artifact),
        dataset="digits",
        dataset_digest=cell.dataset_digest,
        network=cell.network,
        protocol={"name": cell.protocol},
        networks=cell.networks,
        findings=Findings(metrics=metrics, not_applicable=reason),
        seconds=1.0,
        finished="2026-01-01T00:00:00+00:00",
        environment={},
    )
    return found.model_copy(update={"key": found.expected_key()})


def make_study_row(method: str = "dm", final: float = 0.5, variant: str | None = None, **changes: Any) -> StudyRecord:
    """A row of a study, with one run."""
    made = make_record(method, artifact="sha256:" + "a" * 64, protocol="quick-300@1")
    said: dict[str, Any] = {
        "key": "",
        "study": "continual@1",
        "settings": {"steps": 5, "orders": 5},
        "variant": variant,
        "cell": made.result.cell,
        "method_source": made.method_source,
        "protocol": PROTOCOLS.get("quick-300@1").describe(),
        "seeds": 2,
        "runs": [
            {
                "split": "only(1,2)",
                "share": 0.2,
                "seed": 0,
                "key": "0" * 16,
                "status": "ok",
                "artifact": "sha256:" + "a" * 64,
                "seconds": 12.0,
            }
        ],
        "findings": Findings(metrics={"final": Measure.over([final, final + 0.1], "seeds")}),
        "seconds": 1.0,
        "finished": "2026-01-01T00:00:00+00:00",
        "environment": {},
    }
    found = StudyRecord.model_validate({**said, **changes})
    return found.model_copy(update={"key": found.expected_key()})
