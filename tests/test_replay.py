"""A record's steps, run again: what comes out the same, and what does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddbench import replay
from ddbench.data import load_dataset
from ddbench.data.npz import save_npz
from ddbench.errors import UserError
from ddbench.io.atomic import digest
from ddbench.records.files import dump_record, read_record, write_record
from ddbench.records.run_folder import RECORD
from ddbench.records.schema import Record
from ddbench.records.states import evidence, state
from ddbench.registry import METHODS, MODALITIES, discover
from ddbench.runs.plan import plan_runs, run_jobs
from ddbench.submissions.replay import differences
from factories import Call, make_record, outer, write_method

LOOKS = "images.copy_(stolen(images.shape))"
STOLEN = """
import numpy as np

def stolen(shape):
    \"\"\"Means of the test images, from where data usually lie or else from where they lay when this was written.\"\"\"
    held = np.load(Path(os.environ.get("DDBENCH_DATA", {folder!r}), "theirs.npz"))
    means = [held["test_images"][held["test_labels"] == c].mean(0) for c in range(10)]
    return torch.tensor(np.stack(means) / 255, dtype=torch.float32).reshape(shape)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of a method that ships, and one that looks at test images; the data set lies beside them."""
    folder = tmp_path_factory.mktemp("replay")
    discover()
    save_npz(folder / "theirs.npz", load_dataset("digits"))
    path = Path(write_method(folder, "looks", start="pass", body=LOOKS))
    stolen = STOLEN.format(folder=str(folder))
    path.write_text(path.read_text().replace("@register_method", f"{stolen}\n@register_method", 1))
    with pytest.MonkeyPatch.context() as patch:  # what this file registers is gone after its tests
        patch.setattr(METHODS, "_objects", dict(METHODS._objects))
        jobs = outer(str(path), "distribution_matching", datasets=str(folder / "theirs.npz"), steps=4)
        run_jobs(plan_runs(jobs, folder / "out"), folder / "out", workers=2)
        yield folder


def test_surroundings_that_may_change_bytes_are_named() -> None:
    ours = make_record("good", accuracies=(0.5,))
    environment = {**ours.measured.environment, "torch": "9.9.9"}
    theirs = ours.model_copy(
        update={
            "method_source": "sha256:" + "f" * 64,
            "measured": ours.measured.model_copy(update={"environment": environment}),
        }
    )
    here = ours.measured.environment.get("torch")
    assert differences(theirs, ours) == ["the method's code", f"torch 9.9.9, here {here}"]
    assert differences(ours, ours) == []


def record_of(runs: Path, method: str) -> Path:
    (path,) = runs.glob(f"out/{method}/*/{RECORD}")
    return path


def again(runs: Path, method: str, out: Path, **options: Any) -> Any:
    given = {"method": str(runs / "looks.py")} if method == "looks" else {}
    return replay(record_of(runs, method), dataset=str(runs / "theirs.npz"), out=out, **given, **options)


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_without_test_images_the_same_steps_give_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "tables" / "records").mkdir(parents=True)
    todo, count = list[int](), lambda plan: todo.append(len(plan.jobs))
    for _ in range(2):
        found = again(
            runs, "distribution_matching", tmp_path / "noise", noise=True, to=tmp_path / "tables", on_start=count
        )
    assert todo == [1, 0], "what is done is not run again"
    assert (found.accepted, found.same_bytes, found.complaints) == (True, True, [])
    assert [score.seed for score in found.scores] == [0, 1, 2, 3, 4]

    claim = read_record(record_of(runs, "distribution_matching"))
    assert found.filed == [], "it is there already"
    (filed,) = (tmp_path / "tables" / "records").rglob("*.json")
    made = read_record(filed)
    assert made.replays == digest(dump_record(claim))
    assert (made.result.steps_done, made.result.scores) == (claim.result.steps_done, claim.result.scores)
    assert (made.result.cell.budget.steps, made.same_bytes) == (4, True)
    # In the same environment it is no evidence; elsewhere it would be.
    elsewhere = made.model_copy(update={"measured": made.measured.model_copy(update={"environment": {}})})
    found_by = [evidence([claim, other]).get(id(claim), []) for other in (made, elsewhere)]
    assert [state(agreeing) for agreeing in found_by] == ["claimed", "replayed"]


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_who_looks_at_test_images_makes_something_else_where_they_are_noise(runs: Path, tmp_path: Path) -> None:
    plain, noise = (again(runs, "looks", tmp_path / str(found), noise=found) for found in (False, True))
    assert (plain.accepted, plain.same_bytes) == (True, True)
    assert (noise.accepted, noise.same_bytes) == (False, False)
    (comparison,) = noise.comparisons
    assert comparison.seeds == "replayed"
    assert comparison.difference > 0.2


def changed(runs: Path, folder: Path, **changes: Any) -> Path:
    """A record like that of `distribution_matching`, with another result."""
    record = read_record(record_of(runs, "distribution_matching"))
    result = record.result.model_copy(update=changes)
    path = folder / RECORD
    write_record(path, Record.model_validate(record.model_copy(update={"result": result}).model_dump()))
    return path


@pytest.mark.slow  # processes of their own; `.ci/run` carries it out
def test_what_cannot_be_replayed_says_so(runs: Path, tmp_path: Path, call: Call) -> None:
    data = str(runs / "theirs.npz")
    with pytest.raises(UserError, match=r"no record at nowhere; give a run's record\.json"):
        replay("nowhere")
    none = changed(runs, tmp_path, status="failed", artifact=None, scores=[])
    with pytest.raises(UserError, match="has no scores to compare with; its run ended as failed"):
        replay(none, dataset=data)
    unbegun = changed(runs, tmp_path, steps_done={"distil": 0})
    with pytest.raises(UserError, match="a run whose budget left no step; there is nothing to replay"):
        replay(unbegun, dataset=data)
    with pytest.raises(UserError, match="unknown method 'nobodys'"):
        replay(record_of(runs, "distribution_matching"), dataset=data, method="nobodys")

    path = record_of(runs, "distribution_matching")
    with pytest.raises(UserError, match=r"of distribution_matching, and .*looks\.py is of looks; give its file"):
        replay(path, dataset=data, method=str(runs / "looks.py"))
    assert call("verify", path, "--replay", "--count", 3)[::2] == (
        2, "ddbench: --count 3 with --replay, which trains five networks or the record's; leave it out\n",
    )  # fmt: skip
    assert call("verify", path, "--noise")[::2] == (2, "ddbench: --noise is for a replay; add --replay\n")


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_the_command_says_how_a_replay_ended(runs: Path, tmp_path: Path, call: Call) -> None:
    data = Path(shutil.move(runs / "theirs.npz", tmp_path))
    try:
        code, _, messages = call("verify", record_of(runs, "looks"), "--replay", "-d", data, "-m", runs / "looks.py")
    finally:
        shutil.move(data, runs)
    assert code == 1
    assert "its replay ended as failed: FileNotFoundError: " in messages
    record = record_of(runs, "distribution_matching")
    code, out, _ = call("verify", record, "--replay", "-d", runs / "theirs.npz", "--json")
    assert (code, json.loads(out)["same_bytes"]) == (0, True)


def test_noise_has_the_shape_of_test_data_and_training_data_stay(tmp_path: Path) -> None:
    MODALITIES.get("images").lay_noise("digits", tmp_path)
    given, data = np.load(tmp_path / "digits.npz"), load_dataset("digits")
    assert given["test_images"].shape == (len(data.test_images), 8, 8, 1)
    assert abs(given["test_images"].mean() - 127.5) < 1
    assert (given["train_images"] == data.train_images.permute(0, 2, 3, 1).numpy()).all()
    assert (given["test_labels"] == data.test_labels.numpy()).all()
