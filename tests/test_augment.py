"""Siamese augmentation: each operation against a case worked by hand, and that one draw serves any batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ddbench.data.augmentation import DSA, OPERATIONS, Draw, affine, shift_scale_rotate
from ddbench.errors import UserError

IDENTITY = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])


def images_of(count: int = 2, channels: int = 3, side: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0), dtype=dtype)


def drawn(operation: str, *uniforms: float) -> Draw:
    return Draw(operation, torch.tensor([[*uniforms, *[0.0] * (3 - len(uniforms))]]))


def rotation(degrees: float, dtype: torch.dtype = torch.float32) -> Tensor:
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]], dtype=dtype)


def test_brightness_adds() -> None:
    # Saturation 2 * 0.5 and contrast 0.5 + 0.5 leave the image alone; brightness adds 0.75 - 0.5.
    images = images_of()
    torch.testing.assert_close(DSA().apply(images, drawn("color", 0.75, 0.5, 0.5)), images + 0.25)


def test_saturation_moves_away_from_the_grey_of_each_pixel() -> None:
    # One pixel (1, 2, 6) of grey 3, saturation 2 * 0.75: 3 + 1.5 * (-2, -1, 3).
    pixel = torch.tensor([1.0, 2.0, 6.0]).reshape(1, 3, 1, 1)
    out = DSA().apply(pixel, drawn("color", 0.5, 0.75, 0.5))
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 1.5, 7.5]))


def test_saturation_leaves_a_grey_image_alone() -> None:
    images = images_of(channels=1)
    torch.testing.assert_close(DSA().apply(images, drawn("color", 0.5, 0.9, 0.5)), images)


def test_contrast_moves_away_from_the_mean_of_each_image() -> None:
    # Means 2 and 20, contrast 0.75 + 0.5.
    images = torch.tensor([[0.0, 1.0, 3.0, 4.0], [10.0, 10.0, 30.0, 30.0]]).reshape(2, 1, 2, 2)
    out = DSA().apply(images, drawn("color", 0.5, 0.5, 0.75))
    expected = torch.tensor([[-0.5, 0.75, 3.25, 4.5], [7.5, 7.5, 32.5, 32.5]]).reshape(2, 1, 2, 2)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(("down", "right"), [(-4, 4), (0, 0), (3, -2), (4, 4)])
def test_crop_shifts_and_fills_with_zeros(down: int, right: int) -> None:
    # A side of 32 shifts by -4 ... 4: nine choices, and the image at (i, j) comes from (i + down, j + right).
    images = images_of(side=32)
    expected = torch.roll(F.pad(images, (4, 4, 4, 4)), (-down, -right), (2, 3))[:, :, 4:-4, 4:-4]
    draw = drawn("crop", (down + 4.5) / 9, (right + 4.5) / 9)
    assert torch.equal(DSA().apply(images, draw), expected)


def test_the_largest_uniform_shifts_no_further_than_the_crop_allows() -> None:
    images = images_of(side=32)
    last = 1 - 2**-24  # times 9 it rounds to 9 in single precision
    assert torch.equal(DSA().apply(images, drawn("crop", last, last)), DSA().apply(images, drawn("crop", 0.99, 0.99)))


@pytest.mark.parametrize(
    ("u", "v", "rows", "columns"),
    [
        (0.5, 0.5, (2, 6), (2, 6)),  # centre 4 of 0 ... 8, so from 4 - 2 to 4 + 2
        (0.0, 0.99, (0, 2), (6, 8)),  # cut off at two borders
        (0.3, 0.6, (0, 4), (3, 7)),
    ],
)
def test_cutout_erases_exactly_its_square(u: float, v: float, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    images = images_of()
    expected = images.clone()
    expected[:, :, slice(*rows), slice(*columns)] = 0
    assert torch.equal(DSA().apply(images, drawn("cutout", u, v)), expected)


def test_cutout_of_an_odd_square() -> None:
    # A side of 5 loses int(2.5 + 0.5) = 3 pixels around a centre of 0 ... 4.
    images = torch.ones(1, 1, 5, 5)
    out = DSA().apply(images, drawn("cutout", 0.5, 0.0))[0, 0]
    assert out.tolist() == [[1] * 5, [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [1] * 5]


def test_flip_mirrors_below_its_probability() -> None:
    images = images_of()
    assert torch.equal(DSA().apply(images, drawn("flip", 0.49)), images.flip(3))
    assert torch.equal(DSA().apply(images, drawn("flip", 0.5)), images)
    assert torch.equal(DSA(flip_probability=0).apply(images, drawn("flip", 0.0)), images)


def test_no_rotation_and_no_scaling_are_the_identity() -> None:
    images = images_of()
    torch.testing.assert_close(DSA().apply(images, drawn("rotate", 0.5)), images)
    torch.testing.assert_close(DSA(scale_ratio=1).apply(images, drawn("scale", 0.3, 0.8)), images)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 7, 10)])
@pytest.mark.parametrize("degrees", [-15.0, 9.0, 40.0])
def test_affine_is_grid_sample(shape: tuple[int, int, int, int], degrees: float) -> None:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    matrices = rotation(degrees) + torch.tensor([[[0.1, 0.0, 0.2], [0.0, -0.2, -0.3]]])
    grid = F.affine_grid(matrices.expand(shape[0], -1, -1), list(shape), align_corners=False)
    expected = F.grid_sample(images, grid, align_corners=False)
    torch.testing.assert_close(affine(images, matrices), expected, rtol=1e-4, atol=1e-5)


def test_rotation_is_by_the_angle_and_scale_by_the_factors() -> None:
    images = images_of()
    # u = 5/6 of -15 ... 15 degrees is 10; factors are 1/1.2 + u (1.2 - 1/1.2), x before y.
    torch.testing.assert_close(DSA().apply(images, drawn("rotate", 5 / 6)), affine(images, rotation(10)))
    x, y = (1 / 1.2 + u * (1.2 - 1 / 1.2) for u in (0.25, 0.75))
    expected = affine(images, torch.tensor([[[x, 0, 0], [0, y, 0]]]))
    torch.testing.assert_close(DSA().apply(images, drawn("scale", 0.25, 0.75)), expected)


def test_rotation_agrees_with_scipy_away_from_the_border() -> None:
    y, x = np.mgrid[:21, :21]
    blob = np.exp(-((x - 13) ** 2 + (y - 8) ** 2) / 18)
    ours = affine(torch.tensor(blob)[None, None], rotation(12, torch.float64))[0, 0].numpy()
    theirs = ndimage.rotate(blob, 12, reshape=False, order=1)
    assert np.abs(ours - theirs)[3:-3, 3:-3].max() < 1e-6


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_shared_draw_serves_batches_of_any_size(operation: str) -> None:
    augmentation = DSA(strategy=(operation,))
    draw = augmentation.draw((3, 3, 8, 8), torch.Generator().manual_seed(1), shared=True)
    image = images_of(1)
    one, three, seven = (augmentation.apply(image.expand(n, -1, -1, -1), draw) for n in (1, 3, 7))
    for batch in (three, seven):
        for out in batch:
            assert torch.equal(out, one[0])


@pytest.mark.parametrize("operation", ["color", "crop", "cutout", "scale", "rotate"])
def test_a_draw_for_each_image_differs_between_images(operation: str) -> None:
    images = images_of(1, side=32).expand(4, -1, -1, -1)
    out = DSA(strategy=(operation,))(images, torch.Generator().manual_seed(0))
    assert not any(torch.equal(out[0], other) for other in out[1:])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_draw_for_each_image_equals_images_one_by_one(operation: str) -> None:
    augmentation, images = DSA(), images_of(4)
    draw = Draw(operation, torch.rand(4, 3, generator=torch.Generator().manual_seed(0)))
    alone = [augmentation.apply(images[i : i + 1], Draw(operation, draw.uniforms[i : i + 1])) for i in range(4)]
    torch.testing.assert_close(augmentation.apply(images, draw), torch.cat(alone))


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 3, 8, 12), (3, 1, 5, 4)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_shape_is_kept(operation: str, shape: tuple[int, ...]) -> None:
    augmentation = DSA(strategy=(operation,))
    for dtype in (torch.float32, torch.bfloat16):
        out = augmentation(torch.ones(shape, dtype=dtype), torch.Generator())
        assert (out.shape, out.dtype) == (shape, dtype)
        assert out.isfinite().all()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_first_and_second_derivatives(operation: str, shared: bool) -> None:
    images = images_of(2, 2, 4, torch.float64).requires_grad_()
    augmentation = DSA(strategy=(operation,))
    draw = augmentation.draw(tuple(images.shape), torch.Generator().manual_seed(2), shared)
    assert torch.autograd.gradcheck(lambda x: augmentation.apply(x, draw), (images,))
    assert torch.autograd.gradgradcheck(lambda x: augmentation.apply(x, draw), (images,))


def test_the_generator_decides_and_can_be_put_back() -> None:
    augmentation, images, generator = DSA(), images_of(5), torch.Generator().manual_seed(4)
    state = generator.get_state()
    first = [augmentation(images, generator) for _ in range(8)]
    generator.set_state(state)
    torch.manual_seed(123)
    again = [augmentation(images, generator) for _ in range(8)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])


def test_operations_are_chosen_uniformly() -> None:
    augmentation, generator = DSA(), torch.Generator().manual_seed(0)
    chosen = [augmentation.draw((1, 1, 4, 4), generator, shared=True).operation for _ in range(600)]
    assert all(70 < chosen.count(operation) < 130 for operation in OPERATIONS)


@pytest.mark.parametrize(("name", "flips"), [("mnist", False), ("SVHN", False), ("digits", False), ("cifar10", True)])
def test_digits_are_not_mirrored(name: str, flips: bool) -> None:
    strategy = DSA.for_dataset(name).strategy
    assert ("flip" in strategy) is flips
    assert set(strategy) | {"flip"} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [(("color", "cutuot"), "unknown augmentation 'cutuot'; did you mean 'cutout'?"), ((), "strategy is empty")],
)
def test_messages(strategy: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        DSA(strategy=strategy)
    assert message in str(caught.value)


def test_a_draw_for_another_batch_size_is_refused() -> None:
    draw = DSA().draw((3, 3, 8, 8), torch.Generator(), shared=False)
    with pytest.raises(ValueError, match="a draw for 3 images was applied to 7"):
        DSA().apply(images_of(7), draw)


def choosing(monkeypatch: pytest.MonkeyPatch, choice: int, uniforms: list[float]) -> None:
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([choice]))
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([uniforms]))


@pytest.mark.parametrize(
    ("choice", "uniforms", "matrix", "filled"),
    [
        (0, [0.0, 0.99], [[1, 0, -4 / 4], [0, 1, 3 / 4]], True),  # -4 and 3 pixels, a side of 8 being 2 wide
        (1, [0.0, 1.0], [[1 / 0.8, 0, 0], [0, 1 / 1.2, 0]], False),
        (2, [1.0, 0.0], rotation(45)[0].tolist(), True),
    ],
)
def test_shift_scale_rotate_by_hand(
    monkeypatch: pytest.MonkeyPatch, choice: int, uniforms: list[float], matrix: list[list[float]], filled: bool
) -> None:
    images = images_of(1) + 2
    fill: Any = images.mean((0, 2, 3), keepdim=True) if filled else 0
    expected = affine(images - fill, torch.tensor([matrix])) + fill
    choosing(monkeypatch, choice, uniforms)
    torch.testing.assert_close(shift_scale_rotate(images, torch.Generator()), expected, rtol=1e-4, atol=1e-4)


def test_shift_of_whole_pixels_is_exact_and_fills_with_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_of(1)
    choosing(monkeypatch, 0, [0.7, 0.5])  # int(5.6) - 4 = 1 column, int(4) - 4 = 0 rows
    out = shift_scale_rotate(images, torch.Generator())
    torch.testing.assert_close(out[..., :-1], images[..., 1:], rtol=1e-4, atol=1e-4)
    means = images.mean((2, 3))[..., None].expand(-1, -1, 8)
    torch.testing.assert_close(out[..., -1], means, rtol=1e-4, atol=1e-4)


def test_shift_scale_rotate_chooses_for_each_image_and_by_the_generator() -> None:
    images = images_of(1).expand(6, -1, -1, -1)
    first, again = (shift_scale_rotate(images, torch.Generator().manual_seed(0)) for _ in range(2))
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert not any(torch.equal(first[0], other) for other in first[1:])


def test_identity_matrix_changes_nothing() -> None:
    torch.testing.assert_close(affine(images_of(), IDENTITY), images_of())
