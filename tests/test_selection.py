"""Readings along a training and what each rule of selection makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import Dataset, Preprocessing, load_dataset
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.selection import READINGS, moments, select
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.networks import Chunks
from ddbench.records.cell import NetworkSpec
from ddbench.records.schema import Selected
from tasks import setting_of

TINY = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8})


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [
        (300, 10, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300]),
        (1001, 4, [251, 501, 751, 1001]),  # parts of steps are rounded up
        (3, 10, [1, 2, 3]),
        (7, 1, [7]),
    ],
)
def test_readings_are_spread_evenly_and_end_with_the_last_step(steps: int, count: int, expected: list[int]) -> None:
    assert moments(steps, count) == expected


@pytest.mark.parametrize(
    ("test", "held_out", "expected"),
    [
        ([0.2, 0.6, 0.5, 0.4], [0.1, 0.2, 0.3, 0.2], (0.4, 0.5, 0.6)),
        ([0.2, 0.6, 0.5], [0.3, 0.3, 0.1], (0.5, 0.2, 0.6)),  # of equally good ones the first
        ([0.7], [0.0], (0.7, 0.7, 0.7)),
        ([0.9, 0.3], [0.1, 0.8], (0.3, 0.3, 0.9)),
    ],
)
def test_selected_by_hand(test: list[float], held_out: list[float], expected: tuple[float, ...]) -> None:
    last, validation, oracle = expected
    assert select(test, held_out) == Selected(last=last, validation=validation, oracle=oracle)


@pytest.mark.parametrize(("test", "held_out"), [([], []), ([0.5], []), ([0.5], [0.1, 0.2])])
def test_readings_come_in_pairs(test: list[float], held_out: list[float]) -> None:
    with pytest.raises(ValueError, match=r"empty|longer|shorter"):
        select(test, held_out)


# -- along the training of an evaluation network --------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits")


def judge(data: Dataset, steps: int = 20, **changes: Any) -> ImageEvaluator:
    # A step size that falls late and never restarts: a training of fewer steps is the beginning of a longer one.
    protocol = Protocol("p@1", "test", steps=steps, short=5, batch_size=10, lr=0.3, decay_at=1, restart=False)
    transform, setting = Preprocessing.for_dataset(data).fit(data), setting_of(TINY, data)
    return ImageEvaluator(data, transform, protocol, TINY, torch.device("cpu"), setting, **changes)


def artifact(data: Dataset, count: int = 30) -> DistilledDataset:
    images = Preprocessing.for_dataset(data).fit(data)(data.train_images[:count])
    return DistilledDataset.pixels(images, data.train_labels[:count])


def test_a_reading_is_what_a_shorter_training_would_have_ended_with(data: Dataset) -> None:
    held_out = data.validation(0.1)
    asked = dataclasses.replace(data, test_images=held_out.test_images, test_labels=held_out.test_labels)
    ends = range(2, 21, 2)
    assert len(ends) == READINGS
    on_test = [judge(data, steps).score(artifact(data), seed=1).accuracy for steps in ends]
    on_held_out = [judge(asked, steps).score(artifact(data), seed=1).accuracy for steps in ends]
    assert len(set(on_test)) > 3
    expected = select(on_test, on_held_out)
    score = judge(data, held_out=held_out).score(artifact(data), seed=1)
    assert score.accuracy == expected.last
    assert score.metrics == {
        "held_out": on_held_out[-1],
        "validation": expected.validation,
        "oracle": expected.oracle,
    }


def test_reading_changes_nothing(data: Dataset) -> None:
    plain = judge(data).score(artifact(data), seed=0)
    read = judge(data, held_out=data.validation(0.5)).score(artifact(data), seed=0)
    assert plain.metrics == {}
    assert plain.accuracy == read.accuracy


def test_the_short_form_is_read_at_its_end_alone(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out, answers, asked = data.validation(0.1), Chunks.map, list[int]()

    def counted(self: Chunks, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        asked.append(len(images))
        return answers(self, function, images)

    monkeypatch.setattr(Chunks, "map", counted)
    score = judge(data, held_out=held_out).score(artifact(data), seed=0, short=True)
    assert asked == [len(data.test_labels), len(held_out.test_labels)]
    assert score.accuracy == judge(data).score(artifact(data), seed=0, short=True).accuracy
