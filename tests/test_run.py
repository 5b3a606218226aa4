"""One run and its record in this process; many runs, each in a process of its own."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ddbench import runner
from ddbench.artifact import DistilledDataset, file_digest
from ddbench.config import make_board
from ddbench.data import Preprocessing, RealData
from ddbench.errors import UserError
from ddbench.generators import derive_seed, seeded
from ddbench.jobs import Job, resolve
from ddbench.progress import Display
from ddbench.protocols import Protocol
from ddbench.records import Record, problems, read_record
from ddbench.registry import PROTOCOLS
from ddbench.run import failed_record, run
from ddbench.runner import Event, run_jobs, survey

CPU = torch.device("cpu")
FILE = """
import math, os, time
from dataclasses import dataclass
from typing import ClassVar
import torch
from ddbench import DistilledDataset, State, UserError, register_method

@register_method("{name}")
@dataclass(frozen=True)
class Method:
    family: ClassVar[str] = "test"
    paper: ClassVar[str] = "none"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed")
    tiny: ClassVar[dict[str, object]] = {{}}
    iterations: int = 8

    def distill(self, task, meter):
        images, labels = task.real_init()
        state = State(images=images)
        def result():
            return DistilledDataset.pixels(state.images, labels, initial=task.fixed_initial)
        for step in meter.steps(self.iterations, state, result):
            state.images += 0.01 * torch.rand(images.shape, generator=task.generator("noise"))
            meter.log(loss=1.0 / (step + 1))
            {body}
        {end}
"""


@pytest.fixture
def write(tmp_path: Path, methods: Any) -> Callable[..., str]:
    """Writes a method's file and returns its path; it is registered for this test alone."""

    def written(name: str, body: str = "pass", end: str = "return result()") -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(FILE.format(name=name, body=body, end=end))
        return str(path)

    return written


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol of three steps; not known to other processes."""
    protocol = Protocol("short-3@1", "test", steps=3, short=2, batch_size=5)
    monkeypatch.setitem(PROTOCOLS._objects, "short-3@1", protocol)


def jobs_of(*methods: str, **values: Any) -> list[Job]:
    content = {
        "board": "b",
        "datasets": "digits",
        "ipc": 1,
        "network": "convnet,depth=1,width=8",
        "protocol": "short-3@1",
        "networks": 2,
        "checkpoint_seconds": 0,
        "entries": [{"methods": [method]} for method in methods],
    }
    return resolve(make_board({**content, **values}), "cpu")


def run_here(job: Job, folder: Path) -> Record:
    reports = list[tuple[str, float]]()
    record = run(job, folder, folder.parent / "cache", CPU, lambda stage, share: reports.append((stage, share)))
    assert all(0 <= share <= 1 for _, share in reports)
    assert problems(folder / "record.json") == []
    assert read_record(folder / "record.json") == record
    for leftover in ("distilled.partial", "scores.partial", "checkpoint.pt"):
        assert not (folder / leftover).exists()
    return record


# -- one run --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("short")
def test_the_record_of_a_finished_run(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"))
    record = run_here(job, tmp_path / "run")
    result, measured = record.result, record.measured
    assert (result.status, result.reason, result.seed, result.cell) == ("ok", None, 0, job.cell)
    assert (result.steps_done, result.steps_planned) == ({"distil": 8}, {"distil": 8})
    assert result.artifact == file_digest(tmp_path / "run" / "artifact.safetensors")
    assert [score.seed for score in result.scores] == [0, 1]
    # of 8 steps, those before which 0, 0.1, 0.25, 0.5 and 0.75 of them are done
    assert [point.step for point in result.curve] == [0, 1, 2, 4, 6]
    assert len(measured.curve_seconds) == 5
    assert measured.curve_seconds == sorted(measured.curve_seconds)
    assert sorted(path.name for path in (tmp_path / "run").glob("snapshot-*")) == [
        f"snapshot-{index}.safetensors" for index in range(5)
    ]
    assert record.stored_bytes == {"images": 4 * 10 * 64, "labels": 8 * 10, "recipe": 0, "initial": 0}
    assert (record.key, record.board, record.method_source) == (job.key, "b", job.method_source)
    assert record.protocol == job.protocol().describe()
    assert set(measured.seconds) == {"distil"}
    assert {"evaluation", "snapshots", "checkpoints"} <= set(measured.uncharged_seconds)
    assert measured.log["loss"] == [(step, 1 / (step + 1)) for step in range(8)]
    assert (measured.attempts, measured.flops_per_step) == (1, 0)
    assert measured.peak_bytes > 10**6
    assert measured.started <= measured.finished
    assert {"device", "threads", "compiled", "python", "system", "git", "ddbench", "torch"} <= set(measured.environment)
    assert measured.environment["torch"] == torch.__version__


@pytest.mark.usefixtures("short")
def test_equal_runs_leave_equal_results_and_artefacts(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"))
    one, two = (run_here(job, tmp_path / name) for name in ("one", "two"))
    assert one.result == two.result
    assert (tmp_path / "one/artifact.safetensors").read_bytes() == (tmp_path / "two/artifact.safetensors").read_bytes()
    other = run_here(dataclasses.replace(job, seed=1), tmp_path / "three")
    assert other.result.artifact != one.result.artifact


@pytest.mark.usefixtures("short")
def test_images_are_drawn_from_data_network_ipc_and_seed(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("still", end="return DistilledDataset.pixels(*task.real_init())"), ipc=2, steps=1)
    job = dataclasses.replace(job, seed=4)
    run_here(job, tmp_path / "run")
    data = job.load_data()
    real = RealData(data, Preprocessing.for_dataset(data).fit(data), CPU)
    generator = seeded(derive_seed(data.digest, "convnet(depth=1, width=8)", 2, 4, "real_init"))
    real.batch(2, generator, of=range(10))  # the loop's
    images, _ = real.batch(2, generator, of=range(10))
    artifact = DistilledDataset.load(tmp_path / "run" / "artifact.safetensors")
    assert torch.equal(artifact.parts["images"], images)
    assert artifact.provenance["seed"] == 4
    assert artifact.provenance["steps_done"] == {"distil": 1}
    assert artifact.provenance["dataset_digest"] == data.digest


@pytest.mark.usefixtures("short")
def test_a_budget_truncates(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"), steps=5)
    record = run_here(job, tmp_path / "run")
    assert (record.result.status, record.result.reason) == ("truncated", None)
    assert (record.result.steps_done, record.result.steps_planned) == ({"distil": 5}, {"distil": 8})
    assert len(record.result.scores) == 2


@pytest.mark.usefixtures("short")
def test_a_run_without_a_curve_takes_no_snapshots(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"), curve_seeds=0)
    record = run_here(job, tmp_path / "run")
    assert (record.result.curve, record.measured.curve_seconds) == ([], [])
    assert not list((tmp_path / "run").glob("snapshot-*"))


@pytest.mark.usefixtures("short")
def test_the_fixed_setting_stores_its_weights(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"), setting="fixed")
    record = run_here(job, tmp_path / "run")
    # convolution 8 x 9 and 8, normalisation 8 and 8, classifier 10 x 128 and 10
    assert record.stored_bytes["initial"] == 4 * (80 + 16 + 1290)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("body", "end", "status", "reason"),
    [
        ("meter.log(grad=math.nan if step == 3 else 0.0)", "return result()", "diverged", "grad became nan at step 3"),
        ("state.images[0] = math.inf", "return result()", "diverged", "parts['images'] holds values that are not fin"),
        ("raise MemoryError('no more')", "", "out_of_memory", "no more"),
        ("raise MemoryError", "", "out_of_memory", "MemoryError"),
        ("raise torch.OutOfMemoryError('of the device')", "", "out_of_memory", "of the device"),
        ("raise IndexError('first line\\nsecond')", "", "failed", "IndexError: first line"),
        ("pass", "return None", "failed", "AttributeError: "),
        ("pass", "return DistilledDataset.pixels(images[:-1], labels[:-1])", "failed", "ValueError: classes have "),
    ],
)
def test_failures_are_results(
    tmp_path: Path, write: Callable[..., str], body: str, end: str, status: str, reason: str
) -> None:
    (job,) = jobs_of(write("mine", body, end))
    folder = tmp_path / "run"
    record = run_here(job, folder)
    assert record.result.status == status
    assert (record.result.reason or "").startswith(reason)
    assert "\n" not in (record.result.reason or "")
    assert (record.result.artifact, record.result.scores, record.accuracy) == (None, [], None)
    assert record.result.steps_planned == {"distil": 8}
    assert not (folder / "artifact.safetensors").exists()
    assert (folder / "error.txt").exists() == (status == "failed")
    if status == "failed":
        assert "Traceback" in (folder / "error.txt").read_text()


@pytest.mark.usefixtures("short")
def test_a_memory_budget_ends_a_run(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"), peak_bytes=1000)
    record = run_here(job, tmp_path / "run")
    assert record.result.status == "out_of_memory"
    assert (record.result.reason or "").endswith("bytes in use, the budget allows 1,000")


@pytest.mark.usefixtures("short")
def test_a_users_mistake_leaves_no_record(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine", "raise UserError('set it to 3')"))
    with pytest.raises(UserError, match="set it to 3"):
        run(job, tmp_path / "run", tmp_path / "cache", CPU, lambda stage, share: None)
    assert not (tmp_path / "run" / "record.json").exists()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("call", range(7))  # two networks and five snapshots
def test_an_interrupted_evaluation_goes_on(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    from ddbench.evaluate import Judge

    (job,) = jobs_of(write("mine"))
    whole = run_here(job, tmp_path / "whole")
    score, calls = Judge.score, list[int]()

    def interrupted(self: Judge, *given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == call + 1:
            raise KeyboardInterrupt
        return score(self, *given, **named)

    monkeypatch.setattr(Judge, "score", interrupted)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(job, folder, tmp_path / "cache", CPU, lambda stage, share: None)
    known = json.loads((folder / "scores.partial").read_bytes()) if call else {}
    assert len(known) == call
    made = (folder / "artifact.safetensors").stat().st_mtime_ns
    record = run_here(job, folder)
    assert len(calls) == 1 + 7, "a score was computed twice"
    assert (folder / "artifact.safetensors").stat().st_mtime_ns == made
    assert record.result == whole.result
    assert record.measured.attempts == 2


@pytest.mark.usefixtures("short")
def test_the_record_of_a_run_that_left_none(write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"))
    record = failed_record(job, "timeout", "too slow", "2024-01-01T00:00:00+00:00")
    assert (record.result.status, record.result.reason, record.key) == ("timeout", "too slow", job.key)
    assert record.result.cell == job.cell


# -- many runs ------------------------------------------------------------------------------------------------------


def outer(*methods: str, **values: Any) -> list[Job]:
    """Runs that other processes can carry out: of a protocol that ships."""
    return jobs_of(*methods, **{"protocol": "quick-300@1", "networks": 1, "curve_seeds": 0, **values})


def test_a_worker_that_dies_is_recorded_and_the_others_go_on(tmp_path: Path, write: Callable[..., str]) -> None:
    jobs = outer(
        write("dies", "os._exit(7)"), write("mistaken", "raise UserError('set iterations to 3')"), write("sound")
    )
    events = list[Event]()
    out = tmp_path / "out"
    records = run_jobs(survey(jobs, out), out, workers=1, device="cpu", on_event=events.append)
    found = {record.result.cell.method: record for record in records}
    assert list(found) == ["dies", "mistaken", "sound"]
    assert {name: record.result.status for name, record in found.items()} == {
        "dies": "failed", "mistaken": "failed", "sound": "ok",
    }  # fmt: skip
    assert found["dies"].result.reason == "the process ended with exit code 7"
    assert found["mistaken"].result.reason == "set iterations to 3"
    assert len(found["sound"].result.scores) == 1
    for job in jobs:
        folder = out / job.folder
        assert problems(folder / "record.json") == []
        assert read_record(folder / "record.json") == found[job.cell.method]
        assert not (folder / "complaint.txt").exists()
    kinds = [(event.job.cell.method, event.kind) for event in events if event.kind != "progress"]
    assert kinds == [(name, kind) for name in found for kind in ("started", "finished")]
    assert all(event.record is not None for event in events if event.kind == "finished")
    assert {event.job.cell.method for event in events if event.kind == "progress"} <= set(found)

    again = survey(jobs, out)
    assert again.jobs == []
    assert sorted(record.key for record in again.records) == sorted(job.key for job in jobs)
    assert run_jobs(again, out, workers=1, device="cpu") == again.records


@pytest.mark.usefixtures("short")
def test_a_worker_whose_parent_is_gone_records_nothing(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    (job,) = jobs_of(write("mine", "time.sleep(0.25)"))  # long enough for a report within the method
    monkeypatch.setattr(runner, "_end_with_parent", lambda anchor: None)
    monkeypatch.setattr(os, "_exit", leave)
    inbox, outbox = Pipe(duplex=False)
    inbox.close()
    with pytest.raises(SystemExit), outbox:
        runner._work(job, tmp_path / "run", tmp_path / "cache", "cpu", outbox, outbox)
    assert not (tmp_path / "run" / "distilled.partial").exists()
    assert not (tmp_path / "run" / "error.txt").exists()


def test_a_run_that_never_ends_is_timed_out(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(runner, "WALL_PER_BUDGET_SECOND", 1.0)
    out = tmp_path / "out"
    (record,) = run_jobs(survey(outer(write("slow", "time.sleep(600)"), budget=1), out), out, workers=1, device="cpu")
    assert record.result.status == "timeout"
    assert record.result.reason == "the process outlived its wall-clock limit"


def test_a_folder_in_use_is_refused(tmp_path: Path, write: Callable[..., str]) -> None:
    out = tmp_path / "out"
    todo = survey(outer(write("mine")), out)
    with (
        runner._locked(out),
        pytest.raises(UserError, match=f"{out} is in use by another ddbench; wait for it, or choose another --out"),
    ):
        run_jobs(todo, out, workers=1, device="cpu")
    assert not list(out.glob("*/*"))
    with runner._locked(out):  # it was given back
        pass


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, write: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    with pytest.raises(UserError, match=r"cannot write to .*/file/out \(Not a directory\); choose another folder"):
        run_jobs(survey(outer(write("mine")), out), out, workers=1, device="cpu")


@pytest.mark.usefixtures("short")
def test_survey_repeats_nothing_unless_asked(tmp_path: Path, write: Callable[..., str]) -> None:
    path, out = write("mine"), tmp_path / "out"
    jobs = jobs_of(path, seeds=2)
    first, second = survey(jobs, out).jobs
    assert [folder for _, folder in (first, second)] == [out / job.folder for job in jobs]
    done = run_here(*first)
    assert survey(jobs, out).jobs == [second]
    assert survey(jobs, out).records == [done]

    again = survey(jobs, out, again=True)
    assert [folder.name for _, folder in again.jobs] == [f"{first[1].name}-2", second[1].name]
    assert again.records == [done]

    Path(path).write_text(Path(path).read_text() + "# changed\n")
    changed = survey(jobs_of(path, seeds=2), out)
    assert [job.seed for job, _ in changed.jobs] == [1]
    assert (changed.records, changed.changed) == ([done], ["mine"])
    assert survey(jobs, out).changed == []


@pytest.mark.usefixtures("short")
def test_a_run_that_a_board_names_twice_is_done_once(tmp_path: Path, write: Callable[..., str]) -> None:
    path = write("mine")
    jobs = jobs_of(path, path, ipc=[1, 1])
    ((job, folder),) = survey(jobs, tmp_path / "out").jobs
    done = run_here(job, folder)
    todo = survey(jobs, tmp_path / "out")
    assert (todo.jobs, todo.records) == ([], [done])


@pytest.mark.usefixtures("short")
def test_a_record_edited_by_hand_stops_the_survey(tmp_path: Path, write: Callable[..., str]) -> None:
    jobs, out = jobs_of(write("mine")), tmp_path / "out"
    run_here(jobs[0], out / jobs[0].folder)
    path = out / jobs[0].folder / "record.json"
    path.write_text(path.read_text().replace('"ok"', '"truncated"'))
    with pytest.raises(UserError, match="was edited after it was written"):
        survey(jobs, out)


def test_a_warning_of_a_worker_is_shown_once(tmp_path: Path, write: Callable[..., str]) -> None:
    text = "import warnings; warnings.warn('slower [than] it could be')"
    jobs = outer(write("loud", text), write("louder", text))
    shown = io.StringIO()
    display = Display(Console(file=shown, width=200, markup=False))
    out = tmp_path / "out"
    todo = survey(jobs, out)
    display.todo(todo)
    run_jobs(todo, out, workers=1, device="cpu", on_event=display.event)
    assert shown.getvalue().count("warning: slower [than] it could be\n") == 1
