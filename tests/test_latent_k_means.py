"""Latent k-means: the autoencoder's shapes and training, and centres by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ddbench.compute.generators import seeded
from ddbench.families.autoencoder import Autoencoder, train_autoencoder
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.task.hyperparameters import make_method
from ddbench.testing import tiny_task
from methods.latent_k_means import LatentKMeans


@pytest.mark.parametrize(("side", "quarter"), [(8, 2), (28, 7), (30, 8), (31, 8)])
def test_images_come_back_at_their_size(side: int, quarter: int) -> None:
    model = Autoencoder((3, side, side), 4, 8)
    weights = model.initial(seeded(0))
    latents = model.encode(weights, torch.zeros(2, 3, side, side))
    assert latents.shape == (2, 4, quarter, quarter)
    assert model.decode(weights, latents).shape == (2, 3, side, side)


def test_the_loss_is_the_mean_square_of_what_comes_back() -> None:
    model = Autoencoder((1, 8, 8), 2, 4)
    weights = {name: weight.double() for name, weight in model.initial(seeded(0)).items()}
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    model.encoder.double(), model.decoder.double()
    loss = model.loss(weights, images)
    hidden = images
    for layer in ("encoder.0", "encoder.2"):
        hidden = torch.conv2d(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"], stride=2, padding=1).relu()
    hidden = torch.conv2d(hidden, weights["encoder.4.weight"], weights["encoder.4.bias"])
    hidden = torch.conv2d(hidden, weights["decoder.0.weight"], weights["decoder.0.bias"], padding=1).relu()
    for layer in ("decoder.3", "decoder.6"):
        hidden = hidden.repeat_interleave(2, 2).repeat_interleave(2, 3)
        hidden = torch.conv2d(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"], padding=1)
        hidden = hidden.relu() if layer == "decoder.3" else hidden
    assert float(loss) == pytest.approx(float((hidden - images).square().mean()), rel=1e-12)


def test_training_lowers_the_error() -> None:
    task = tiny_task()
    model, images = Autoencoder(task.shape, 4, 8), task.real.batch(32, task.generator("look"))[0]
    before = float(model.loss(model.initial(task.generator("autoencoder")), images))
    meter = Meter(Budget(), snapshots=())
    weights = train_autoencoder(task, meter, model, 60, 16, 1e-2)
    assert float(model.loss(weights, images)) < 0.7 * before
    assert meter.done == {"autoencoder": 60}
    assert not any(weight.requires_grad for weight in weights.values())


def test_centres_are_the_means_of_separate_clusters() -> None:
    """Latents of a class lie at its number and at ten more, the same number of each."""
    task = tiny_task(ipc=2)
    latents = torch.zeros(len(task.real), 3)
    expected = list[float]()
    for c in range(task.classes):
        own = task.real.class_indices(c)
        latents[own] = (torch.arange(len(own)) % 2 * 10.0 + c)[:, None]
        expected += [float(c), c + 10.0]
    found: Tensor = make_method(LatentKMeans, LatentKMeans.tiny)._centres(task, latents)
    assert found[:, 0].view(-1, 2).sort(1).values.flatten().tolist() == pytest.approx(expected)
