"""Every board that ships loads, and its methods and networks can be built, without any data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddbench import jobs
from ddbench.artifact import check_artifact
from ddbench.config import load_board, make_method
from ddbench.data import Dataset, make_dataset
from ddbench.meter import Meter
from ddbench.records import Budget
from ddbench.registry import METHODS, discover
from ddbench.testing import tiny_task

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


PAPERS = [path for path in BOARDS if path.stem in ("mnist", "fashion_mnist", "cifar10", "cifar100", "wang2018")]


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_a_paper_board_names_the_source_of_every_cell(path: Path) -> None:
    assert all(entry.source for entry in load_board(path).entries)


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_a_slice_of_a_paper_board_runs(path: Path) -> None:
    """Every entry with its own settings, on the contract's task and with the contract's amounts of work."""
    discover()
    board = load_board(path)
    for entry in board.entries:
        for method in entry.methods:
            cls, ipc = METHODS.get(method), min(10, *(entry.ipc or board.ipc))
            task = tiny_task(ipc, entry.setting or board.setting)
            artifact = make_method(cls, {**entry.set, **cls.tiny}).distill(task, Meter(Budget()))
            check_artifact(artifact, task.shape, task.classes, ipc)
