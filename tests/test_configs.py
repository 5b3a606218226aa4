"""Every board that ships loads, and its methods and networks can be built, without any data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddbench import jobs
from ddbench.config import load_board
from ddbench.data import Dataset, make_dataset
from ddbench.registry import discover

BOARDS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))
SIZES = {"digits": (8, 1), "mnist": (28, 1), "fashion_mnist": (28, 1), "usps": (16, 1)}
"""side and channels; 32 and 3 for the others"""


def blank(name: str) -> Dataset:
    """50 black training images of each of the data set's classes."""
    side, channels = SIZES.get(name, (32, 3))
    labels = np.arange(100 if name == "cifar100" else 10).repeat(50)
    images = np.zeros((len(labels), side, side, channels), np.uint8)
    return make_dataset(name, images, labels, images[:10], labels[:10])


def test_there_are_boards() -> None:
    assert "quickstart.yaml" in [path.name for path in BOARDS]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_shipped_board_resolves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    discover()
    monkeypatch.setattr(jobs, "load_dataset", blank)
    board = load_board(path)
    resolved = jobs.resolve(board, "cpu")  # makes every method and builds every network
    assert board.board == path.stem, "runs and tables are found by the file's name"
    assert board.title
    assert len({job.key for job in resolved}) == len(resolved) == len({job.folder for job in resolved})
    for job in resolved:
        made = job.make_method()
        assert made.name == job.cell.method
        assert job.protocol().name == job.cell.protocol
