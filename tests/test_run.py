"""One run and its record, in this process."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.boards.jobs import Job
from ddbench.compute.environment import device_name
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data import Preprocessing, RealData, load_dataset
from ddbench.errors import CannotWrite, Stopped, UserError
from ddbench.io.atomic import read_sealed
from ddbench.registry import discover
from ddbench.runs.record import failed_record
from factories import jobs_of, run, run_here

CPU = torch.device("cpu")


def silent(stage: str, share: float) -> None:
    pass


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
    data = load_dataset(job.dataset)
    real = RealData(data, Preprocessing.for_dataset(data).fit(data), CPU)
    generator = seeded(derive_seed(data.digest, "convnet(depth=1, width=8)", 2, 4, "real_init"))
    real.batch(2, generator, of=range(10))  # the loop's
    images, _ = real.batch(2, generator, of=range(10))
    artifact = DistilledDataset.load(tmp_path / "run" / "artifact.safetensors")
    assert torch.equal(artifact.parts["images"], images)
    assert artifact.provenance["seed"] == 4
    assert artifact.provenance["steps_done"] == {"distil": 1}
    assert artifact.provenance["dataset_digest"] == data.digest
    assert artifact.provenance["classes"] == [str(digit) for digit in range(10)]


@pytest.mark.usefixtures("short")
def test_a_budget_truncates(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"), steps=5)
    record = run_here(job, tmp_path / "run")
    assert (record.result.status, record.result.reason) == ("truncated", None)
    assert (record.result.steps_done, record.result.steps_planned) == ({"distil": 5}, {"distil": 8})
    assert len(record.result.scores) == 2


@pytest.mark.usefixtures("short")
def test_a_run_without_a_curve_has_its_start_scored_alone(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"), curve_seeds=0)
    record = run_here(job, tmp_path / "run")
    assert (record.result.curve, record.measured.curve_seconds) == ([], [])
    assert [path.name for path in (tmp_path / "run").glob("snapshot-*")] == ["snapshot-0.safetensors"]
    assert [score.seed for score in record.result.start] == [0, 1]
    whole = run_here(jobs_of(write("mine"))[0], tmp_path / "whole")
    assert whole.result.start == record.result.start


@pytest.mark.usefixtures("short")
def test_a_run_without_snapshots_has_no_start(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"), entries=[{"methods": [write("mine")], "snapshots": []}])
    record = run_here(job, tmp_path / "run")
    assert (record.result.curve, record.result.start) == ([], [])
    assert not list((tmp_path / "run").glob("snapshot-*"))


@pytest.mark.usefixtures("short")
def test_the_fixed_setting_stores_its_weights(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"), setting="fixed")
    record = run_here(job, tmp_path / "run")
    # convolution 8 x 9 and 8, normalisation 8 and 8, classifier 10 x 128 and 10
    assert record.stored_bytes["initial"] == 4 * (80 + 16 + 1290)


@pytest.mark.usefixtures("short")
def test_what_is_cached_of_one_start_serves_no_other(tmp_path: Path) -> None:
    discover()
    entry = {"methods": ["random_real"], "set": {"labels": "expert,epochs=1,epoch_batches=1"}}
    for number, values in enumerate([{}, {"setting": "fixed"}, {"ipc": 2}, {"setting": "fixed", "ipc": 2}]):
        (job,) = jobs_of(entries=[entry], snapshots=[], networks=1, **values)
        run_here(job, tmp_path / str(number))
    assert len(list((tmp_path / "cache").glob("teacher-*"))) == 3  # fresh weights do not depend on the ipc, stored do


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
        ("pass", "return None", "failed", "TypeError: distill returned a NoneType; return a DistilledDataset"),
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
def test_a_setting_that_the_method_refuses_is_its_failure(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine", "raise UserError('set it to 3')"))
    record = run_here(job, tmp_path / "run")
    assert (record.result.status, record.result.reason) == ("failed", "set it to 3")
    assert not (tmp_path / "run" / "error.txt").exists()


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("call", range(7))  # two networks and five snapshots
def test_an_interrupted_evaluation_goes_on(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    from ddbench.evaluation.trainer import ImageEvaluator

    (job,) = jobs_of(write("mine"))
    whole = run_here(job, tmp_path / "whole")
    score, calls = ImageEvaluator.score, list[int]()

    def interrupted(self: ImageEvaluator, *given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == call + 1:
            raise KeyboardInterrupt
        return score(self, *given, **named)

    monkeypatch.setattr(ImageEvaluator, "score", interrupted)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(job, folder, tmp_path / "cache", CPU, silent)
    kept = read_sealed(folder / "scores.partial")
    assert len(json.loads(bytes(kept))["scores"] if kept else {}) == call
    made = (folder / "artifact.safetensors").stat().st_mtime_ns
    record = run_here(job, folder)
    assert len(calls) == 1 + 9, "a score was computed twice"
    assert (folder / "artifact.safetensors").stat().st_mtime_ns == made
    assert record.result == whole.result
    assert record.measured.attempts == 2


@pytest.mark.usefixtures("short")
def test_the_record_of_a_run_that_left_none(write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"))
    record = failed_record(job, "timeout", "too slow", "2024-01-01T00:00:00+00:00")
    assert (record.result.status, record.result.reason, record.key) == ("timeout", "too slow", job.key)
    assert record.result.cell == job.cell
    assert record.measured.environment["device"] == device_name(CPU)
    there = dataclasses.replace(job, cell=job.cell.model_copy(update={"device": "cuda"}))
    record = failed_record(there, "timeout", "too slow", "2024-01-01T00:00:00+00:00")
    assert record.measured.environment["device"] == "unknown"


# -- stopped, killed, damaged ---------------------------------------------------------------------------------------


def stop_at(job: Job, folder: Path, moment: int) -> None:
    """Carry a run on until it has asked so often whether it is to stop."""
    asked = iter(range(moment))
    with pytest.raises(Stopped):
        run(job, folder, folder.parent / "cache", CPU, silent, lambda: next(asked, None) is None)
    assert not (folder / "record.json").exists()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("moment", [0, 3, 7, 8, 12, 20])  # 8 steps, 2 networks of 3 steps, 5 snapshots of 2
def test_a_run_that_is_to_stop_keeps_its_state(tmp_path: Path, write: Callable[..., str], moment: int) -> None:
    (job,) = jobs_of(write("mine"), checkpoint_seconds=10**6)  # none but the one at the stop
    whole = run_here(job, tmp_path / "whole")
    stop_at(job, tmp_path / "run", moment)
    record = run_here(job, tmp_path / "run")
    assert record.result == whole.result
    assert record.measured.attempts == 2


@pytest.mark.usefixtures("short")
def test_a_stopped_step_is_not_repeated(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine", f"with open({str(tmp_path / 'steps')!r}, 'a') as file: file.write(f'{{step}} ')"))
    stop_at(job, tmp_path / "run", 2)
    run_here(job, tmp_path / "run")
    assert (tmp_path / "steps").read_text().split() == list("01234567")


def spoil(path: Path) -> None:
    """Change one bit near the end of a file."""
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("moment", "damaged"),
    [
        (5, ["checkpoint.pt"]),
        (5, ["snapshot-1.safetensors"]),
        (14, ["scores.partial"]),
        (14, ["distilled.partial"]),
        (14, ["distilled.partial", "checkpoint.pt"]),
        (14, ["artifact.safetensors"]),
        (14, ["snapshot-4.safetensors", "scores.partial"]),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "damage",
    [pytest.param(spoil, id="bit"), pytest.param(tear, id="torn", marks=pytest.mark.slow)],
)
def test_what_is_damaged_is_named_and_made_anew(
    tmp_path: Path, write: Callable[..., str], moment: int, damaged: list[str], damage: Callable[[Path], Any]
) -> None:
    (job,) = jobs_of(write("mine"))
    whole = run_here(job, tmp_path / "whole")
    folder = tmp_path / "run"
    stop_at(job, folder, moment)
    for name in damaged:
        damage(folder / name)
    with pytest.warns(RuntimeWarning, match="is damaged") as said:
        assert run_here(job, folder).result == whole.result
    assert {str(warning.message).partition(" is damaged")[0] for warning in said} == {
        str(folder / name) for name in damaged
    }
    assert {path.name for path in folder.glob("*.damaged")} == {f"{name}.damaged" for name in damaged}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("fail_at", [pytest.param(n, marks=[pytest.mark.slow] * (n % 2 == 0)) for n in range(1, 30, 3)])
def test_a_full_disk_fails_before_the_old_state_is_lost(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    (job,), folder = jobs_of(write("mine")), tmp_path / "run"
    whole = run_here(job, tmp_path / "whole")
    flush, flushed = os.fsync, list[int]()

    def full(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) >= fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match=r": No space left on device; free some, and the same command goes on$"):
        run(job, folder, tmp_path / "cache", CPU, silent)
    monkeypatch.setattr(os, "fsync", flush)
    assert not list(folder.glob(".*.part"))
    assert run_here(job, folder).result == whole.result
    assert not list(folder.glob("*.damaged"))


@pytest.mark.usefixtures("short")
def test_another_data_set_under_the_same_name_is_refused(tmp_path: Path, write: Callable[..., str]) -> None:
    (job,) = jobs_of(write("mine"))
    other = dataclasses.replace(job, cell=job.cell.model_copy(update={"dataset_digest": "sha256:0"}))
    with pytest.raises(UserError, match="digest sha256:0 is asked for, but 'digits' here is another one "):
        run(other, tmp_path / "run", tmp_path / "cache", CPU, silent)
