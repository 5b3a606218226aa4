"""Discrepancy of artefacts: real images themselves, soft labels as weights, and what does not apply."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddbench.analyses import references
from ddbench.analyses.discrepancy import DISTANCES, Discrepancy
from ddbench.analyses.probes import Probe, class_shares
from ddbench.analyses.subject import Subject
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import load_dataset
from test_analyses import subject_on

TINY = Discrepancy(real=20, replicates=1, directions=8)


@pytest.fixture(autouse=True)
def _few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(references, "SNAPSHOTS", (0, 10))


def on_digits(artifact: DistilledDataset | None = None) -> Subject:
    return subject_on(load_dataset("digits"), artifact).asked_by("discrepancy@1", lambda share: None)


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_the_very_images_are_at_0_and_fresh_ones_at_the_floor() -> None:
    subject = on_digits()
    probe = Probe(subject, 0, 20, 8)
    real, other = (probe.measured(*probe._images(positions)) for positions in (probe._real, probe._other))
    assert real.shape == (len(DISTANCES), 10)
    assert real.flatten().tolist() == pytest.approx([0.0] * real.numel(), abs=1e-6)
    assert other.mean(1).tolist() == pytest.approx(probe.floor().tolist())
    assert float(other.min()) > 1e-4
    again = Probe(subject, 0, 20, 8)
    assert torch.equal(again.floor(), probe.floor())
    assert torch.equal(again._real[3], probe._real[3])


def test_noise_is_further_than_random_images_by_every_measure() -> None:
    subject = on_digits()
    found = TINY.analyse(subject)
    assert set(found.metrics) == {metric.name for metric in Discrepancy.measures}
    assert found.metrics["images_per_class"].values == [1.0]
    assert "class" in found.series["classes"].columns
    images, labels = subject.artifact.decode()
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    worse = TINY.analyse(on_digits(DistilledDataset.pixels(noise, labels)))
    for metric in DISTANCES:
        assert worse.metrics[metric.name].mean > found.metrics[metric.name].mean > 0, metric.name
        assert worse.metrics[f"{metric.name}_floor"] == found.metrics[f"{metric.name}_floor"]


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_labels_of_certainty_are_classes_and_soft_ones_are_weights() -> None:
    subject = on_digits()
    images, labels = subject.artifact.decode()
    hard = TINY.analyse(subject).metrics["mmd_fresh"].mean
    certain = DistilledDataset.pixels(images, 60.0 * torch.eye(10)[labels], label_kind="logits")
    assert TINY.analyse(on_digits(certain)).metrics["mmd_fresh"].mean == pytest.approx(hard, rel=1e-6)
    halves = torch.full((20, 10), 0.0)
    halves[torch.arange(20), labels.repeat(2)] = 1.0
    doubled = DistilledDataset.pixels(images.repeat(2, 1, 1, 1), halves, label_kind="probabilities")
    assert TINY.analyse(on_digits(doubled)).metrics["mmd_fresh"].mean == pytest.approx(hard, rel=1e-6)
    mixed = class_shares(torch.tensor([[0.25, 0.75], [1.0, 0.0]]), "probabilities", 2)
    assert mixed.tolist() == [[0.25, 0.75], [1.0, 0.0]]


def test_the_gradient_of_weighted_images_is_that_of_their_mean_loss() -> None:
    subject = on_digits()
    probe = Probe(subject, 0, 20, 8)
    images = subject.transform(subject.data.train_images[:6])
    fresh = {name: weight.requires_grad_() for name, weight in subject.fresh(0).items()}
    shares = torch.tensor([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    losses = -subject.evaluator.forward(fresh, images).log_softmax(1)[:, 3]
    expected: list[Tensor] = list(torch.autograd.grad((losses * shares).sum(), list(fresh.values())))
    found = probe._class_gradient(images, shares, 3)
    for name, slope in zip(fresh, expected, strict=True):
        torch.testing.assert_close(found[name], slope)


def test_what_it_makes_no_sense_for_says_so() -> None:
    images = torch.zeros(9, 1, 8, 8)
    missing = DistilledDataset.pixels(images, torch.arange(9))
    assert TINY.analyse(on_digits(missing)).not_applicable == "no image is of class '9'"
    numbers = DistilledDataset.pixels(images, torch.zeros(9, 10), label_kind="targets")
    assert TINY.analyse(on_digits(numbers)).not_applicable == (
        "its labels are numbers of either sign, which give no class a share"
    )
