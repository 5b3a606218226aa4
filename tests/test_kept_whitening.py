"""Whitenings that are kept in the cache: fitted once, to the byte the same, and taken only where they fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddbench.data import Preprocessing
from ddbench.data import kept_whitening as subject
from ddbench.io.safetensors_files import read_tensors, tensor_bytes
from factories import toy

KINDS = ("zca", "regularized_zca")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """A cache in which whitenings of toys are kept; returns its files."""
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(subject, "WORTH_KEEPING", 1)
    return lambda: sorted((tmp_path / "whitenings").glob("*"))


def fitted(kind: str, **changes: Any) -> torch.Tensor:
    """Whiten the toy by a whitening that is fitted to it; images there and back."""
    data = toy(**changes)
    transform = Preprocessing.for_dataset(data, kind).fit(data)
    white = transform(data.train_images)
    return torch.cat([white, transform.inverse(white)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_whitening_is_fitted_once(kind: str, kept: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "WORTH_KEEPING", 10**9)
    alone = fitted(kind)
    assert kept() == []
    monkeypatch.setattr(subject, "WORTH_KEEPING", 1)
    first = fitted(kind)
    (file,) = kept()
    monkeypatch.setattr("torch.linalg.eigh", None)
    monkeypatch.setattr("torch.linalg.svd", None)
    monkeypatch.setattr("kornia.enhance.ZCAWhitening.fit", None)
    assert torch.equal(fitted(kind), first)
    assert torch.equal(first, alone)
    assert kept() == [file]


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("zca", "transform_matrix"),
        ("zca", "transform_inv"),
        ("zca", "mean_vector"),
        ("regularized_zca", "matrix"),
        ("regularized_zca", "inverse"),
    ],
)
def test_what_does_not_whiten_these_images_is_set_aside(kind: str, part: str, kept: Callable[[], list[Path]]) -> None:
    expected = fitted(kind)
    (file,) = kept()
    _, tensors = read_tensors(file)
    tensors[part] = tensors[part] + 0.2 * torch.eye(*tensors[part].shape)
    file.write_bytes(tensor_bytes(tensors, {}))
    with pytest.warns(RuntimeWarning, match="is damaged .it does not whiten the images.; it is kept as"):
        assert torch.equal(fitted(kind), expected)
    assert kept() == [file, file.with_name(f"{file.name}.damaged")]


def test_a_mean_that_is_a_little_off_is_set_aside(kept: Callable[[], list[Path]]) -> None:
    fitted("zca")
    (file,) = kept()
    _, tensors = read_tensors(file)
    tensors["mean_vector"][0, 0] += 0.02  # its square is far below what random directions show
    file.write_bytes(tensor_bytes(tensors, {}))
    with pytest.warns(RuntimeWarning, match="it does not whiten the images"):
        fitted("zca")


@pytest.mark.parametrize("content", [b"", b"no safetensors", tensor_bytes({"other": torch.zeros(2)}, {})])
def test_what_cannot_be_read_is_set_aside(content: bytes, kept: Callable[[], list[Path]]) -> None:
    expected = fitted("zca")
    (file,) = kept()
    file.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="it does not whiten the images"):
        assert torch.equal(fitted("zca"), expected)


def test_other_images_and_other_kinds_have_whitenings_of_their_own(kept: Callable[[], list[Path]]) -> None:
    for kind in KINDS:
        fitted(kind)
        fitted(kind, train_images=toy().train_images.flip(0).permute(0, 2, 3, 1).numpy())
    assert len(kept()) == 4


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(subject, "WORTH_KEEPING", 1)
    assert torch.isfinite(fitted("zca")).all()
