"""Precision of arithmetic: how a GPU rounds in products, and where networks compute in a reduced type."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from ddbench.errors import UserError

Precision = Literal["float32", "tf32", "bfloat16"]
"""`float32`, strict; `tf32`, products and convolutions of a GPU rounded to TensorFloat-32; `bfloat16`, the same, and in
bfloat16 what `first_order` encloses: networks that are differentiated once or not at all while a method learns"""
PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "cpu": ("float32", "bfloat16"),
    "cuda": ("tf32", "float32", "bfloat16"),
    "mps": ("float32",),
}
"""those that each kind of device has, its default first"""


def precision_of(kind: str, wanted: Precision | None) -> Precision:
    """Return the precision that a kind of device computes in; its default where none is wanted.

    Raises:
        UserError: for one that the device does not have.
    """
    known = PRECISIONS[kind]
    if wanted is not None and wanted not in known:
        raise UserError(f"precision {wanted!r} is none of {kind}'s; leave it out, or use {' or '.join(known)}")
    return wanted or known[0]


@contextmanager
def precision(device: torch.device, name: Precision) -> Iterator[None]:
    """Have a CUDA device round in the block as a precision says; other devices have no such choice.

    Optimisers, second derivatives and evaluation are in float32 under every precision: with strict products under
    `float32`, with those of TensorFloat-32 under the others.
    """
    if device.type != "cuda":
        yield
        return
    before = rounds_products(), rounds_convolutions()
    _round(name != "float32", name != "float32")
    try:
        yield
    finally:
        _round(*before)


def first_order(device: torch.device) -> torch.autocast:
    """Return a context in which networks compute in bfloat16.

    Weights that it casts are not kept for later calls: a captured graph of launches must not refer to them.
    """
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def rounds_products() -> bool:
    """Return whether matrix products of a CUDA device are rounded to TensorFloat-32."""
    return bool(torch.backends.cuda.matmul.allow_tf32)


def rounds_convolutions() -> bool:
    """Return whether convolutions of a CUDA device are rounded to TensorFloat-32; torch's own default."""
    return bool(torch.backends.cudnn.allow_tf32)


def _round(products: bool, convolutions: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # newer torch has further names, which 2.6 does not know
        torch.backends.cuda.matmul.allow_tf32 = products
        torch.backends.cudnn.allow_tf32 = convolutions
