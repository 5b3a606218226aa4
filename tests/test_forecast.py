"""What a board will take, said before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ddbench
from ddbench.boards.jobs import Job, Selection
from ddbench.data import load_dataset
from ddbench.data.builtin import SIZES
from ddbench.records.cell import NetworkSpec, run_key
from ddbench.records.files import write_record
from ddbench.records.schema import Record, Score
from ddbench.registry import discover
from ddbench.runs.forecast import CellForecast, duration, forecast, records_like
from ddbench.runs.speeds import FEW, MANY, Speed, Speeds
from factories import SOURCE, Call, jobs_of, make_record, write_board

discover()

CPU = torch.device("cpu")
SPEED = 0.01
"""seconds an image, of any network in these tests"""
TESTED = len(load_dataset("digits").test_labels) / 3
"""what a test costs, in images that a network is trained on"""
SCORED = 3 * 5 + TESTED
"""likewise one network under `short-3@1`, three steps of five images"""


@pytest.fixture(autouse=True)
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Speeds, "_measure", lambda self, network, data: Speed(0.0, SPEED))


def cell_of(jobs: list[Job], *records: Record) -> CellForecast:
    (cell,) = forecast(jobs, records, CPU).cells
    return cell


def like(job: Job, seconds: float, evaluation: float, **changes: Any) -> Record:
    """Return a record of the job's cell that was scored with two networks, as SCORED counts them."""
    cell = job.cell.model_copy(update=changes.pop("cell", {}))
    scores = [Score(network=cell.network, seed=seed, accuracy=0.5) for seed in range(2)]
    measured = {"seconds": {"distil": seconds}, "uncharged_seconds": {"evaluation": evaluation}}
    key = run_key(cell, 0, SOURCE)
    return make_record(**{"cell": cell, "key": key, "scores": scores, **measured, **changes})


@pytest.mark.usefixtures("short")
def test_scoring_is_counted_in_images_at_the_speed_of_this_machine() -> None:
    bare = cell_of(jobs_of("dm", snapshots=[], seeds=3))
    assert bare.runs == 3
    assert bare.evaluate == pytest.approx(2 * SCORED * SPEED)
    curve = cell_of(jobs_of("dm", snapshots=[0, 0.5], curve_seeds=1, seeds=1))
    points = 2 * (2 * 5 + TESTED)  # two steps of five images
    assert curve.evaluate == pytest.approx((4 * SCORED + points) * SPEED)  # two networks, and two of the start
    control = cell_of(jobs_of("random_real", snapshots=[0, 0.5], curve_seeds=1, seeds=1))
    assert control.evaluate == pytest.approx(2 * SCORED * SPEED)  # it takes no snapshots
    assert control.stored == 4 * 10 * 64
    assert cell_of(jobs_of("dm", snapshots=[0, 0.5], ipc=2)).stored == 3 * 4 * 20 * 64


@pytest.mark.usefixtures("short")
def test_small_steps_cost_more_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Speeds, "_measure", lambda self, network, data: Speed(0.5, SPEED))
    found = cell_of(jobs_of("dm", snapshots=[]))
    assert found.evaluate == pytest.approx(2 * (3 * 0.5 + SCORED * SPEED))


def test_a_network_is_measured_with_few_images_and_with_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # nothing stands in for `_measure`
    took = {FEW: 0.002 + FEW * 1e-4, MANY: 0.002 + MANY * 1e-4}
    monkeypatch.setattr(Speeds, "_step_seconds", lambda self, module, images: took[len(images)])
    speed = Speeds(CPU).of(NetworkSpec(name="mlp"), SIZES["mnist"])
    assert (speed.step, speed.image) == (pytest.approx(0.002), pytest.approx(1e-4))
    took[FEW] = 0.1 * FEW  # too long to try many
    assert Speeds(CPU).of(NetworkSpec(name="mlp"), SIZES["mnist"]) == Speed(0.0, 0.1)


@pytest.mark.usefixtures("short")
def test_without_records_a_run_takes_its_budget_or_what_nobody_knows() -> None:
    bounded, free = cell_of(jobs_of("dm", budget=90)), cell_of(jobs_of("dm"))
    assert (bounded.distil, bounded.basis) == (90, "budget")
    assert (free.distil, free.basis) == (None, "unknown")
    whole = forecast(jobs_of("dm", "dc", seeds=2, snapshots=[]), [], CPU, workers=2)
    assert whole.hours == pytest.approx(4 * 2 * SCORED * SPEED / 2 / 3600)
    assert "the distilling of 2 cells that nothing is known of" in str(whole)


@pytest.mark.usefixtures("short")
def test_a_network_that_is_trained_longer_adds_its_steps() -> None:
    (known,) = jobs_of("k_center", seeds=1, entries=[entry(training_steps=3, batch_real=5)])
    record = like(known, 20.0, 2 * SCORED * SPEED)
    loops = {"steps_planned": {"feature network": 3}, "steps_done": {"feature network": 3}}
    record = record.model_copy(update={"result": record.result.model_copy(update=loops)})
    assert cell_of([known], record).distil == pytest.approx(20)
    longer = cell_of(jobs_of("k_center", seeds=1, entries=[entry(training_steps=10, batch_real=5)]), record)
    assert longer.distil == pytest.approx(20 + 7 * 5 * SPEED)
    shorter = cell_of(jobs_of("k_center", seeds=1, entries=[entry(training_steps=1, batch_real=5)]), record)
    assert shorter.distil == pytest.approx(20 - 2 * 5 * SPEED)


def entry(**settings: int) -> dict[str, Any]:
    return {"methods": ["k_center"], "set": settings}


@pytest.mark.usefixtures("short")
def test_records_of_the_cell_are_scaled_by_the_speed_of_their_machine() -> None:
    jobs = jobs_of("dm", budget=90)
    twice_as_fast = 2 * SCORED * SPEED / 2
    ended_early = like(jobs[0], 20.0, twice_as_fast, steps=(8, 8))
    assert cell_of(jobs, ended_early).distil == pytest.approx(40)
    assert cell_of(jobs, ended_early).basis == "records"
    assert cell_of(jobs, like(jobs[0], 60.0, twice_as_fast, steps=(8, 8))).distil == 90
    cut = like(jobs[0], 20.0, 2 * twice_as_fast, steps=(2, 8))
    assert cell_of(jobs, cut).distil == pytest.approx(80)  # it needed four times as long
    unmeasured = like(jobs[0], 30.0, 0.0, steps=(8, 8))
    assert cell_of(jobs, unmeasured).distil == 30
    foreign = like(jobs[0], 30.0, 1.0, cell={"protocol": "of-a-plugin@1"})
    assert cell_of(jobs, foreign).basis == "budget"
    failed = like(jobs[0], 1.0, 1.0, status="diverged")
    assert cell_of(jobs, failed).basis == "budget"


@pytest.mark.usefixtures("short")
def test_like_cells_are_scaled_by_iterations_and_images_a_step() -> None:
    (job,) = jobs_of("dm", ipc=2)
    batch, iterations = job.cell.hyperparameters["batch_real"], job.cell.hyperparameters["iterations"]
    other = {"ipc": 1, "hyperparameters": job.cell.hyperparameters | {"iterations": iterations // 2}}
    record = like(job, 10.0, 2 * SCORED * SPEED, cell=other)
    found = cell_of([job], record)
    assert found.basis == "like cells"
    assert found.distil == pytest.approx(10 * 2 * (2 + batch) / (1 + batch))


@pytest.mark.usefixtures("short")
def test_records_of_another_data_set_serve_where_its_size_is_known() -> None:
    (job,) = jobs_of("dm")
    other = "sha256:" + "d" * 64
    mnist = like(job, 10.0, 2 * (3 * 5 + 10_000 / 3) * SPEED, cell={"dataset_digest": other, "dataset": "mnist"})
    assert cell_of([job], mnist).distil == pytest.approx(10)  # as many classes, on a machine of the same speed
    assert cell_of([job], mnist).basis == "like cells"
    assert cell_of([job], mnist, like(job, 3.0, 0.0)).distil == 3  # its own data set comes first
    tenfold = like(job, 10.0, 0.0, cell={"dataset_digest": other, "dataset": "cifar100"})
    assert cell_of([job], tenfold).distil == pytest.approx(1)
    unknown = like(job, 10.0, 1.0, cell={"dataset_digest": other, "dataset": "photos"})
    assert cell_of([job], unknown).basis == "unknown"


@pytest.mark.usefixtures("short")
def test_filed_records_of_another_data_set_are_read_where_there_is_none_of_the_own(tmp_path: Path) -> None:
    dm, control = jobs_of("dm", "random_real")
    own = like(control, 1.0, 1.0)
    other, not_needed = (like(job, 1.0, 1.0, cell={"dataset": "mnist"}) for job in (dm, control))
    for record in (own, other, not_needed):
        write_record(tmp_path / "board" / record.result.cell.method / f"{record.name}.json", record)
    assert records_like(tmp_path, [dm, control]) == [other, own]


@pytest.mark.usefixtures("short")
def test_filed_records_of_other_methods_and_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    (job,) = jobs_of("random_real")
    record = like(job, 1.0, 1.0)
    for method in ("random_real", "other"):
        write_record(tmp_path / "board" / method / f"{record.name}.json", record)
    (tmp_path / "board" / "random_real" / "digits-ipc1-damaged.json").write_text("{")
    assert records_like(tmp_path, [job]) == [record]


def test_plan_counts_what_is_left_and_runs_nothing(tmp_path: Path, call: Call) -> None:
    write_board(tmp_path, "random_real", "class_mean", seeds=2, budget=60)
    code, out, _ = call("plan", "board.yaml", "--out", "out", "--device", "cpu", "--json")
    said = json.loads(out)
    assert (code, said["runs"], [cell["method"] for cell in said["cells"]]) == (0, 4, ["random_real", "class_mean"])
    assert not (tmp_path / "out").exists()
    damaged = tmp_path / "elsewhere" / "random_real" / "seed0" / "record.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    code, out, err = call("plan", "board.yaml", "--method", "class_mean", "--out", "elsewhere", "--device", "cpu")
    assert (code, "record.json" in err) == (0, True)
    assert "class_mean" in out
    assert out.splitlines()[-1].startswith("2 runs, about ")


def test_what_a_forecast_does_not_count_is_said(tmp_path: Path, call: Call) -> None:
    study = {"study": "membership", "methods": "random_real", "seconds": "5s", "dataset": "digits", "ipc": 1}
    write_board(tmp_path, "random_real", analyses=["calibration", "classes"], studies=[study])
    code, _, said = call("plan", "board.yaml", "--device", "cpu")
    assert code == 0
    assert "not counted: calibration, classes, membership, which come after scoring" in said
    write_board(tmp_path, "random_real", studies=[{**study, "methods": "nobody"}])
    code, _, said = call("plan", "board.yaml", "--device", "cpu")
    assert (code, "studies.0" in said) == (2, True)


@pytest.mark.slow  # a board
def test_what_is_done_is_not_planned(tmp_path: Path) -> None:
    write_board(tmp_path, "random_real", "class_mean")
    board, out = tmp_path / "board.yaml", tmp_path / "out"
    ddbench.evaluate(board, out, device="cpu", selection=Selection(("random_real",)))
    assert [cell.cell.method for cell in ddbench.plan(board, out, device="cpu").cells] == ["class_mean"]
    ddbench.evaluate(board, out, device="cpu")
    assert str(ddbench.plan(board, out, device="cpu")) == "nothing left to do"


@pytest.mark.parametrize(
    ("seconds", "text"), [(20, "20 s"), (50, "1 min"), (299, "5 min"), (7500, "2 h 5 min"), (4e5, "5 days")]
)
def test_durations_are_written_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
