"""Corruptions: severities, independent implementations of each kind, and the measures by hand."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ddbench.analyses.corruption_kinds import COLOURED, GREY, Corruption, corruptions_of
from ddbench.analyses.corruptions import Corruptions, measured
from ddbench.data import load_dataset
from test_analyses import subject_on

KINDS = [pytest.param(kind, 3, 32, id=f"coloured-{kind.name}") for kind in COLOURED]
KINDS += [pytest.param(kind, 1, 28, id=f"grey-{kind.name}") for kind in GREY]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))


def smooth(channels: int, side: int, count: int = 24) -> Tensor:
    """Images, (N, C, side, side) uint8: coloured ones of slow changes, or grey digits on black."""
    if channels == 1:
        images = load_dataset("digits").test_images[:count].float() / 255
        pixels = F.pad(F.interpolate(images, size=(side - 8, side - 8), mode="bilinear"), (4, 4, 4, 4))
    else:
        images = torch.rand(count, channels, 7, 7, generator=torch.Generator().manual_seed(0))
        large = F.interpolate(images, size=(side + count, side + count), mode="bilinear")
        pixels = torch.stack([image[:, n : n + side, n : n + side] for n, image in enumerate(large)])
    return (pixels * 255).round().to(torch.uint8)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def kind(name: str, of: tuple[Corruption, ...] = GREY) -> Corruption:
    return next(one for one in of if one.name == name)


@pytest.mark.parametrize(("corruption", "channels", "side"), KINDS)
def test_severity_0_changes_nothing_and_more_changes_more(corruption: Corruption, channels: int, side: int) -> None:
    images = smooth(channels, side)
    assert torch.equal(corruption(images, 0, generator()), images)
    made = [corruption(images, severity, generator()) for severity in range(1, 6)]
    assert all(batch.shape == images.shape and batch.dtype == torch.uint8 for batch in made)
    changes = [float((batch.double() - images.double()).abs().mean()) for batch in made]
    assert changes[0] > 0
    assert changes == sorted(set(changes))
    assert torch.equal(corruption(images, 3, generator()), made[2])


def test_eight_kinds_each_for_grey_and_coloured_images() -> None:
    assert (len(GREY), len(COLOURED)) == (8, 8)
    assert corruptions_of((1, 8, 8)) is GREY
    assert corruptions_of((3, 8, 8)) is COLOURED


# -- each kind ---------------------------------------------------------------------------------------------------------


def test_noise_has_its_moments() -> None:
    images = torch.full((50, 1, 28, 28), 128, dtype=torch.uint8)
    level, count = 128 / 255, images.numel()

    def found(name: str, severity: int) -> Tensor:
        return kind(name)(images, severity, generator()).double() / 255

    assert float(found("gaussian_noise", 2).std()) == pytest.approx(0.12, rel=0.02)
    shots = found("shot_noise", 1)
    assert float(shots.mean()) == pytest.approx(level, abs=0.003)
    assert float(shots.var()) == pytest.approx(level / 60, rel=0.03)
    impulses = found("impulse_noise", 5)
    for extreme in (0, 1):
        assert float((impulses == extreme).sum()) / count == pytest.approx(0.27 / 2, abs=0.01)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_blur_is_scipys(severity: int) -> None:
    images, sigma = smooth(3, 32), kind("gaussian_blur", COLOURED).amounts[severity - 1]
    theirs = ndimage.gaussian_filter(images.numpy().astype(float), sigma, mode="nearest", truncate=4, axes=(2, 3))
    ours = kind("gaussian_blur", COLOURED)(images, severity, generator())
    assert np.abs(ours.numpy() - theirs).max() <= 0.51


def test_rotation_is_scipys_to_either_side() -> None:
    images = smooth(1, 28)
    ours = kind("rotate")(images, 2, generator()).numpy().astype(float)
    sides = [
        ndimage.rotate(images.numpy().astype(float), sign * np.degrees(0.4), (2, 3), reshape=False, order=1)
        for sign in (-1, 1)
    ]
    errors = np.stack([np.abs(ours - side)[:, 0, 2:-2, 2:-2].max((1, 2)) for side in sides])
    assert errors.min(0).max() <= 0.51
    assert len(set(errors.argmin(0).tolist())) == 2


def test_translation_moves_whole_pixels_and_lengths_grow_with_the_image() -> None:
    images = smooth(1, 28)
    assert kind("gaussian_blur").side == 28

    def shifted(image: Tensor, down: int, across: int) -> Tensor:
        wide = F.pad(image, (5, 5, 5, 5))
        return wide[:, 5 + down : 33 + down, 5 + across : 33 + across]

    for image, made in zip(images, kind("translate")(images, 3, generator()), strict=True):
        corners = [shifted(image, down, across) for down in (-3, 3) for across in (-3, 3)]
        assert any(torch.equal(made, corner) for corner in corners)
    large, small = torch.zeros(1, 1, 56, 56, dtype=torch.uint8), torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    large[..., 28, 28], small[..., 14, 14] = 255, 255
    (row, column), (least, most) = (
        kind("translate")(image, 2, generator())[0, 0].nonzero()[0].tolist() for image in (large, small)
    )
    assert (abs(row - 28), abs(column - 28)) == (4, 4)
    assert (abs(least - 14), abs(most - 14)) == (2, 2)


def test_brightness_is_that_of_hsv_and_contrast_is_around_the_mean() -> None:
    images = smooth(3, 32, 2)
    bright = kind("brightness", COLOURED)(images, 4, generator()).permute(0, 2, 3, 1).reshape(-1, 3)
    for old, new in zip(images.permute(0, 2, 3, 1).reshape(-1, 3)[::37].tolist(), bright[::37].tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in old))
        theirs = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1))
        assert new == pytest.approx([255 * level for level in theirs], abs=0.51)
    image = torch.tensor([[0, 100], [100, 200]], dtype=torch.uint8).view(1, 1, 2, 2)
    assert kind("contrast")(image, 3, generator()).flatten().tolist() == [80, 100, 100, 120]


def test_pixels_are_boxes_and_a_good_jpeg_is_the_image() -> None:
    images = smooth(3, 32)
    boxes = Corruption("pixelate", kind("pixelate", COLOURED).apply, (0.5, 0.5, 0.5, 0.5, 0.5))(images, 1, generator())
    means = F.avg_pool2d(images.double(), 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert float((boxes.double() - means).abs().max()) <= 1  # rounded after each direction
    grey = images[:, :1].expand(-1, 3, -1, -1)  # colours lose half their resolution
    fine = Corruption("jpeg", kind("jpeg", COLOURED).apply, (100, 100, 100, 100, 100))(grey, 1, generator())
    assert float((fine.double() - grey.double()).abs().max()) <= 3


# -- measures ----------------------------------------------------------------------------------------------------------


def test_measures_by_hand() -> None:
    """Two kinds in five severities: errors .2 and .6 where those of random images are .4 and .5 on average."""
    own = torch.tensor([[0.9] + [0.8] * 5 + [0.4] * 5], dtype=torch.float64)
    usual = torch.tensor([[0.8] + [0.5] * 5 + [0.4] * 5, [0.8] + [0.7] * 5 + [0.6] * 5], dtype=torch.float64)
    found = measured(own, usual)
    assert found["clean"].values == [0.9]
    assert found["corrupted"].mean == pytest.approx(0.6)
    assert found["retained"].mean == pytest.approx(0.6 / 0.9)
    assert found["mce"].values == pytest.approx([(0.2 / 0.4 + 0.6 / 0.5) / 2])
    assert found["corrupted_random_real"].values == pytest.approx([0.45, 0.65])
    assert set(measured(own, None)) == {"clean", "corrupted", "retained"}
    assert "retained" not in measured(torch.zeros_like(own), None)
    assert "mce" not in measured(own, torch.ones_like(usual))


def test_corruptions_on_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_on(load_dataset("digits"), networks=2)
    told = list[float]()
    found = Corruptions(images=50).analyse(subject.asked_by("corruptions@1", told.append))
    assert set(found.metrics) == {metric.name for metric in Corruptions.measures}
    assert all(metric.allows(v) for metric in Corruptions.measures for v in found.metrics[metric.name].values)
    # the artefact is the random images themselves
    assert found.metrics["mce"].mean == pytest.approx(1)
    assert found.metrics["corrupted"] == found.metrics["corrupted_random_real"]
    columns = found.series["kinds"].columns
    assert columns["kind"][0] == "none"
    assert Corruptions.figure.points(found)[0] == pytest.approx(found.metrics["clean"].mean)
    assert list(Corruptions.figure.points(found)) == [0, 1, 2, 3, 4, 5]
    assert [len(column) for column in columns.values()] == [41] * 4
    assert columns["accuracy"] == pytest.approx(columns["random_real"])
    monkeypatch.setattr(type(subject.references), "random_real", None)  # what they answer is cached
    again = Corruptions(images=50).analyse(subject.asked_by("corruptions@1", told.append))
    assert again == found
