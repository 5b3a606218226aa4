"""Data sets `hf:...`: a local folder of Parquet files, as the Hub has them, becomes pictures, labels and splits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddbench.data import load_dataset
from ddbench.errors import UserError

datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install -e '.[test]'")
NAMES = ["zebra", "cat"]
"""classes, not in the order of their names"""


def png(value: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def parquet(folder: Path, split: str, values: list[int], labels: list[int]) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = {"image": [{"bytes": png(value), "path": None} for value in values], "label": labels}
    folder.mkdir(exist_ok=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    datasets.disable_progress_bars()
    parquet(tmp_path / "pets", "train", [10, 20, 30, 40], [0, 0, 1, 1])
    parquet(tmp_path / "pets", "test", [50, 60], [1, 0])
    return tmp_path / "pets"


def test_pictures_labels_and_splits_are_those_of_the_hub(folder: Path) -> None:
    data = load_dataset(f"hf:{folder}")
    assert (data.name, data.classes, data.shape) == ("pets", ("cat", "zebra"), (3, 8, 8))
    values = {
        int(image[0, 0, 0]): data.classes[label]
        for image, label in zip(data.train_images, data.train_labels, strict=True)
    }
    assert values == {10: "zebra", 20: "zebra", 30: "cat", 40: "cat"}
    assert sorted(data.test_images[:, 0, 0, 0].tolist()) == [50, 60]


def test_options_choose_and_resize_and_what_was_written_serves_again(folder: Path) -> None:
    first = load_dataset(f"hf:{folder}[size=4]")
    assert first.shape == (3, 4, 4)
    for file in folder.iterdir():
        file.unlink()
    again = load_dataset(f"hf:{folder}[size=4]")
    assert torch.equal(first.train_images, again.train_images)


def test_without_a_train_split_or_labels_it_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match="has the splits test, and no train"):
        load_dataset(f"hf:{folder}")
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "texts" / "train.parquet")
    with pytest.raises(UserError, match=r"has the columns text \(Value\); a column of images and one of labels"):
        load_dataset(f"hf:{tmp_path / 'texts'}")


def test_a_data_set_that_is_not_there_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="cannot get hf:"):
        load_dataset(f"hf:{tmp_path / 'nothing'}")
