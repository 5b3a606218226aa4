"""CutMix: what is pasted, and labels that say how much of it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.compute.generators import seeded
from ddbench.data.augmentation import cutmix

COUNT = 5
SEEDS = range(40)


def flat(height: int = 8, width: int = 12, channels: int = 2) -> tuple[Tensor, Tensor]:
    """Image i is i everywhere, and certainly of class i."""
    images = torch.arange(float(COUNT)).view(-1, 1, 1, 1).expand(-1, channels, height, width).clone()
    return images, F.one_hot(torch.arange(COUNT), COUNT).float()


def choosing(monkeypatch: pytest.MonkeyPatch, *uniforms: float) -> None:
    """`mixes`, the share kept, and the centre; every image's partner is the next one."""
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(uniforms))
    monkeypatch.setattr(torch, "randperm", lambda n, **_: (torch.arange(n) + 1) % n)


def test_never_mixing_changes_nothing() -> None:
    images, labels = flat()
    for seed in SEEDS:
        mixed, shares = cutmix(images, labels, seeded(seed), probability=0)
        assert torch.equal(mixed, flat()[0])
        assert torch.equal(shares, labels)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 5), (32, 32), (1, 1)])
def test_labels_are_the_shares_of_the_pixels(height: int, width: int) -> None:
    images, labels = flat(height, width)
    for seed in SEEDS:
        mixed, shares = cutmix(images, labels, seeded(seed), probability=1)
        for channel in (0, 1):
            pixels = mixed[:, channel].flatten(1).long()  # (N, H * W), whose they are
            counted = torch.stack([pixel.bincount(minlength=COUNT) for pixel in pixels]) / (height * width)
            torch.testing.assert_close(shares, counted)


def test_soft_labels_stay_probabilities_and_mix_by_one_share() -> None:
    images = torch.randn(6, 3, 9, 9, generator=seeded(0))
    labels = torch.rand(6, 4, generator=seeded(1)).softmax(1)
    for seed in SEEDS:
        _, shares = cutmix(images, labels, seeded(seed), probability=1)
        assert bool((shares >= 0).all())
        torch.testing.assert_close(shares.sum(1), torch.ones(6))
        torch.testing.assert_close(shares.sum(0), labels.sum(0))  # every image is somebody's partner once


def test_what_is_pasted_is_one_rectangle_from_the_same_place() -> None:
    images = torch.randn(COUNT, 3, 10, 14, generator=seeded(0))
    for seed in SEEDS:
        mixed, shares = cutmix(images, F.one_hot(torch.arange(COUNT)).float(), seeded(seed), probability=1)
        partner = shares.masked_fill(torch.eye(COUNT, dtype=torch.bool), 0).argmax(1)
        rectangles = set()
        for i, other in enumerate(partner.tolist()):
            foreign = (mixed[i] != images[i]).all(0)
            if not foreign.any():
                continue  # its own partner, or an empty rectangle
            rows, columns = foreign.any(1).nonzero().flatten(), foreign.any(0).nonzero().flatten()
            (top, bottom), (left, end) = ((int(p.min()), int(p.max()) + 1) for p in (rows, columns))
            assert bool(foreign[top:bottom, left:end].all())
            assert torch.equal(mixed[i, :, top:bottom, left:end], images[other, :, top:bottom, left:end])
            assert torch.equal(mixed[i, :, ~foreign], images[i, :, ~foreign])
            rectangles.add((top, bottom, left, end))
        assert len(rectangles) <= 1


@pytest.mark.parametrize(
    ("kept", "down", "right", "rows", "columns"),
    [
        (0.75, 0.5, 0.5, (2, 6), (3, 9)),  # half of each side around the middle
        (0.75, 0.0, 0.99, (0, 2), (8, 12)),  # cut off at two borders: 0.74 * 12 is 8.88
        (0.0, 0.5, 0.5, (0, 8), (0, 12)),  # all of it
        (1 - 2**-24, 0.3, 0.6, (0, 0), (0, 0)),  # nothing
    ],
)
def test_a_rectangle_by_hand(
    monkeypatch: pytest.MonkeyPatch,
    kept: float,
    down: float,
    right: float,
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> None:
    images, labels = flat()
    choosing(monkeypatch, 0.0, kept, down, right)
    mixed, shares = cutmix(images, labels, torch.Generator())
    expected = images.clone()
    expected[:, :, slice(*rows), slice(*columns)] = images.roll(-1, 0)[:, :, slice(*rows), slice(*columns)]
    assert torch.equal(mixed, expected)
    pasted = math.prod(end - begin for begin, end in (rows, columns)) / 96
    torch.testing.assert_close(shares, (1 - pasted) * labels + pasted * labels.roll(-1, 0))


@pytest.mark.parametrize(("mixes", "mixed"), [(0.0, True), (0.29, True), (0.31, False), (0.99, False)])
def test_a_batch_is_mixed_below_its_probability(monkeypatch: pytest.MonkeyPatch, mixes: float, mixed: bool) -> None:
    images, labels = flat()
    choosing(monkeypatch, mixes, 0.5, 0.5, 0.5)
    assert torch.equal(cutmix(images, labels, torch.Generator(), probability=0.3)[0], images) is not mixed


def test_about_half_of_the_batches_are_mixed() -> None:
    images, labels, generator = *flat(), seeded(0)
    mixed = sum(not torch.equal(cutmix(images, labels, generator)[1], labels) for _ in range(400))
    assert 150 < mixed < 220  # a little below a half: a rectangle may be empty


def test_the_generator_decides_and_nothing_else() -> None:
    images, labels = flat()
    first = [cutmix(images, labels, seeded(seed), probability=1) for seed in SEEDS]
    torch.manual_seed(123)
    again = [cutmix(images, labels, seeded(seed), probability=1) for seed in SEEDS]
    for ours, theirs in zip(first, again, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
    assert any(not torch.equal(first[0][0], other[0]) for other in first[1:])


def test_as_much_is_drawn_whether_a_batch_is_mixed_or_not() -> None:
    images, labels = flat()
    states = []
    for probability in (0.0, 1.0):
        generator = seeded(0)
        cutmix(images, labels, generator, probability)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_the_images_and_labels_given_are_left_alone() -> None:
    images, labels = flat()
    for seed in SEEDS:
        cutmix(images, labels, seeded(seed), probability=1)
    assert torch.equal(images, flat()[0])
    assert torch.equal(labels, flat()[1])
