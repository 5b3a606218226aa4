"""An artefact as a data set that PyTorch trains on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.decoders import Canvas
from ddbench.errors import UserError
from ddbench.testing import tiny_task


def saved(folder: Path, artifact: DistilledDataset) -> Path:
    artifact.save(folder / "a.safetensors")
    return folder / "a.safetensors"


def test_a_network_learns_from_a_loaded_file(tmp_path: Path) -> None:
    task = tiny_task(ipc=5)
    recipe = Recipe(lr=torch.tensor(0.1))
    distilled = ddbench.load(saved(tmp_path, DistilledDataset.pixels(*task.real_init(), recipe=recipe)))
    assert distilled.recipe.lr is not None
    network = task.network
    optimizer = torch.optim.SGD(network.parameters(), lr=float(distilled.recipe.lr))
    losses = []
    for _ in range(20):
        for images, labels in DataLoader(distilled, batch_size=8, shuffle=True):
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert len(distilled) == 15
    assert sum(losses[-2:]) < 0.5 * sum(losses[:2])


def test_logits_become_probabilities(tmp_path: Path) -> None:
    images, _ = tiny_task().real_init()
    artifact = DistilledDataset.pixels(images, torch.full((6, 3), 2.0), label_kind="logits")
    image, label = ddbench.load(saved(tmp_path, artifact))[4]
    assert torch.equal(image, images[4])
    assert label.tolist() == pytest.approx([1 / 3] * 3)


def test_windows_of_a_canvas_are_cut_anew_for_every_epoch(tmp_path: Path) -> None:
    parts = {"canvases": torch.randn(3, 1, 16, 16), "labels": torch.arange(3)}
    file = saved(tmp_path, DistilledDataset(parts, Canvas()))
    distilled, twin = ddbench.load(file), ddbench.load(file)
    first = distilled.images
    assert first.shape == (12, 1, 8, 8)
    assert torch.equal(first, twin.images)
    distilled.begin_epoch(1)
    assert not torch.equal(first, distilled.images)


def test_pixels_stay_what_they_are(tmp_path: Path) -> None:
    distilled = ddbench.load(saved(tmp_path, DistilledDataset.pixels(*tiny_task().real_init())))
    images = distilled.images
    distilled.begin_epoch(7)
    assert distilled.images is images


def test_what_is_no_artefact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no artefact at"):
        ddbench.load(tmp_path / "none.safetensors")
