"""What lies in the cache of downloads and is not what was downloaded is set aside, and fetched again."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

import ddbench
from ddbench.data import load_dataset
from ddbench.data.builtin import SIZES

Reader = Callable[..., Any]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds a folder of MNIST."""
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("DDBENCH_DATA", raising=False)
    monkeypatch.setitem(SIZES, "mnist", SIZES["mnist"]._replace(train=10, test=10))
    (tmp_path / "datasets" / "MNIST").mkdir(parents=True)
    (tmp_path / "datasets" / "MNIST" / "raw").write_bytes(b"half of it")
    return tmp_path / "datasets"


def reader(cache: Path, error: Exception | None, images: int = 10, reachable: bool = True) -> Reader:
    """Reads what is in the cache, which raises or has so many images, or else downloads."""

    def read(root: Path, train: bool, download: bool) -> types.SimpleNamespace:
        assert root == cache
        assert download
        count = 10
        if (cache / "MNIST").exists():
            if error is not None:
                raise error
            count = images
        elif not reachable:
            raise URLError("no network")
        return types.SimpleNamespace(data=np.zeros((count, 4, 4), np.uint8), targets=np.arange(count) % 10)

    return read


@pytest.mark.parametrize(
    "error", [ValueError("bad magic"), EOFError("ends early"), OSError("Invalid data stream"), AssertionError(), None]
)
def test_a_damaged_download_is_set_aside_and_fetched_again(
    error: Exception | None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", reader(cache, error, images=6))
    with pytest.warns(RuntimeWarning, match=r"MNIST is damaged; it is kept as MNIST\.damaged, and downloaded again"):
        data = load_dataset("mnist")
    assert len(data.train_labels) == 10
    assert (cache / "MNIST.damaged" / "raw").read_bytes() == b"half of it"


def test_what_is_sound_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", reader(cache, None))
    assert len(load_dataset("mnist").train_labels) == 10
    assert (cache / "MNIST" / "raw").is_file()


def test_without_a_network_the_way_out_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", reader(cache, ValueError("bad magic"), reachable=False))
    with (
        pytest.warns(RuntimeWarning, match="is damaged"),
        pytest.raises(ddbench.UserError, match=r"cannot get mnist: .*no network.*connect once and run `ddbench prep"),
    ):
        load_dataset("mnist")
