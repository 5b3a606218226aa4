"""Data sets whose classes differ in size: each class gives what it has, and counts as much as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from ddbench.compute.compiling import gradient
from ddbench.data import Dataset, make_dataset
from ddbench.data.npz import save_npz
from ddbench.errors import UserError
from ddbench.families.discrepancies import DISCREPANCIES, Name
from ddbench.families.distribution_matching import FeatureMatching
from ddbench.families.gradient_matching import GradientDistance, squared
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.registry import METHODS, discover
from ddbench.task.task import Task
from ddbench.testing import tiny_task
from factories import jobs_of
from methods.feature_alignment import Alignment, layers
from tasks import methods_of

COUNTS = (12, 5, 2)
discover()
MATCHING = [
    name
    for name in methods_of()
    if METHODS.get(name).family in ("gradient matching", "distribution matching")
    and "batch_real" in METHODS.get(name).__dataclass_fields__
]


def unbalanced() -> Dataset:
    labels = np.repeat(np.arange(3), COUNTS)
    images = np.random.RandomState(0).randint(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    return make_dataset("unbalanced", images, labels, images[:3], np.arange(3))


def make_task() -> Task:
    return tiny_task(ipc=2, data=unbalanced())


def real_of(task: Task) -> list[Tensor]:
    return [task.real.take(task.real.class_indices(c))[0] for c in range(3)]


@pytest.mark.parametrize("name", get_args(Name))
def test_a_discrepancy_is_the_sum_over_classes_of_whatever_size(name: Name) -> None:
    task, discrepancy = make_task(), DISCREPANCIES[name]
    matching, weights, real = FeatureMatching(task, task.embed, discrepancy), task.initial(), real_of(task)
    images, labels = task.real_init()
    draws = discrepancy.draw(task.embed(weights, images).shape[1], 5, task.generator("draws"))
    _, found = matching.gradient(images, labels, weights, matching.target(weights, real), draws)
    pairs = zip(real, images.split(2), strict=True)
    classes = [[task.embed(weights, own)[None] for own in pair] for pair in pairs]
    expected = sum(discrepancy.between(theirs, ours, draws).item() for theirs, ours in classes)
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_gradients_are_those_of_each_class_and_of_all_images() -> None:
    task = make_task()
    distance, weights, real = GradientDistance(task, squared), task.initial(), real_of(task)
    images, labels = task.real_init()

    def slope(own: Tensor, own_labels: Tensor) -> dict[str, Tensor]:
        return gradient(task.loss, weights, own, own_labels)

    each = [torch.full((count,), c) for c, count in enumerate(COUNTS)]
    whole = squared(slope(torch.cat(real), torch.cat(each)), slope(images, labels))
    parts = [
        squared(slope(*theirs), slope(*ours))
        for theirs, ours in zip(
            zip(real, each, strict=True), zip(images.split(2), labels.split(2), strict=True), strict=True
        )
    ]
    assert distance.of_all(weights, real, (images, labels))[1].item() == pytest.approx(whole.item(), rel=1e-4)
    found = distance.by_class(weights, real, (images, labels))[1].item()
    assert found == pytest.approx(sum(part.item() for part in parts), rel=1e-4)


@pytest.mark.parametrize("most", [1, 4, 100])
def test_class_means_of_all_layers_are_added_up_in_chunks(most: int) -> None:
    task = make_task()
    task.chunks.most, weights, real = most, task.initial(), real_of(task)
    target = Alignment(task, 0.01).target(weights, real)
    for c, own in enumerate(real):
        found, last = layers(task, weights, own)
        assert torch.allclose(target.means[c], found.mean(0), atol=1e-5)
        assert torch.allclose(target.last[target.labels == c], last, atol=1e-5)


@pytest.mark.parametrize("name", MATCHING)
def test_a_method_uses_every_image_of_a_small_class(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls: Any = METHODS.get(name)
    task, seen = make_task(), []
    draw = task.real.by_class
    monkeypatch.setattr(task.real, "by_class", lambda n, generator: seen.append(draw(n, generator)) or seen[-1])
    cls(**{**cls.tiny, "iterations": 1, "batch_real": 8}).distill(task, Meter(Budget(), snapshots=()))
    assert [len(own) for own in seen[0]] == [8, 5, 2]


@pytest.mark.parametrize("name", ["gradient_matching", "distribution_matching", "backprop", "trajectory_matching"])
def test_a_start_from_noise_takes_more_images_than_a_class_has(name: str) -> None:
    cls: Any = METHODS.get(name)
    method = cls(**{**cls.tiny, "iterations": 1, "init": "noise"})
    artifact = method.distill(tiny_task(ipc=4, data=unbalanced()), Meter(Budget(), snapshots=()))
    assert artifact.parts["labels"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_a_start_from_real_images_needs_as_many_of_each_class(tmp_path: Path) -> None:
    save_npz(tmp_path / "few.npz", unbalanced())

    def jobs(method: str, **settings: Any) -> int:
        entries = [{"methods": [method], "set": settings}]
        return len(jobs_of(datasets=str(tmp_path / "few.npz"), ipc=10, protocol="quick-300@1", entries=entries))

    assert jobs("gradient_matching") == jobs("dm", init="noise") == jobs("private_dm") == 1
    few = r"ipc 10 is larger than the smallest class of few \(2 images\); lower it"
    with pytest.raises(UserError, match=few + r", or have distribution_matching start from noise \(init=noise\)$"):
        jobs("dm")
    for real_alone in ("herding", "difficulty_aligned_matching"):  # without the setting, or with one value of it
        with pytest.raises(UserError, match=few + "$"):
            jobs(real_alone)
