"""Calibration and classes: hand-computed cases, labels drawn from the predictions, and an independent textbook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddbench.analyses.calibration import Calibration, calibration_error, reliability, temperature
from ddbench.analyses.classes import Classes, likeness, spread, worst
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import load_dataset
from test_analyses import subject_on


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))


def drawn(count: int = 5000, classes: int = 10, seed: int = 0, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits, and labels that are drawn from the predictions."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_calibration_of_four_images_by_hand() -> None:
    chances = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0])
    found = Calibration(bins=2).measured(chances.log(), labels, torch.Generator())
    assert found["nll"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.3]).mean())
    assert found["brier"] == pytest.approx((2 * 0.1**2 + 2 * 0.6**2 + 2 * 0.2**2 + 2 * 0.7**2) / 4)
    assert found["gap"] == pytest.approx((0.9 + 0.6 + 0.8 + 0.7) / 4 - 0.5)
    # bins {.6, .7}: confidence .65, accuracy 0; {.8, .9}: confidence .85, accuracy 1
    assert found["ece"] == pytest.approx((0.65 + 0.15) / 2)
    confidence, accuracy = reliability(chances, labels, 2)
    assert confidence.tolist() == pytest.approx([0.65, 0.85])
    assert accuracy.tolist() == [0.0, 1.0]


def test_a_temperature_undoes_a_scale() -> None:
    logits, labels = drawn()
    assert temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)
    assert temperature(logits / 2, labels) == pytest.approx(0.5, rel=0.1)


def test_the_temperature_of_two_equal_answers_has_a_closed_form() -> None:
    """With logits (1, 0) for all and a share of 0.8 right, 1 / T is the logit of 0.8."""
    logits = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(10, 1)
    labels = torch.tensor([0] * 8 + [1] * 2)
    assert temperature(logits, labels) == pytest.approx(1 / np.log(4))
    assert temperature(logits, torch.zeros(10, dtype=torch.int64)) == pytest.approx(1e-3)  # no end: the coldest


def test_spread_worst_and_likeness_by_hand() -> None:
    table = torch.tensor([[0.8, 0.2, 0.0], [0.0, 1.0, 0.0], [0.4, 0.0, 0.6]], dtype=torch.float64)
    assert worst(table) == 0.6
    assert spread(table) == pytest.approx(np.std([0.8, 1.0, 0.6]))
    other = torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.2, 0.0, 0.8]], dtype=torch.float64)
    assert likeness(table, other) == pytest.approx(1.0)
    assert likeness(table, torch.eye(3, dtype=torch.float64)) is None
    absent = table.clone()
    absent[2] = 0.0  # a class without test images
    assert (worst(absent), spread(absent)) == (0.8, pytest.approx(0.1))


# -- by statistics and an independent implementation -------------------------------------------------------------------


def test_labels_drawn_from_the_predictions_show_no_error() -> None:
    excesses = []
    for seed in range(8):
        logits, labels = drawn(2000, seed=seed)
        found = Calibration().measured(logits, labels, torch.Generator().manual_seed(seed))
        assert found["ece"] > 0.008  # the bias that is taken off
        excesses.append(found["ece_excess"])
        assert abs(found["gap"]) < 4 * 0.5 / 2000**0.5
    assert abs(np.mean(excesses)) < 3 * np.std(excesses) / 8**0.5 + 1e-3


def test_over_confidence_shows_and_a_temperature_mends_it() -> None:
    logits, labels = drawn()
    sharp = 2 * logits
    before = Calibration().measured(sharp, labels, torch.Generator().manual_seed(0))
    after = Calibration().measured(sharp / temperature(sharp, labels), labels, torch.Generator().manual_seed(0))
    assert before["gap"] > 0.05
    assert before["ece_excess"] > 0.05
    assert abs(after["gap"]) < 0.02
    assert abs(after["ece_excess"]) < 0.02
    assert after["nll"] < before["nll"]


def textbook(logits: Any, labels: Any, bins: int) -> Iterator[float]:
    """The same numbers by loops, as the papers define them."""
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    count, classes = chances.shape
    yield -sum(np.log(chances[i, labels[i]]) for i in range(count)) / count
    yield sum((chances[i, k] - (labels[i] == k)) ** 2 for i in range(count) for k in range(classes)) / count
    confidence, right = chances.max(1), chances.argmax(1) == labels
    yield confidence.mean() - right.mean()
    order = np.argsort(confidence, kind="stable")
    yield sum(
        len(part) / count * abs(confidence[part].mean() - right[part].mean()) for part in np.array_split(order, bins)
    )


def test_numbers_are_the_textbooks() -> None:
    logits, labels = drawn(403, 4)
    found = Calibration().measured(1.5 * logits, labels, torch.Generator())
    expected = dict(
        zip(("nll", "brier", "gap", "ece"), textbook(1.5 * logits.numpy(), labels.numpy(), 15), strict=True)
    )
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.slow  # its import takes seconds
def test_where_bins_are_equal_in_width_and_number_torchmetrics_agrees() -> None:
    classification = pytest.importorskip("torchmetrics.functional.classification")
    confidence = (torch.arange(1500, dtype=torch.float64) + 0.5) / 1500
    right = (torch.rand(1500, generator=torch.Generator().manual_seed(0)) < 0.7).long()
    theirs = classification.binary_calibration_error(confidence, right, n_bins=15, norm="l1")
    # theirs bins the probability of class 1, which here is the confidence
    assert calibration_error(confidence, right.double(), 15) == pytest.approx(float(theirs), abs=1e-6)


# -- on networks -------------------------------------------------------------------------------------------------------


def test_both_on_digits() -> None:
    subject = subject_on(load_dataset("digits"), networks=2)
    found = Calibration(held_out=300).analyse(subject.asked_by("calibration@1", lambda share: None))
    assert set(found.metrics) == {metric.name for metric in Calibration.measures}
    assert all(len(measure.values) == 2 for measure in found.metrics.values())
    assert all(metric.allows(v) for metric in Calibration.measures for v in found.metrics[metric.name].values)
    assert len(found.series["reliability"].columns["accuracy"]) == len(Calibration.figure.points(found)) == 15
    logits = subject.test_logits(next(iter(subject.trained())))
    nll = torch.nn.functional.cross_entropy(logits, subject.data.test_labels)
    assert found.metrics["nll"].values[0] == pytest.approx(float(nll))

    shares = Classes(full_data=0).analyse(subject.asked_by("classes@1", lambda share: None))
    # the artefact is the random images themselves
    assert shares.metrics["amplified_random_real"].values == [0.0, 0.0]
    assert shares.metrics["worst"] == shares.metrics["worst_random_real"]
    assert "worst_full_data" not in shares.metrics
    columns = shares.series["classes"].columns
    assert columns["class"] == list(subject.data.classes)
    assert columns["accuracy"] == pytest.approx(columns["random_real"])
    worst_shares = shares.series["confusions"].columns["share"]
    assert worst_shares == sorted(worst_shares, reverse=True)


def test_networks_on_all_data_stand_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    from ddbench.analyses import references
    from ddbench.evaluation.protocols import Protocol

    full = Protocol("all@1", "test", steps=30, batch_size=64, kind="full_data")
    monkeypatch.setattr(references, "FULL_DATA", full)
    found = Classes(full_data=1).analyse(subject_on(load_dataset("digits"), networks=1))
    own, theirs = found.metrics["spread"].mean, found.metrics["spread_full_data"].mean
    assert found.metrics["amplified_full_data"].mean == pytest.approx(own - theirs)
    assert -1 <= found.metrics["confused_as_full_data"].mean <= 1


def test_regression_has_no_probabilities() -> None:
    images, labels = torch.zeros(10, 1, 8, 8), torch.eye(10)
    artifact = DistilledDataset.pixels(images, labels, label_kind="targets")
    found = Calibration().analyse(subject_on(load_dataset("digits"), artifact))
    assert found.not_applicable == "its networks regress numbers, which are no log-probabilities"
