"""Decoders: against cases worked by hand and plain modules, within their storage, and through a file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddbench.artifacts.checks import check_artifact
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.pictures import drawable
from ddbench.compute.generators import seeded
from ddbench.decoders import Decoder, MultiFormation, make_decoder, parse_decoder, settings_of
from ddbench.errors import UserError
from ddbench.registry import DECODERS

CLASSES = 3
Shape = tuple[int, int, int]
SPELLINGS = [
    "pixels",
    "multi_formation",
    "multi_formation,factor=4",
    "linear_bases,bases=4",
    "linear_bases,bases=5,scale=1,images=2",
    "canvas",
    "canvas,factor=1",
    "canvas,factor=2,crops=3",
    "hallucinators,count=2,channels=1",
    "hallucinators,count=2,channels=1,scale=2",
]
TINY = [  # what fits on 1 x 4 x 4 images, and is quick to differentiate numerically
    "pixels",
    "multi_formation",
    "linear_bases,bases=2",
    "canvas",
    "hallucinators,count=2,channels=1",
]
every_spelling = pytest.mark.parametrize("spelling", SPELLINGS)


def drawing(shape: Shape, classes: int = CLASSES) -> Callable[[int], Tensor]:
    """Starting images of class c: standard normal ones around 10 c."""
    generator = seeded(0)

    def draw(n: int) -> Tensor:
        images = torch.randn(classes, n, *shape, generator=generator)
        return (images + 10 * torch.arange(classes).view(-1, 1, 1, 1, 1)).flatten(0, 1)

    return draw


def start(decoder: str, shape: Shape, ipc: int, classes: int = CLASSES) -> dict[str, Tensor]:
    return parse_decoder(decoder).start(drawing(shape, classes), shape, classes, ipc, seeded(1))


def decode(decoder: str, parts: dict[str, Tensor], seed: int = 2) -> tuple[Tensor, Tensor]:
    return parse_decoder(decoder).decode(parts, 0, seeded(seed))


def grid(rows: int, columns: int) -> Tensor:
    """(rows, columns) with a number of its own at every place."""
    return torch.arange(rows * columns, dtype=torch.float32).view(rows, columns)


# -- every decoder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ipc", [4, 5, 10])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 8, 12)])
@every_spelling
def test_a_start_stays_within_its_storage_and_decodes(spelling: str, shape: Shape, ipc: int) -> None:
    parts = start(spelling, shape, ipc)
    artifact = DistilledDataset(parts, parse_decoder(spelling))
    check_artifact(artifact, shape, CLASSES, ipc)
    stored = sum(part.numel() for name, part in parts.items() if name != "labels")
    assert stored <= CLASSES * ipc * math.prod(shape)
    assert artifact.stored_bytes()["images"] == 4 * stored
    images, labels = artifact.decode(0, seeded(2))
    assert (images.shape[1:], images.dtype, labels.dtype) == (shape, torch.float32, torch.int64)
    assert labels.tolist() == sorted(labels.tolist())
    assert set(labels.bincount(minlength=CLASSES).tolist()) == {len(images) // CLASSES}
    assert set(parts) == set(parse_decoder(spelling).needs)


@pytest.mark.parametrize(
    ("spelling", "images"),
    [
        ("pixels", 5),
        ("multi_formation", 4 * 5),
        ("multi_formation,factor=4", 16 * 5),
        ("linear_bases,bases=4,images=6", 6),
        ("canvas", 4),  # one canvas of four windows
        ("canvas,factor=2,crops=7", 7),
        ("canvas,factor=1", 5),
        ("canvas,factor=1,crops=3", 15),
        ("hallucinators,count=2,channels=1", 2 * 4),  # four bases are left of the storage of five
    ],
)
def test_how_many_images_of_a_class_come_out(spelling: str, images: int) -> None:
    _, labels = decode(spelling, start(spelling, (1, 8, 8), 5))
    assert labels.tolist() == [0] * images + [1] * images + [2] * images


@pytest.mark.parametrize("spelling", ["pixels", "multi_formation", "linear_bases,bases=8", "canvas", "canvas,factor=1"])
def test_images_of_a_class_lie_with_its_label(spelling: str) -> None:
    images, labels = decode(spelling, start(spelling, (1, 8, 8), 4))
    nearest = (images.mean((1, 2, 3)) / 10).round().long()
    assert torch.equal(nearest, labels)


@every_spelling
def test_soft_labels_follow_their_images(spelling: str) -> None:
    parts = start(spelling, (1, 8, 8), 5)
    hard = decode(spelling, parts)[1]
    soft = {**parts, "labels": F.one_hot(parts["labels"], CLASSES).float()}
    assert torch.equal(decode(spelling, soft)[1], F.one_hot(hard, CLASSES).float())


@every_spelling
def test_a_slope_reaches_every_learned_part(spelling: str) -> None:
    parts = start(spelling, (3, 8, 8), 5)
    learned = {name: part.requires_grad_() for name, part in parts.items() if name != "labels"}
    images = decode(spelling, parts)[0]
    slopes = torch.autograd.grad(images.square().sum(), list(learned.values()))
    assert all(bool(slope.any()) for slope in slopes)


@pytest.mark.parametrize("spelling", TINY)
def test_images_are_differentiated_correctly(spelling: str) -> None:
    parts = start(spelling, (1, 4, 4), 4, classes=2)
    names = [name for name in parts if name != "labels"]

    def images(*values: Tensor) -> Tensor:
        return decode(spelling, parts | dict(zip(names, values, strict=True)))[0]

    values = tuple(parts[name].double().requires_grad_() for name in names)
    assert images(*values).dtype == torch.float64
    assert torch.autograd.gradcheck(images, values, fast_mode=True)


@every_spelling
def test_only_a_fresh_decoder_hears_the_generator(spelling: str) -> None:
    parts, decoder = start(spelling, (1, 8, 8), 4), parse_decoder(spelling)
    first, again, other = (decode(spelling, parts, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) is not decoder.fresh
    if not decoder.fresh:
        assert torch.equal(decoder.decode(parts, 7, None)[0], first)


@every_spelling
def test_decoding_changes_no_part(spelling: str) -> None:
    parts = start(spelling, (1, 8, 8), 4)
    before = {name: part.clone() for name, part in parts.items()}
    decode(spelling, parts)
    assert all(torch.equal(part, before[name]) for name, part in parts.items())


@every_spelling
def test_an_artefact_keeps_its_decoder_through_a_file(spelling: str, tmp_path: Path) -> None:
    artifact = DistilledDataset(start(spelling, (1, 8, 8), 4), parse_decoder(spelling))
    artifact.save(tmp_path / "a.safetensors")
    back = DistilledDataset.load(tmp_path / "a.safetensors")
    assert back.decoder == artifact.decoder
    assert type(back.decoder) is type(artifact.decoder)
    for ours, theirs in zip(artifact.decode(3, seeded(4)), back.decode(3, seeded(4)), strict=True):
        assert torch.equal(ours, theirs)
    assert back.to_bytes() == artifact.to_bytes()


# -- pixels -----------------------------------------------------------------------------------------------------------


def test_pixels_are_handed_out_unchanged() -> None:
    parts = start("pixels", (1, 4, 4), 2)
    assert torch.equal(parts["images"], drawing((1, 4, 4))(2))
    images, labels = decode("pixels", parts)
    assert images is parts["images"]
    assert labels is parts["labels"]


# -- multi-formation --------------------------------------------------------------------------------------------------


def test_tiles_are_block_averages_by_hand() -> None:
    image = grid(4, 4)[None, None]
    parts = MultiFormation(2).start(
        lambda n: torch.cat([image + 100 * i for i in range(n)]), (1, 4, 4), 1, 1, seeded(0)
    )
    assert parts["tiles"].shape == (1, 4, 1, 2, 2)
    # (0 + 1 + 4 + 5) / 4, (2 + 3 + 6 + 7) / 4, (8 + 9 + 12 + 13) / 4, (10 + 11 + 14 + 15) / 4
    expected = torch.tensor([[2.5, 4.5], [10.5, 12.5]])
    for i in range(4):
        assert torch.allclose(parts["tiles"][0, i, 0], expected + 100 * i)


def test_a_tile_is_enlarged_by_hand() -> None:
    tiles = torch.stack([torch.tensor([[0.0, 4.0], [8.0, 12.0]]) * scale for scale in (1, 2, 3, -1)])[None, :, None]
    images, labels = MultiFormation(2).decode({"tiles": tiles, "labels": torch.tensor([5])}, 0, None)
    # centres lie at -1/4 (held at 0), 1/4, 3/4 and 5/4 (held at 1) of the way from the first pixel to the second
    expected = torch.tensor([[0.0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]])
    for image, scale in zip(images[:, 0], (1, 2, 3, -1), strict=True):
        assert torch.allclose(image, expected * scale)
    assert labels.tolist() == [5, 5, 5, 5]


def bilinear(side: int, to: int) -> Tensor:
    """(to, side): the weights of each pixel of an enlarged row, by the formula."""
    weights = torch.zeros(to, side)
    for i in range(to):
        place = min(max((i + 0.5) * side / to - 0.5, 0), side - 1)
        left = min(int(place), side - 1)
        weights[i, left] += 1 - (place - left)
        weights[i, min(left + 1, side - 1)] += place - left
    return weights


@pytest.mark.parametrize(("factor", "shape"), [(1, (3, 4, 4)), (2, (3, 8, 8)), (2, (1, 4, 12)), (3, (2, 9, 6))])
def test_tiles_are_enlarged_bilinearly(factor: int, shape: Shape) -> None:
    colours, height, width = shape
    tiles = torch.randn(2, factor**2, colours, height // factor, width // factor, generator=seeded(0))
    labels = torch.tensor([1, 0])
    images, given = MultiFormation(factor).decode({"tiles": tiles, "labels": labels}, 0, None)
    down, right = bilinear(height // factor, height), bilinear(width // factor, width)
    expected = torch.stack([down @ tile @ right.T for stored in tiles for tile in stored])
    torch.testing.assert_close(images, expected)
    torch.testing.assert_close(images, F.interpolate(tiles.flatten(0, 1), (height, width), mode="bilinear"))
    assert given.tolist() == [1] * factor**2 + [0] * factor**2


# -- linear bases -----------------------------------------------------------------------------------------------------


def low_rank(shape: Shape, rank: int, classes: int = CLASSES) -> Callable[[int], Tensor]:
    """Images that are combinations of `rank` random ones."""
    generator = seeded(3)
    basis = torch.randn(rank, *shape, generator=generator)
    return lambda n: torch.einsum("nr,rchw->nchw", torch.randn(classes * n, rank, generator=generator), basis)


def test_bases_that_the_start_does_not_need_can_still_be_learned() -> None:
    draw = low_rank((1, 8, 8), 4)
    parts = parse_decoder("linear_bases,bases=6,scale=1").start(draw, (1, 8, 8), CLASSES, 5, seeded(1))
    learned = {name: part.requires_grad_() for name, part in parts.items() if name != "labels"}
    decode("linear_bases,bases=6,scale=1", learned | {"labels": parts["labels"]})[0].square().sum().backward()
    slopes = learned["bases"].grad
    assert slopes is not None
    assert bool((slopes.flatten(1).norm(dim=1) > 0).all())


@pytest.mark.parametrize("rank", [1, 3, 4])
def test_images_of_low_rank_are_exact(rank: int) -> None:
    seen: list[Tensor] = []
    draw = low_rank((2, 4, 6), rank)
    decoder = make_decoder("linear_bases", {"bases": 4, "scale": 1})
    parts = decoder.start(lambda n: seen.append(draw(n)) or seen[-1], (2, 4, 6), CLASSES, 2, seeded(0))
    torch.testing.assert_close(decoder.decode(parts, 0, None)[0], seen[-1], rtol=1e-4, atol=1e-4)


def test_smaller_bases_are_exact_for_what_remains_of_the_images() -> None:
    seen: list[Tensor] = []
    draw = low_rank((1, 8, 8), 4)
    decoder = make_decoder("linear_bases", {"bases": 4, "scale": 2})
    parts = decoder.start(lambda n: seen.append(draw(n)) or seen[-1], (1, 8, 8), CLASSES, 2, seeded(0))
    assert parts["bases"].shape == (4, 1, 4, 4)
    expected = F.interpolate(F.avg_pool2d(seen[-1], 2), scale_factor=2, mode="bilinear")
    torch.testing.assert_close(decoder.decode(parts, 0, None)[0], expected, rtol=1e-4, atol=1e-4)


def test_the_start_is_the_best_approximation() -> None:
    seen: list[Tensor] = []
    draw = drawing((1, 6, 6))
    decoder = make_decoder("linear_bases", {"bases": 5, "scale": 1})
    parts = decoder.start(lambda n: seen.append(draw(n)) or seen[-1], (1, 6, 6), CLASSES, 4, seeded(0))
    error = (decoder.decode(parts, 0, None)[0] - seen[-1]).square().sum().item()
    strengths = np.linalg.svd(seen[-1].flatten(1).double().numpy(), compute_uv=False)
    assert error == pytest.approx(float((strengths[5:] ** 2).sum()), rel=1e-4)


def test_a_combination_by_hand() -> None:
    bases = torch.stack([torch.eye(2), torch.tensor([[0.0, 1.0], [0.0, 0.0]])])[:, None]
    parts = {"bases": bases, "coefficients": torch.tensor([[2.0, 3.0], [0.0, -1.0]]), "labels": torch.tensor([0, 1])}
    images, labels = make_decoder("linear_bases", {"bases": 2, "scale": 1}).decode(parts, 0, None)
    assert images[:, 0].tolist() == [[[2, 3], [0, 2]], [[0, -1], [0, 0]]]
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ("bases=8", 10),  # 3 * 2 * 64 numbers, 8 * 16 are bases; 256 are left for 3 * 8 a time
        ("bases=8,images=7", 7),
        ("bases=4,scale=1", 10),  # 384 - 4 * 64 = 128 = 10 * 3 * 4 + 8
        ("bases=2,scale=4", 62),  # 384 - 2 * 4 = 376 = 62 * 3 * 2 + 4
        ("bases=1,scale=4", 100),  # room for 126, and no more than 100 unless asked
        ("bases=1,scale=4,images=1000", 126),
    ],
)
def test_the_images_of_linear_bases_are_counted_by_hand(settings: str, count: int) -> None:
    parts = start(f"linear_bases,{settings}", (1, 8, 8), 2)
    assert parts["coefficients"].shape == (3 * count, len(parts["bases"]))


# -- canvas -----------------------------------------------------------------------------------------------------------


def test_a_canvas_starts_as_images_side_by_side() -> None:
    parts = start("canvas", (2, 3, 5), 9)  # two canvases a class, the storage of eight of nine images
    images = drawing((2, 3, 5))(8).unflatten(0, (6, 4))
    assert parts["canvases"].shape == (6, 2, 6, 10)
    assert parts["labels"].tolist() == [0, 0, 1, 1, 2, 2]
    for canvas, (first, second, third, fourth) in zip(parts["canvases"], images, strict=True):
        assert torch.equal(canvas, torch.cat([torch.cat([first, second], 2), torch.cat([third, fourth], 2)], 1))


@pytest.mark.parametrize(
    ("corner", "top", "left"),
    [
        ((0.0, 0.0), 0, 0),
        ((0.5, 0.26), 2, 3),
        ((0.74, 0.99), 2, 11),
        ((1 - 2**-24, 1 - 2**-24), 3, 11),
        ((0.76, 0.0), 3, 0),
    ],
)
def test_a_window_is_a_crop_of_the_torus(
    monkeypatch: pytest.MonkeyPatch, corner: tuple[float, float], top: int, left: int
) -> None:
    canvas = torch.randn(1, 3, 4, 12, generator=seeded(0))
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([corner]))
    windows, _ = make_decoder("canvas", {"factor": 2, "crops": 1}).decode(
        {"canvases": canvas, "labels": torch.tensor([0])}, 0, None
    )
    assert torch.equal(windows, torch.roll(canvas, (-top, -left), (2, 3))[:, :, :2, :6])


def test_the_picture_of_a_canvas_shows_every_window_and_no_seam() -> None:
    canvases = torch.randn(2, 3, 4, 12, generator=seeded(0))
    artifact = DistilledDataset({"canvases": canvases, "labels": torch.tensor([0, 1])}, make_decoder("canvas", {}))
    shown, labels = drawable(artifact)
    assert shown.shape == (2, 3, 8, 24)
    assert labels.tolist() == [0, 1]
    for down in range(4):
        for right in range(12):
            rolled = torch.roll(canvases, (-down, -right), (2, 3))
            assert torch.equal(shown[:, :, down : down + 4, right : right + 12], rolled)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_every_window_occurs_and_goes_on_without_a_seam(factor: int) -> None:
    parts = {"canvases": grid(4, 8)[None, None], "labels": torch.tensor([0])}
    windows, _ = make_decoder("canvas", {"factor": factor, "crops": 600}).decode(parts, 0, seeded(0))
    rows, columns = windows[:, 0].long() // 8, windows[:, 0].long() % 8
    assert windows.shape == (600, 1, 4 // factor, 8 // factor)
    assert bool((rows.diff(dim=1) % 4 == 1).all())
    assert bool((columns.diff(dim=2) % 8 == 1).all())
    assert bool((rows.diff(dim=2) == 0).all())
    assert bool((columns.diff(dim=1) == 0).all())
    assert len(windows[:, 0, 0, 0].unique()) == 32


def test_every_place_occurs_equally_often() -> None:
    parts = {"canvases": grid(4, 6)[None, None], "labels": torch.tensor([0])}
    windows, _ = make_decoder("canvas", {"factor": 2, "crops": 4800}).decode(parts, 0, seeded(0))
    counts = windows[:, 0, 0, 0].long().bincount(minlength=24)
    assert float(((counts - 200) ** 2 / 200).sum()) < 49.7  # one in a thousand exceeds it, of 23 degrees of freedom


def test_windows_belong_to_their_canvas_and_differ() -> None:
    canvases = torch.arange(16.0).view(1, 1, 4, 4) + torch.tensor([0.0, 100, 200]).view(-1, 1, 1, 1)
    windows, labels = make_decoder("canvas", {"crops": 5}).decode(
        {"canvases": canvases, "labels": torch.tensor([0, 1, 1])}, 0, seeded(0)
    )
    assert (windows / 100).long().amax((1, 2, 3)).tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert labels.tolist() == [0] * 5 + [1] * 10
    assert len((windows[:, 0, 0, 0] % 100).unique()) > 5


# -- hallucinators ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "channels", "scale"), [(1, 1, 1), (3, 2, 1), (2, 3, 2)])
def test_hallucinators_are_plain_modules_in_loops(count: int, channels: int, scale: int) -> None:
    decoder = make_decoder("hallucinators", {"count": count, "channels": channels, "scale": scale})
    parts = decoder.start(drawing((2, 8, 12)), (2, 8, 12), CLASSES, 9, seeded(0))
    for name in ("scales", "shifts"):
        parts[name] = torch.randn(parts[name].shape, generator=seeded(1))
    images, labels = decoder.decode(parts, 0, None)
    expected, of = [], []
    with torch.no_grad():
        for basis, label in zip(parts["bases"], parts["labels"], strict=True):
            for j in range(count):
                own = slice(j * channels, (j + 1) * channels)
                into, back = nn.Conv2d(2, channels, 3), nn.ConvTranspose2d(channels, 2, 3)
                into.weight.copy_(parts["into"][own])
                into.bias.copy_(parts["into_bias"][own])  # type: ignore[union-attr]
                back.weight.copy_(parts["back"][own])
                back.bias.copy_(parts["back_bias"][2 * j : 2 * (j + 1)])  # type: ignore[union-attr]
                hidden = into(basis[None]) * parts["scales"][own] + parts["shifts"][own]
                enlarge = nn.Upsample(scale_factor=scale, mode="bilinear")
                expected.append(enlarge(back(hidden))[0])
                of.append(int(label))
    torch.testing.assert_close(images, torch.stack(expected))
    assert labels.tolist() == of


def test_the_storage_of_hallucinators_is_counted_by_hand() -> None:
    parts = start("hallucinators,count=2,channels=3", (3, 8, 8), 10)
    # two times three channels: scales and shifts of 6 x 6, 162 weights each way, 6 biases inside and 6 of colours
    own = 2 * 6 * 36 + 162 + 162 + 6 + 6
    assert own == 768
    assert sum(part.numel() for name, part in parts.items() if name not in ("bases", "labels")) == own
    # 3 * 10 * 192 = 5760 numbers; 4992 are left, and a basis of each class is 576 of them
    assert parts["bases"].shape == (3 * 8, 3, 8, 8)
    assert DistilledDataset(parts, parse_decoder("hallucinators,count=2")).stored_bytes()["images"] == 4 * 5376


def test_smaller_bases_leave_room_for_more_of_them() -> None:
    parts = start("hallucinators,count=2,channels=3,scale=2", (3, 8, 8), 10)
    # scales and shifts of 2 x 2 are 48 numbers, so 5760 - 384 are left, and a basis of each class is 144 of them
    assert parts["bases"].shape == (3 * 37, 3, 4, 4)
    assert parts["scales"].shape == (6, 2, 2)


def test_hallucinators_start_from_the_generator() -> None:
    first, again = (start("hallucinators,count=2", (3, 8, 8), 9) for _ in range(2))
    other = parse_decoder("hallucinators,count=2").start(drawing((3, 8, 8)), (3, 8, 8), CLASSES, 9, seeded(7))
    assert all(torch.equal(part, again[name]) for name, part in first.items())
    for name in ("into", "into_bias", "back", "back_bias"):
        assert not torch.equal(first[name], other[name])
        assert 0 < first[name].abs().max() <= (3 * 9) ** -0.5  # uniform within 1 / sqrt(fan in), as layers start
    assert bool((first["scales"] == 1).all())
    assert bool((first["shifts"] == 0).all())


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "shape", "ipc", "sentence"),
    [
        (
            "multi_formation,factor=3",
            (1, 4, 4),
            1,
            "factor 3 of multi_formation does not divide images of 4x4; choose one of 1, 2, 4",
        ),
        (
            "multi_formation",
            (1, 8, 9),
            1,
            "factor 2 of multi_formation does not divide images of 8x9; choose one of 1",
        ),
        (
            "multi_formation,factor=8",
            (1, 4, 4),
            1,
            "factor 8 of multi_formation does not divide images of 4x4; choose one of 1, 2, 4",
        ),
        (
            "linear_bases,scale=3",
            (1, 4, 4),
            1,
            "scale 3 of linear_bases does not divide images of 4x4; choose one of 1, 2, 4",
        ),
        (
            "linear_bases,scale=3",
            (1, 3, 4),
            1,
            "scale 3 of linear_bases does not divide images of 3x4; choose one of 1",
        ),
        (
            "linear_bases,scale=1",
            (1, 4, 4),
            1,
            "16 bases of linear_bases are more than the 16 numbers of one, or than the 0 images of all classes that "
            "ipc 1 has room for; choose fewer",
        ),
        (  # 3 * 2 * 64 numbers, 16 * 16 of them bases, 128 left for 3 * 16 a time
            "linear_bases",
            (1, 8, 8),
            2,
            "16 bases of linear_bases are more than the 16 numbers of one, or than the 6 images of all classes that "
            "ipc 2 has room for; choose fewer",
        ),
        (
            "canvas",
            (1, 4, 4),
            3,
            "a canvas of factor 2 takes the storage of 4 images and ipc is 3; choose a smaller factor, 1 at least",
        ),
        (
            "canvas,factor=4",
            (1, 4, 4),
            10,
            "a canvas of factor 4 takes the storage of 16 images and ipc is 10; choose a smaller factor, 1 at least",
        ),
        (
            "hallucinators,scale=3",
            (1, 8, 8),
            1,
            "scale 3 of hallucinators does not divide images of 8x8; choose one of 1, 2, 4, 8",
        ),
        (
            "hallucinators",
            (1, 8, 8),
            1,
            "hallucinators with count 5 and channels 3 leave no room for a basis of each class at ipc 1; choose less "
            "of one, or another scale than 1",
        ),
        (  # bases of 2 x 2 are smaller than a kernel
            "hallucinators,count=1,channels=1,scale=4",
            (1, 8, 8),
            10,
            "hallucinators with count 1 and channels 1 leave no room for a basis of each class at ipc 10; choose less "
            "of one, or another scale than 4",
        ),
    ],
)
def test_what_does_not_fit_is_refused(spelling: str, shape: Shape, ipc: int, sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        start(spelling, shape, ipc)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("canvsa", {}, "unknown decoder 'canvsa'; did you mean 'canvas'?"),
        ("canvas", {"factr": 2}, "decoder 'canvas' has no setting 'factr'; did you mean 'factor'?"),
        ("canvas", {"name": 2}, "decoder 'canvas' has no setting 'name'; known: crops, factor"),
        ("pixels", {"factor": 2}, "decoder 'pixels' has no setting 'factor'; it takes none"),
        *(
            ("canvas", {"factor": value}, f"factor of decoder 'canvas' is {value!r}; it must be a whole number of at")
            for value in (0, -1, 2.0, 1.5, True, "2", None, [2])
        ),
        ("canvas", {"crops": 0}, "crops of decoder 'canvas' is 0; it must be a whole number of at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        make_decoder(name, settings)
    assert str(refusal.value).startswith(sentence)


# -- spellings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "settings"),
    [
        ("pixels", {}),
        ("multi_formation", {"factor": 2}),
        ("multi_formation,factor=3", {"factor": 3}),
        ("canvas", {"factor": 2}),
        ("canvas,factor=1,crops=4", {"factor": 1, "crops": 4}),
        ("canvas, crops = 4 ", {"factor": 2, "crops": 4}),
        ("linear_bases,images=7", {"bases": 16, "scale": 2, "images": 7}),
        ("hallucinators,scale=2", {"count": 5, "channels": 3, "scale": 2}),
    ],
)
def test_a_spelling_gives_a_decoder_with_its_settings(spelling: str, settings: dict[str, int]) -> None:
    decoder: Decoder = parse_decoder(spelling)
    assert decoder.name == spelling.partition(",")[0]
    assert settings_of(decoder) == settings
    assert make_decoder(decoder.name, settings) == decoder


@pytest.mark.parametrize(
    ("spelling", "sentence"),
    [
        ("canvsa", "unknown decoder 'canvsa'; did you mean 'canvas'?"),
        ("canvas factor=2", "unknown decoder 'canvas factor=2'"),
        ("canvas,factor", "factor of decoder 'canvas' is ''; it must be a whole number of at least 1"),
        ("canvas,factor=²", "factor of decoder 'canvas' is '²'; it must be a whole number of at least 1"),
        ("canvas,factor=0", "factor of decoder 'canvas' is 0; it must be a whole number of at least 1"),
        ("canvas,factor=-1", "factor of decoder 'canvas' is '-1'; it must be a whole number of at least 1"),
        ("canvas,factor=1.5", "factor of decoder 'canvas' is '1.5'; it must be a whole number of at least 1"),
        ("canvas,crop=2", "decoder 'canvas' has no setting 'crop'; did you mean 'crops'?"),
        ("canvas,", "decoder 'canvas' has no setting ''; known: crops, factor"),
    ],
)
def test_a_spelling_that_is_wrong_is_refused(spelling: str, sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_decoder(spelling)
    assert str(refusal.value).startswith(sentence)


def test_every_registered_decoder_is_a_frozen_dataclass_that_says_what_it_reads() -> None:
    assert {"canvas", "hallucinators", "linear_bases", "multi_formation", "pixels"} <= set(DECODERS)
    for name in ("canvas", "hallucinators", "linear_bases", "multi_formation", "pixels"):
        decoder = make_decoder(name, {})
        assert decoder.name == name
        assert "labels" in decoder.needs
        for field in dataclasses.fields(decoder):  # type: ignore[arg-type]
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(decoder, field.name, 3)
