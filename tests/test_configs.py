"""Every board that ships loads, and its methods and networks can be built, without any data."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddbench.artifacts.checks import check_artifact
from ddbench.boards.board import load_board
from ddbench.boards.jobs import resolve
from ddbench.data import Dataset, make_dataset
from ddbench.graphs.data import Features, Graph, make_graph
from ddbench.leaderboard import load_published
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget, NetworkSpec, Setting
from ddbench.registry import DATASETS, METHODS, discover
from ddbench.task.hyperparameters import make_method
from ddbench.testing import tiny_task

BOARDS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))
SIZES = {"digits": (8, 1), "mnist": (28, 1), "fashion_mnist": (28, 1), "usps": (16, 1)}
"""side and channels; 32 and 3 for the others"""


@cache
def blank(name: str) -> Dataset:
    """Black training images: 1250 of each of the data set's classes, or 100 of each of a hundred."""
    side, channels = SIZES.get(name, (32, 3))
    labels = np.arange(100).repeat(100) if name == "cifar100" else np.arange(10).repeat(1250)
    images = np.zeros((len(labels), side, side, channels), np.uint8)
    return make_dataset(name, images, labels, images[:10], np.arange(10))


@cache
def edgeless(name: str) -> Graph:
    """20 training nodes of each class of Cora or Citeseer, one for validation and one for tests, of one feature."""
    labels = np.arange(22 * {"cora": 7, "citeseer": 6}[name]) % {"cora": 7, "citeseer": 6}[name]
    count = len(labels)
    features = Features(np.arange(count + 1), np.zeros(count, np.int64), np.ones(count), (count, 1))
    nodes = {"train": np.arange(count - 2), "validation": np.array([count - 2]), "test": np.array([count - 1])}
    return make_graph(name, features, np.zeros((0, 2), np.int64), labels, nodes)


@pytest.fixture
def black(register: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank data sets in place of those that ship."""
    for name in DATASETS:
        register(DATASETS, name, partial(blank, name))
    monkeypatch.setattr("ddbench.graphs.modality.load_graph", edgeless)


def test_there_are_boards() -> None:
    assert "quickstart.yaml" in [path.name for path in BOARDS]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("black")
def test_a_shipped_board_resolves(path: Path) -> None:
    discover()
    board = load_board(path)
    resolved = resolve(board, "cpu")  # makes every method and builds every network
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


@pytest.mark.usefixtures("black")
def test_published_figures_of_real_images_have_a_cell() -> None:
    discover()
    cells = [job.cell for path in PAPERS for job in resolve(load_board(path), "cpu")]
    real = {name for name in METHODS if METHODS.get(name).family == "control"}
    boards = {cell.dataset for cell in cells}
    entries = [one for one in load_published().entries if one.dataset in boards]
    figures = [one for one in entries if one.method in real and one.protocol and one.ipc]
    assert len(figures) > 30
    assert [str(one) for one in figures if not any(map(one.fits, cells))] == []


FLOORS = ("least", "min_start")
"""settings that bound amounts of work from below, and leave no room for the contract's"""


def slices() -> list[object]:
    """A parameter for each method of each entry of the papers' boards; slow where an earlier one is of the method."""
    seen, found = set(), []
    for path in PAPERS:
        board = load_board(path)
        for index, entry in enumerate(board.entries):
            setting, ipc = entry.setting or board.setting, min(10, *(entry.ipc or board.ipc))
            norm = (entry.network or board.network).parameters.get("norm", "instance")
            kind = entry.preprocessing or board.preprocessing
            for method in entry.methods:
                marks = [pytest.mark.slow] if method in seen else []
                seen.add(method)
                place = f"{path.stem}-{index}-{method}"
                found.append(pytest.param(method, entry.set, setting, ipc, norm, kind, marks=marks, id=place))
    return found


def chooses(value: object, tiny: object) -> bool:
    """Whether a setting is no amount of work and, as `canvas,crops=3`, none within the contract's choice."""
    if isinstance(value, str) and isinstance(tiny, str):
        return value.partition(",")[0] != tiny.partition(",")[0]
    return isinstance(value, str | bool)


@pytest.mark.parametrize(("method", "settings", "setting", "ipc", "norm", "kind"), slices())
def test_a_slice_of_a_paper_board_runs(
    method: str, settings: dict[str, Any], setting: Setting, ipc: int, norm: str, kind: str
) -> None:
    """Each entry with its own settings, on the contract's images and with the contract's amounts of work."""
    discover()
    network = NetworkSpec(name="convnet", parameters={"depth": 2, "width": 8, "norm": norm})
    cls, task = METHODS.get(method), tiny_task(ipc, setting, network=network, preprocessing=kind)
    own = {name: value for name, value in settings.items() if name not in FLOORS}
    choices = {name: value for name, value in own.items() if chooses(value, cls.tiny.get(name))}
    artifact = make_method(cls, own | cls.tiny | choices).distill(task, Meter(Budget()))
    check_artifact(artifact, task.shape, task.classes, ipc, task.setting.attack)
