"""The dataset card: its head as the Hub reads it, its lines as a reader runs them, and what strangers put into it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ddbench.artifacts.card import card
from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.artifacts.recipe import Recipe
from ddbench.errors import UserError
from ddbench.records.cell import Budget, NetworkSpec
from ddbench.records.files import write_record
from ddbench.records.schema import Record
from factories import Call, make_record

NETWORK = NetworkSpec(name="convnet", parameters={"depth": 1})
HEADER: dict[str, Any] = {
    "method": "backprop",
    "hyperparameters": {"lr_images": 0.5},
    "dataset": "digits",
    "dataset_digest": "sha256:00",
    "network": NETWORK.model_dump(mode="json"),
    "preprocessing": {"kind": "normalize"},
    "setting": "random",
    "ipc": 2,
    "protocol": "quick-300@1",
    "budget": {"seconds": 8.0, "steps": None, "peak_bytes": None},
    "seed": 3,
    "steps_done": {"distil": 40},
    "git": None,
}


def artifact(recipe: Recipe | None = None, **changes: Any) -> DistilledDataset:
    images = torch.arange(20.0).reshape(20, 1, 1, 1).expand(20, 1, 8, 8)
    made = DistilledDataset.pixels(images, torch.arange(10).repeat_interleave(2), recipe=recipe)
    return made.with_provenance(HEADER | changes)


def record_of(file: Path) -> Record:
    header = ("method", "hyperparameters", "dataset", "dataset_digest", "setting", "ipc", "protocol", "seed")
    return make_record(
        accuracies=(0.9, 0.92),
        artifact=file_digest(file),
        network=NETWORK,
        budget=Budget(seconds=8),
        seconds={"distil": 8.0},
        **{name: HEADER[name] for name in header},
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    artifact().save(tmp_path / "set.safetensors")
    return tmp_path / "set.safetensors"


def head(readme: Path) -> dict[str, Any]:
    _, front, _ = readme.read_text().split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(front)
    return found


def test_a_card_stands_beside_its_artefact(file: Path, tmp_path: Path) -> None:
    readme = card(file, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "set.safetensors"]
    assert (tmp_path / "out" / "set.safetensors").read_bytes() == file.read_bytes()
    assert head(readme) == {
        "license": "unknown",
        "pretty_name": "digits in 20 images, by backprop",
        "task_categories": ["image-classification"],
        "size_categories": ["n<1K"],
        "tags": ["dataset-distillation", "ddbench", "digits", "backprop"],
        "viewer": False,
    }
    text = readme.read_text()
    assert "20 images in place of the training set of `digits`: 5280 bytes, distilled by `backprop`" in text
    assert re.search(r'\| budget +\| `\{"seconds": 8.0\}` +\|', text)
    assert '"lr_images": 0.5' in text
    assert "Learned with the images, and in the file: nothing." in text
    assert "Not measured yet: `ddbench score set.safetensors`." in text
    assert "$" not in text


def test_its_lines_load_the_set(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = card(file, tmp_path / "out")
    monkeypatch.chdir(readme.parent)
    (lines,) = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    assert len(lines.splitlines()) == 3
    names: dict[str, Any] = {}
    exec(lines, names)
    ((images, labels),) = names["loader"]
    assert images.shape == (20, 1, 8, 8)
    assert labels.bincount().tolist() == [2] * 10


def test_the_scores_are_those_of_the_record(file: Path, tmp_path: Path) -> None:
    write_record(tmp_path / "record.json", record_of(file))
    text = card(file, tmp_path / "out", tmp_path / "record.json").read_text()
    # t(0.975, 1) = 12.706 times the standard deviation 1.414 over the square root of 2
    assert "`91.0 ± 12.7 % (2 networks, 95 % interval over them)`" in text
    assert re.search(r"\| board +\| `tiny` +\|", text)

    artifact(seed=4).save(tmp_path / "other.safetensors")
    with pytest.raises(
        UserError, match=r"record\.json is of the artefact sha256:.*, and .*other\.safetensors is sha256:"
    ):
        card(tmp_path / "other.safetensors", tmp_path / "other", tmp_path / "record.json")
    assert not (tmp_path / "other").exists()


def test_a_learned_recipe_is_told(tmp_path: Path) -> None:
    order = torch.arange(20).reshape(5, 4)
    recipe = Recipe(lr=torch.full((15,), 0.02), order=order, epochs=3, momentum=0.5)
    artifact(recipe, protocol="own-recipe@1").save(tmp_path / "set.safetensors")
    text = card(tmp_path / "set.safetensors", tmp_path / "out").read_text()
    assert (
        "Learned with the images, and in the file: step size 0.02, mean of a schedule; "
        "a fixed order of 5 x 4 images; 3 epochs; momentum 0.5."
    ) in text
    assert "batch_size=4, " in text


def test_what_a_stranger_writes_is_text(tmp_path: Path) -> None:
    bad = "a`b|<script> --- license: mit # [x](y)"
    artifact(method=bad, hyperparameters={"a": "```\n# out"}).save(tmp_path / "set.safetensors")
    readme = card(tmp_path / "set.safetensors", tmp_path / "out")
    assert head(readme)["license"] == "unknown"
    assert head(readme)["tags"][-1] == "a'b/(script) --- license: mit # (x)(y)"
    text = readme.read_text()
    assert "<script>" not in text
    assert text.count("```") == 4
    assert not re.search(r"^# out|^# \[x", text, re.MULTILINE)


def test_nothing_of_others_is_overwritten(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    card(file, out)
    assert card(file, out) == out / "README.md"  # the same again
    (out / "README.md").write_text("mine")
    with pytest.raises(UserError, match=r"README\.md exists and is another; remove it, or choose another --out"):
        card(file, out)
    assert (out / "README.md").read_text() == "mine"


def test_the_command_says_how_to_publish(call: Call, file: Path) -> None:
    said = "wrote out/README.md; `hf upload NAME out --repo-type dataset` publishes the folder\n"
    assert call("card", file.name, "--out", "out") == (0, "", said)
