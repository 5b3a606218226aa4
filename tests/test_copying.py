"""Copying: planted copies, noise, starts that are kept, and nearest images by loops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddbench.analyses import references
from ddbench.analyses.copying import Copying, compared, start_positions
from ddbench.analyses.nearest import likeness, neighbours
from ddbench.analyses.subject import Subject
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import load_dataset
from ddbench.stats import share_interval
from test_analyses import subject_on

REAL = {"seed": 0, "hyperparameters": {"init": "real"}}


@pytest.fixture(autouse=True)
def _few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(references, "SNAPSHOTS", (0, 10))


def on_digits(images: Tensor | None = None, provenance: dict[str, object] = REAL) -> Subject:
    """A subject of these images; of the starts where none are given."""
    subject = subject_on(load_dataset("digits")).asked_by("copying@1", lambda share: None)
    artifact = subject.artifact if images is None else DistilledDataset.pixels(images, torch.arange(len(images)) % 10)
    return replace(subject, artifact=artifact.with_provenance(provenance))


def found_of(subject: Subject) -> dict[str, float]:
    return {name: measure.mean for name, measure in Copying(shortlist=5).analyse(subject).metrics.items()}


# -- nearest -----------------------------------------------------------------------------------------------------------


def test_neighbours_on_a_line_by_hand() -> None:
    ours, train = torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [9.0], [-3.0], [20.0]])
    near = neighbours(ours, train, torch.tensor([[2.0], [7.0]]), torch.tensor([2, 3]), torch.tensor([2, 1]), 2)
    assert near.train.tolist() == [[0, 2], [1, 0]]
    assert near.distance.tolist() == [1.0, 1.0]
    assert (near.some.tolist(), near.some_distance.tolist()) == ([[2, 3], [3, 2]], [3.0, 10.0])
    assert (near.test.tolist(), near.test_distance.tolist()) == ([[0, 1], [1, 0]], [2.0, 3.0])
    assert (near.start_distance.tolist(), near.start_rank.tolist()) == ([3.0, 1.0], [2, 1])
    without = neighbours(ours, train, train, torch.tensor([0]), None, 9)
    assert without.train.shape == (2, 4)
    assert bool(without.start_distance.isnan().all())


def test_likeness_is_1_for_an_equal_image_and_by_hand_for_flat_ones() -> None:
    """Flat images have no contrast: what is left of SSIM is (2 m n + c) / (m^2 + n^2 + c), c = 0.01^2."""
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    flat = torch.full((1, 1, 8, 8), 0.5)
    assert float(likeness(image, image[None])) == pytest.approx(1)
    expected = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert float(likeness(flat, flat[None] / 2)) == pytest.approx(expected, rel=1e-4)


# -- artefacts ---------------------------------------------------------------------------------------------------------


def test_the_starts_themselves_are_copies_and_kept() -> None:
    found = found_of(on_digits())
    assert set(found) == {metric.name for metric in Copying.measures}
    for name in ("copies", "train_nearer_pixels", "train_nearer_features", "train_nearer_ssim"):
        assert found[name] == 1, name
    for name in ("start_kept_pixels", "start_kept_features", "start_kept_ssim", "start_rank_pixels"):
        assert found[name] == 1, name
    assert found["ratio_pixels"] < 0.01


def test_a_little_noise_keeps_starts_and_ends_copies() -> None:
    images, _ = on_digits().artifact.decode()
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    found = found_of(on_digits(images + 0.1 * noise))
    assert (found["copies"], found["start_kept_pixels"], found["train_nearer_pixels"]) == (0, 1, 1)
    assert 0.05 < found["ratio_pixels"] < 0.6


def test_points_of_noise_are_as_near_to_one_set_as_to_the_other() -> None:
    """A train and a test set of one distribution: half of the points are nearer to each, within the interval."""
    ours, train, test = (torch.randn(300, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    near = neighbours(ours, train, test, torch.arange(300), None, 1)
    low, high = share_interval(float((near.some_distance < near.test_distance).sum()), 300)
    assert low < 0.5 < high
    assert float(near.distance.sum() / near.test_distance.sum()) == pytest.approx(1, abs=0.1)


def test_noise_is_no_copy_and_forgets_its_start() -> None:
    noise = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = found_of(on_digits(noise))
    assert (found["copies"], found["start_kept_pixels"]) == (0, 0)
    assert found["start_rank_pixels"] > 20
    assert found["ratio_pixels"] == pytest.approx(1, abs=0.1)
    many = Copying(shortlist=5).analyse(on_digits(noise.repeat(2, 1, 1, 1))).metrics
    assert "start_kept_pixels" not in many  # 20 images did not start from 10


def test_copies_of_test_images_are_nearer_to_these() -> None:
    data = load_dataset("digits")
    subject = on_digits()
    found = found_of(on_digits(subject.transform(data.test_images[:10])))
    assert found["train_nearer_pixels"] == 0
    assert found["copies"] == 0
    assert found["ratio_pixels"] > 10


def test_as_many_training_as_test_images_are_compared_the_starts_among_them() -> None:
    subject = on_digits()
    starts = start_positions(subject, 10)
    assert starts is not None
    images, labels = subject.references.random_images().decode()
    torch.testing.assert_close(subject.transform(subject.data.train_images[starts]), images)
    assert torch.equal(subject.data.train_labels[starts], labels)
    some, test = compared(subject, starts)
    assert len(some) == len(some.unique()) == len(test) == len(subject.data.test_labels)
    assert set(starts.tolist()) <= set(some.tolist())


@pytest.mark.parametrize(
    "provenance",
    [
        {"seed": 0, "hyperparameters": {"init": "noise"}},
        {"seed": 0, "hyperparameters": {}},
        {"hyperparameters": {"init": "real"}},
        {},
    ],
)
def test_starts_that_are_not_known_are_not_asked_for(provenance: dict[str, object]) -> None:
    assert start_positions(on_digits(provenance=provenance), 10) is None


def test_starts_that_another_device_drew_are_not_asked_for() -> None:
    subject = on_digits()
    subject.references.origin = replace(subject.references.origin, device="cuda")
    assert start_positions(subject, 10) is None
