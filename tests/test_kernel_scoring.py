"""Scoring by kernel ridge regression: its numbers, where it stands beside training, and what is refused of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddbench.analyses.runner import Case, subject_of
from ddbench.artifacts.card import dataset_card
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.jobs import Job
from ddbench.compute.generators import seeded
from ddbench.data import Dataset, Preprocessing
from ddbench.errors import UserError
from ddbench.evaluation.kernel_evaluator import FEWEST, KernelEvaluator, KernelPredictor
from ddbench.evaluation.kernel_protocol import KernelProtocol
from ddbench.evaluation.modality import Evaluator, Place
from ddbench.evaluation.opening import open_artifact
from ddbench.evaluation.protocols import AnyProtocol, usual_networks
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.families.kernels.named import KERNELS
from ddbench.leaderboard.columns import groups
from ddbench.leaderboard.rows import rows
from ddbench.records.cell import Budget
from ddbench.records.schema import Record, Score
from ddbench.registry import PROTOCOLS, discover
from ddbench.runs.forecast import forecast
from ddbench.runs.speeds import Speed, Speeds
from ddbench.studies.board import make_study_board
from ddbench.studies.rows import resolve_rows
from ddbench.submissions.checks import protocol_complaints
from ddbench.submissions.rescoring import rescore
from ddbench.testing import NETWORK, tiny_dataset
from factories import jobs_of, make_record, run_here
from tasks import setting_of

discover()
CPU = torch.device("cpu")
FC: AnyProtocol = PROTOCOLS.get("krr-fc@1")
QUICK: AnyProtocol = PROTOCOLS.get("quick-300@1")


def trained_on(data: Dataset, held_out: Dataset | None = None) -> ImageEvaluator:
    transform = Preprocessing.for_dataset(data).fit(data)
    setting = setting_of(NETWORK, data)
    assert QUICK.kind == "train"
    return ImageEvaluator(data, transform, QUICK, NETWORK, CPU, setting, held_out=held_out)


def artifacts(data: Dataset) -> dict[str, DistilledDataset]:
    images = trained_on(data).transform(data.train_images[:6])  # two of each class
    soft = torch.randn(6, 3, generator=seeded(1))
    return {
        "index": DistilledDataset.pixels(images, data.train_labels[:6]),
        "probabilities": DistilledDataset.pixels(images, soft.softmax(1), label_kind="probabilities"),
        "logits": DistilledDataset.pixels(images, soft, label_kind="logits"),
        "targets": DistilledDataset.pixels(images, soft, label_kind="targets"),
    }


def predicted(images: Tensor, targets: Tensor, tests: Tensor) -> np.ndarray[Any, Any]:
    """A textbook's regression in numpy."""
    kernel, n = KERNELS["fc"], len(images)
    within, across = (kernel(one.double(), images.double()).numpy() for one in (images, tests))
    ridge = 1e-6 * np.trace(within) / n * np.eye(n)
    found: np.ndarray[Any, Any] = across @ np.linalg.inv(within + ridge) @ targets.double().numpy()
    return found


@pytest.mark.parametrize("kind", ["index", "probabilities", "logits", "targets"])
def test_predictions_are_those_of_a_textbook(kind: str) -> None:
    data = tiny_dataset()
    evaluator, artifact = trained_on(data).under(NETWORK, FC), artifacts(data)[kind]
    assert isinstance(evaluator, KernelEvaluator)
    images, labels = artifact.decode()
    targets = torch.eye(3)[labels] - 1 / 3 if kind == "index" else labels
    tests = evaluator.transform(data.test_images)
    expected = predicted(images, targets, tests)
    assert evaluator.train(artifact)(tests).numpy() == pytest.approx(expected, rel=1e-6, abs=1e-8)
    accuracy = (expected.argmax(1) == data.test_labels.numpy()).mean()
    scores = [evaluator.score(artifact, seed=seed, short=short) for seed, short in ((0, False), (1, True))]
    assert [score.accuracy for score in scores] == [pytest.approx(accuracy)] * 2
    assert [(score.seed, score.metrics) for score in scores] == [(0, {}), (1, {})]


def test_test_images_are_predicted_in_chunks_and_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    data, told = tiny_dataset(), list[float]()
    evaluator = trained_on(data).under(NETWORK, FC).reporting(told.append)
    artifact = artifacts(data)["index"]
    whole = evaluator.score(artifact, seed=0)
    assert told == [0.0]
    monkeypatch.setattr(KernelPredictor, "chunk", 6)
    assert evaluator.score(artifact, seed=0) == whole
    assert told[1:] == [0.0, 0.4, 0.8]


def test_a_chunk_is_a_block_but_not_too_few() -> None:
    def chunk(name: Any, side: int) -> int:
        return KernelPredictor(KERNELS[name], torch.zeros(10, 1, side, side), torch.zeros(10, 3)).chunk

    assert [chunk("fc", 28), chunk("unpooled", 32), chunk("convnet", 28)] == [1000, 2**20 // 32**2 // 10, FEWEST]


def test_evaluators_of_both_kinds_lead_to_each_other() -> None:
    data = tiny_dataset()
    held_out = trained_on(data, held_out=data)
    kernel = held_out.under(NETWORK, FC)
    other = kernel.under(NETWORK, PROTOCOLS.get("krr-unpooled@1"))
    assert (kernel.protocol, other.protocol) == (FC, PROTOCOLS.get("krr-unpooled@1"))
    back = other.under(NETWORK, QUICK)
    assert isinstance(back, ImageEvaluator)
    assert (back.protocol, back.held_out) == (QUICK, None)
    assert kernel.starts_as({"held_out": "another"})


# -- runs -------------------------------------------------------------------------------------------------------------

KRR: dict[str, Any] = {"protocol": "krr-fc@1", "networks": None, "ipc": 1, "network": "mlp,depth=1,width=4"}


@pytest.mark.usefixtures("short")
def test_a_run_is_scored_by_its_kernel_and_in_a_further_way_by_training(tmp_path: Path) -> None:
    (job,) = jobs_of(
        "random_real", **KRR, also=[{"protocol": "krr-unpooled@1"}, {"protocol": "short-3@1", "networks": 1}]
    )
    record = run_here(job, tmp_path / "run")
    assert record.protocol == FC.describe()
    assert [(score.seed, score.accuracy > 0.4) for score in record.result.scores] == [(0, True)]
    assert [(score.protocol, score.seed) for score in record.result.also] == [("krr-unpooled@1", 0), ("short-3@1", 0)]
    assert list(protocol_complaints("random_real", "krr-fc@1", record.protocol)) == []
    assert list(protocol_complaints("random_real", "krr-fc@1", record.protocol | {"regulariser": 0.1})) == [
        "says that krr-fc@1 has regulariser 0.1; it has 1e-06"
    ]
    artifact = DistilledDataset.load(tmp_path / "run" / "artifact.safetensors")
    evaluator = job.modality.evaluator(job.cell, job.dataset, Place(CPU))
    found = rescore(record, artifact, evaluator, Place(CPU), networks=7)
    assert found.ways[0].scores == record.result.scores  # further seeds would predict the same
    text = dataset_card(artifact, "artifact.safetensors", record)
    assert "protocol `krr-fc@1`: kernel ridge regression with the kernel `fc` and a ridge of 1e-06 of the mean" in text
    assert "batch_size=10," in text
    opened = open_artifact(tmp_path / "run" / "artifact.safetensors", protocol="quick-300@1")
    assert (opened.count, opened.protocol) == (5, QUICK)
    case = Case("sha256:00", job.cell, 0, job.cell.network, "krr-fc@1", 1)
    with pytest.raises(
        UserError, match="analyses ask trained networks, and protocol krr-fc@1 trains none: they do not"
    ):
        subject_of(case, artifact, evaluator)


def test_held_out_images_are_predicted_where_there_are_some() -> None:
    (job,) = jobs_of("random_real", **KRR, peek=0.1)
    data = job.modality.data(job.dataset, "test", None)
    evaluator = job.modality.evaluator(job.cell, job.dataset, Place(CPU))
    images = torch.randn(10, *data.data.shape, generator=seeded(0))  # type: ignore[attr-defined]
    score = evaluator.score(DistilledDataset.pixels(images, torch.arange(10)), seed=0)
    assert score.metrics["validation"] == score.metrics["oracle"] == score.accuracy
    assert 0 < score.metrics["held_out"] < 0.6


def test_what_is_left_out_of_a_further_way_is_its_protocol_s_where_kinds_differ() -> None:
    (job,) = jobs_of("random_real", protocol="quick-300@1", networks=3, also=[{"protocol": "krr-fc@1"}])
    assert [way.networks for way in job.cell.also or []] == [1]
    (job,) = jobs_of("random_real", **KRR, also=[{"protocol": "quick-300@1"}])
    assert (job.cell.networks, [way.networks for way in job.cell.also or []]) == (1, [5])
    assert usual_networks(QUICK, "dsa-1000@1", 2) == 2
    assert usual_networks(QUICK, "of-a-plugin@1", 2) == 2
    assert usual_networks(FC, "krr-unpooled@1", None) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"networks": 3}, "krr-fc@1 predicts the same from every seed, and 3 networks are asked for; ask for 1"),
        (
            {"also": [{"protocol": "krr-unpooled@1", "networks": 2}]},
            "also.0: krr-unpooled@1 predicts the same from every",
        ),
        (
            {"analyses": ["calibration@1"]},
            "analyses ask trained networks, and krr-fc@1 trains none; leave analyses out",
        ),
        (
            {"entries": [{"methods": ["random_real"], "setting": "pretrained", "pool": {"dataset": "digits"}}]},
            "krr-fc@1 trains no network, and the cell's start from a pool; choose another protocol",
        ),
        ({"entries": [{"methods": ["full_data"]}]}, "protocol krr-fc@1 with method full_data: full_data and protocols"),
    ],
)
def test_what_makes_no_sense_for_a_kernel_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        jobs_of("random_real", **(KRR | values))


def test_a_study_is_refused() -> None:
    asked = {"study": "continual", "methods": ["dm"], "seconds": 5.0, "protocol": "krr-fc@1", "networks": 1}
    with pytest.raises(UserError, match="a study trains networks, and protocol krr-fc@1 trains none; name another"):
        resolve_rows(make_study_board(asked), "cpu")


# -- tables and forecasts ---------------------------------------------------------------------------------------------


def test_kernels_and_networks_never_share_a_table_or_a_rank() -> None:
    def record(method: str, seed: int, protocol: AnyProtocol, accuracy: float) -> Record:
        return make_record(
            method, seed, [accuracy], protocol=protocol.name, networks=1, resolved=protocol.describe(), budget=Budget()
        )

    made = [
        record(method, seed, protocol, accuracy + seed / 100)
        for protocol, higher in ((FC, 0.3), (QUICK, 0.0))
        for method, accuracy in (("good", 0.5 + higher), ("bad", 0.3 + higher))
        for seed in range(3)
    ]
    tables = groups(rows(made))
    assert [[(row.method, row.rank) for row in table.rows] for table in tables] == [[("good", 1), ("bad", 2)]] * 2
    assert {row.protocol for row in tables[0].rows} == {"krr-fc@1"}
    assert {row.protocol for row in tables[1].rows} == {"quick-300@1"}


def test_scoring_is_forecast_by_the_pairs_that_a_kernel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Speeds, "_measure", lambda self, network, data: Speed(0.0, 0.01))
    monkeypatch.setattr(Speeds, "_pair", lambda self, kernel, data: {"fc": 1e-3, "unpooled": 1e-2}[kernel])
    jobs: list[Job] = jobs_of("dm", **KRR, snapshots=[], also=[{"protocol": "krr-unpooled@1"}], budget=30)
    size = jobs[0].size()
    assert size is not None
    (cell,) = forecast(jobs, [], CPU).cells
    assert cell.evaluate == pytest.approx(10 * (10 + size.test) * (1e-3 + 1e-2))
    assert cell.distil == 30
    score = Score(network=jobs[0].cell.network, seed=0, accuracy=0.5)
    spent = {"evaluation": 2 * 10 * (10 + size.test) * 1e-3}
    like = make_record(
        cell=jobs[0].cell, scores=[score], seconds={"distil": 4.0}, uncharged_seconds=spent, steps=(8, 8)
    )
    (cell,) = forecast(jobs, [like], CPU).cells
    assert cell.distil == pytest.approx(2.0)  # this machine is twice as fast


def test_the_pace_of_a_kernel_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = jobs_of("random_real", **KRR)
    size, speeds, asked = job.size(), Speeds(CPU), list[str]()

    def seconds(kernel: str, data: object, count: int) -> float:
        asked.append(kernel)
        return count**2 * {"convnet": 0.5, "fc": 1e-6}[kernel]

    monkeypatch.setattr(speeds, "_kernel_seconds", seconds)
    assert size is not None
    assert [speeds.pair(kernel, size) for kernel in ("convnet", "convnet", "fc")] == [0.5, 0.5, 1e-6]
    assert asked == ["convnet", "convnet", "fc", "fc", "fc"]  # once to warm up; what is slow, with few images alone


def test_a_kernel_protocol_says_what_it_is() -> None:
    described = KernelProtocol("k@1", "test", "fc").describe()
    assert described == {
        "name": "k@1", "source": "test", "kernel": "fc", "regulariser": 1e-6, "networks": 1, "kind": "krr"
    }  # fmt: skip
    evaluator: Evaluator = trained_on(tiny_dataset()).under(NETWORK, FC)
    assert evaluator.protocol.kind == "krr"
