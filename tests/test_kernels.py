"""Kernels of infinitely wide networks, against golden numbers and textbooks; regression with them, in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddbench.errors import UserError
from ddbench.families.kernels import tangent
from ddbench.families.kernels.arc_cosine import rectified
from ddbench.families.kernels.least_squares import no_rows, residual, solution, with_rows
from ddbench.families.kernels.named import KERNELS, KernelName, convolutional, fully_connected
from ddbench.families.kernels.regression import centred, coefficients, exact, for_kernels, targets_of
from ddbench.families.kernels.tangent import TangentKernel

CPU = torch.device("cpu")
GOLDEN: dict[KernelName, tuple[float, float]] = {
    "fc": (0.6140423906205773, 0.8134791532896293),
    "convnet3": (0.25765804181374863, 0.19200578212154512),
    "convnet": (0.3456556529234285, 0.25196925193497405),
}
"""entries [0, 0] and [2, 3], by neural-tangents 0.6.5 in float64, weights of variance 2 and biases of variance 0.01"""


def two_sets() -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(3, 8, 8, 2)), random.normal(size=(4, 8, 8, 2))
    return torch.tensor(first).permute(0, 3, 1, 2), torch.tensor(second).permute(0, 3, 1, 2)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", GOLDEN)
def test_kernels_have_the_numbers_of_the_library_for_them(name: KernelName) -> None:
    first, second = two_sets()
    found = KERNELS[name](first, second)
    assert found.shape == (3, 4)
    assert (found[0, 0].item(), found[2, 3].item()) == pytest.approx(GOLDEN[name], abs=1e-10)
    torch.testing.assert_close(KERNELS[name](second, first), found.T)
    torch.testing.assert_close(KERNELS[name](first.float(), second.float()).double(), found, atol=1e-5, rtol=0)


# -- textbooks --------------------------------------------------------------------------------------------------------


def relu(covariance: float, one: float, other: float) -> tuple[float, float]:
    """Cho and Saul's formulas, by the angle."""
    angle = math.acos(max(-1.0, min(1.0, covariance / math.sqrt(one * other))))
    height = math.sqrt(one * other) * math.sin(angle)
    return (height + (math.pi - angle) * covariance) / (2 * math.pi), (math.pi - angle) / (2 * math.pi)


def textbook_dense(x: Tensor, y: Tensor, depth: int) -> float:
    """The tangent kernel of a fully connected network for two vectors, layer by layer."""

    def weighted(value: float) -> float:
        return 2 * value + 0.01

    xx, xy, yy = (weighted(float(a @ b) / len(a)) for a, b in ((x, x), (x, y), (y, y)))
    found = xy
    for _ in range(depth):
        passed, slope = relu(xy, xx, yy)
        xy = weighted(passed)
        xx, yy = (weighted(relu(own, own, own)[0]) for own in (xx, yy))
        found = xy + 2 * slope * found
    return found


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_fully_connected_networks_as_in_a_textbook(depth: int) -> None:
    x, y = normal(2, 5), normal(3, 5, seed=1)
    expected = [[textbook_dense(one, other, depth) for other in y] for one in x]
    found = fully_connected(depth)(x.view(2, 1, 1, 5), y.view(3, 1, 1, 5))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def textbook_convolutional(x: Tensor, y: Tensor, depth: int) -> float:
    """Likewise of convolutions without pooling, for images (C, H, W), with a number for every pair of positions."""
    places = [(row, column) for row in range(x.shape[1]) for column in range(x.shape[2])]
    window = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    Values = dict[tuple[Any, Any], float]

    def summed(values: Values, bias: float) -> Values:
        def at(p: Any, q: Any) -> float:
            moved = [((p[0] + r, p[1] + c), (q[0] + r, q[1] + c)) for r, c in window]
            return 2 / 9 * sum(values.get(pair, 0.0) for pair in moved) + bias

        return {(p, q): at(p, q) for p in places for q in places}

    def inner(a: Tensor, b: Tensor) -> Values:
        return {(p, q): float(a[:, *p] @ b[:, *q]) / len(a) for p in places for q in places}

    xx, xy, yy, found = inner(x, x), inner(x, y), inner(y, y), Values()
    for _ in range(depth):
        xx, xy, yy = (summed(values, 0.01) for values in (xx, xy, yy))
        found = {pair: xy[pair] + value for pair, value in summed(found, 0.0).items()}
        slopes = {(p, q): relu(xy[p, q], xx[p, p], yy[q, q])[1] for p, q in found}
        xy = {(p, q): relu(xy[p, q], xx[p, p], yy[q, q])[0] for p, q in found}
        xx = {(p, q): relu(xx[p, q], xx[p, p], xx[q, q])[0] for p, q in found}
        yy = {(p, q): relu(yy[p, q], yy[p, p], yy[q, q])[0] for p, q in found}
        found = {pair: slopes[pair] * value for pair, value in found.items()}
    mean, passed = (sum(values[p, p] for p in places) / len(places) for values in (xy, found))
    return 2 * mean + 0.01 + 2 * passed


def test_convolutions_without_pooling_as_in_a_textbook() -> None:
    x, y = normal(1, 2, 3, 4), normal(2, 2, 3, 4, seed=1)
    found = convolutional(blocks=2, pooling=False)(x, y)
    expected = [[textbook_convolutional(x[0], other, 2) for other in y]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_pooling_once_is_the_mean_over_all_pairs_of_positions() -> None:
    x, y = normal(2, 1, 2, 2), normal(3, 1, 2, 2, seed=1)
    pooled = TangentKernel(("convolution", "pool", "flatten", "dense"), weight=1.0, bias=0.0)(x, y)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for row in (slice(0, 1), slice(0, 2), slice(1, 2)):  # what is left of the image, moved by a pixel or not
        for column in (slice(0, 1), slice(0, 2), slice(1, 2)):
            seen, other = x[:, 0, row, column].sum((1, 2)), y[:, 0, row, column].sum((1, 2))
            expected += 2 / 9 / 16 * seen[:, None] * other  # once for each layer that is trained
    torch.testing.assert_close(pooled, expected)


# -- rectification ----------------------------------------------------------------------------------------------------


def test_a_relu_of_equal_opposite_and_independent_inputs() -> None:
    covariance, product = torch.tensor([[3.0, -3.0, 0.0], [3.0, 3.0, 3.0]], dtype=torch.float64)
    outputs, derivatives = rectified(covariance, product)
    assert outputs.tolist() == pytest.approx([1.5, 0.0, 3 / (2 * math.pi)], abs=1e-15)
    assert derivatives.tolist() == pytest.approx([0.5, 0.0, 0.25], abs=1e-15)


def test_gradients_at_equal_inputs_are_finite_and_of_inputs_that_stay_equal() -> None:
    images, towards = normal(3, 1, 4, 4), normal(3, 1, 4, 4, seed=1)
    kernel, leaf = convolutional(first=True, blocks=2), images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(kernel(leaf, leaf).diagonal().sum(), leaf)
    ahead, behind = (
        kernel(moved, moved).diagonal().sum() for moved in (images + 1e-6 * towards, images - 1e-6 * towards)
    )
    assert float((slope * towards).sum()) == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-6)


def test_derivatives_are_those_of_finite_differences() -> None:
    covariance = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64, requires_grad=True)
    product = torch.tensor([1.0, 0.9, 1.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rectified, (covariance, product))
    x, y = normal(2, 1, 2, 2).requires_grad_(), normal(1, 1, 2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(convolutional(blocks=1), (x[:1], y))
    assert torch.autograd.gradcheck(fully_connected(2), (x, y))


# -- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
def test_blocks_change_neither_kernel_nor_gradients(name: KernelName, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (images.requires_grad_() for images in two_sets())
    kernel, weights = KERNELS[name], normal(3, 4)

    def found() -> list[Tensor]:
        values = kernel(first, second)
        return [values, *torch.autograd.grad((weights * values).sum(), (first, second))]

    whole, each = found(), tangent.NUMBERS["cpu"] // kernel.pairs(first)
    monkeypatch.setitem(tangent.NUMBERS, "cpu", 2 * each)
    assert kernel.pairs(first) == 2
    for one, other in zip(found(), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_a_block_has_as_many_pairs_as_fit() -> None:
    images = torch.zeros(2, 3, 8, 8)
    limit = tangent.NUMBERS["cpu"]
    assert [KERNELS[name].pairs(images) for name in ("fc", "unpooled", "convnet")] == [
        limit,
        limit // 64,
        limit // 64**2,
    ]
    assert KERNELS["convnet"].pairs(torch.zeros(1, 1, 64, 64)) == 1


def test_images_that_are_too_small_to_be_pooled_are_refused() -> None:
    images = torch.zeros(1, 1, 8, 7)
    with pytest.raises(
        UserError, match="halves images 3 times, and these are 8 x 7; take one without pooling, such as"
    ):
        KERNELS["convnet"](images, images)
    assert KERNELS["unpooled"](images, images).shape == (1, 1)


def test_precision_of_learning_and_of_scoring() -> None:
    assert for_kernels(torch.zeros(1)).dtype == torch.float32
    assert for_kernels(torch.zeros(1, device="meta")).dtype == torch.float64  # it stands for a GPU of CUDA
    assert exact(torch.zeros(1)).dtype == torch.float64


# -- regression -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_regression_as_in_a_textbook(kind: torch.dtype) -> None:
    root, targets = normal(5, 7).to(kind), normal(5, 2, seed=1).to(kind)
    kernel = root @ root.T
    matrix = kernel.double().numpy()
    ridge = 0.1 * np.trace(matrix) / 5
    expected = np.linalg.inv(matrix + ridge * np.eye(5)) @ targets.double().numpy()
    found = coefficients(kernel, targets, 0.1)
    assert found.dtype == kind
    assert found.double().numpy() == pytest.approx(expected, rel=1e-5)


def test_a_linear_kernel_gives_back_the_weights_that_its_images_and_targets_are_made_of() -> None:
    weights = normal(6, 3)  # (d, C)
    orthogonal, triangle = torch.linalg.qr(weights)
    images, tests = orthogonal.T, normal(4, 6, seed=1)  # as many images as classes
    solved = coefficients(images @ images.T, (1 + 0.5) * triangle, 0.5)
    torch.testing.assert_close(tests @ images.T @ solved, tests @ weights)


def test_targets_are_centred_for_classes_and_kept_for_soft_labels() -> None:
    found = centred(torch.tensor([1, 0]), 4)
    assert found.tolist() == [[-0.25, 0.75, -0.25, -0.25], [0.75, -0.25, -0.25, -0.25]]
    assert targets_of(torch.tensor([1, 0]), 4).tolist() == found.tolist()
    soft = normal(2, 4)
    assert targets_of(soft, 4) is soft


def deficient(design: Tensor) -> Tensor:
    return torch.cat([design[:, :2], design[:, :1] + design[:, 1:2]], 1)


@pytest.mark.parametrize("changed", [lambda design: design, deficient], ids=["full rank", "deficient"])
def test_least_squares_in_batches_are_those_of_all_rows(changed: Callable[[Tensor], Tensor]) -> None:
    design, targets = changed(normal(20, 3)), normal(20, 2, seed=1)
    triangle = no_rows(3, 2, CPU)
    for rows, answers in zip(design.split(7), targets.split(7), strict=True):
        triangle = with_rows(triangle, rows, answers)
    found, expected = solution(triangle, 3), np.linalg.pinv(design.numpy()) @ targets.numpy()
    assert found.numpy() == pytest.approx(expected, abs=1e-10)
    if changed is not deficient:
        assert residual(triangle, 3).item() == pytest.approx(((design.numpy() @ expected - targets.numpy()) ** 2).sum())
