"""Floating-point operations, counted by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ddbench.compute.flops import FlopCounter


def test_a_matrix_product_is_two_operations_an_inner_element() -> None:
    with FlopCounter() as counter:
        _ = torch.rand(3, 4) @ torch.rand(4, 5)
    assert counter.total == 2 * 3 * 4 * 5


def test_its_backward_is_a_product_for_each_side_that_wants_a_gradient() -> None:
    a, b = torch.rand(3, 4), torch.rand(4, 5, requires_grad=True)
    with FlopCounter() as counter:
        (a @ b).sum().backward()
    assert counter.total == 2 * (2 * 3 * 4 * 5)
    a.requires_grad_()
    with FlopCounter() as counter:
        (a @ b).sum().backward()
    assert counter.total == 3 * (2 * 3 * 4 * 5)


def test_a_convolution_forward_and_backward() -> None:
    images = torch.rand(2, 3, 8, 8)
    weight = torch.rand(5, 3, 3, 3, requires_grad=True)
    once = 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3)  # an output element takes 27 multiply-adds
    with FlopCounter() as counter:
        out = F.conv2d(images, weight, padding=1)
    assert counter.total == once
    with FlopCounter() as counter:
        out.sum().backward()
    assert counter.total == once
    images.requires_grad_()
    with FlopCounter() as counter:
        F.conv2d(images, weight, padding=1).sum().backward()
    assert counter.total == 3 * once


def test_elementwise_work_and_what_runs_outside_do_not_count() -> None:
    counter = FlopCounter()
    with counter:
        _ = torch.rand(3, 3).relu().sum() * 2
    _ = torch.rand(3, 4) @ torch.rand(4, 5)
    assert counter.total == 0


def test_blocks_add_up() -> None:
    counter = FlopCounter()
    for _ in range(2):
        with counter:
            _ = torch.rand(3, 4) @ torch.rand(4, 5)
    assert counter.total == 2 * (2 * 3 * 4 * 5)
