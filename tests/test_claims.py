"""From a run to the tables: submitted, verified, rendered, and what is refused on the way."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.boards.board import make_board
from ddbench.boards.jobs import resolve
from ddbench.data import load_dataset
from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json, digest
from ddbench.leaderboard import check_tables
from ddbench.leaderboard.origins import origins
from ddbench.records.cell import NEUTRAL, Budget, run_key
from ddbench.records.files import read_record, read_records
from ddbench.records.run_folder import ARTIFACT, RECORD
from ddbench.records.schema import Record
from ddbench.records.source_digest import file_source_digest
from ddbench.registry import METHODS, discover
from ddbench.runs.plan import plan_runs, run_jobs
from ddbench.submissions import filing
from ddbench.submissions.checks import complaints, recorded_data
from ddbench.submissions.claim import Claim
from ddbench.submissions.membership import board_complaint
from ddbench.submissions.rescoring import perturbed
from ddbench.submissions.submit import submit
from ddbench.submissions.verify import verify
from factories import Call, contents

ROOT = Path(__file__).resolve().parent.parent
NETWORK = "convnet(depth=1, width=8)"
BOARD: dict[str, Any] = {
    "board": "tiny",
    "datasets": "digits",
    "ipc": 1,
    "network": "convnet,depth=1,width=8",
    "protocol": "quick-300@1",
    "networks": 2,
    "steps": 3,
    "compile": False,
    "entries": [
        {"methods": "distribution_matching", "set": {"batch_real": 8}, "seeds": 3},
        {"methods": "random_real"},
    ],
}

WAYS: dict[str, Any] = {
    "board": "ways",
    "datasets": "digits",
    "ipc": 1,
    "network": "convnet,depth=1,width=8",
    "protocol": "quick-300@1",
    "networks": 1,
    "also": [{"network": "mlp,depth=1,width=8", "networks": 2}],
    "peek": 0.2,
    "compile": False,
    "entries": [{"methods": "random_real"}],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, for reading."""
    discover()
    folder = tmp_path_factory.mktemp("made") / "runs"
    jobs = [*resolve(make_board(BOARD), "cpu"), *resolve(make_board(WAYS), "cpu")]
    run_jobs(plan_runs(jobs, folder), folder, workers=2, device="cpu")
    for record in (folder / "random_real").glob(f"*/{RECORD}"):
        if read_record(record).board == "ways":
            record.parent.rename(folder.with_name("ways"))
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of it, beside a folder of tables that is empty and the board's YAML."""
    (tmp_path / "tables" / "records").mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text(yaml.safe_dump(BOARD))
    return Path(shutil.copytree(made, tmp_path / "runs"))


@pytest.fixture
def ways(made: Path, tmp_path: Path) -> Path:
    """The record of a run that was scored in two ways, with held-out images to select by."""
    return Path(shutil.copytree(made.with_name("ways"), tmp_path / "ways")) / RECORD


def tables(runs: Path) -> Path:
    return runs.parent / "tables"


def file(runs: Path) -> list[str]:
    """Submit; the complaints."""
    return submit(runs, tables(runs), configs=runs.parent / "configs").complaints


def first_record(runs: Path) -> Path:
    return next(iter(sorted((runs / "distribution_matching").glob(f"*/{RECORD}"))))


def forge(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change a record, with a key and a checksum that fit."""
    content = json.loads(path.read_bytes())
    del content["checksum"]
    change(content)
    cell = Record.model_validate(content).result.cell
    content["key"] = run_key(cell, content["result"]["seed"], content["method_source"])
    content["checksum"] = digest(canonical_json(content))
    path.write_text(json.dumps(content))
    return path


def forge_artifact(path: Path, change: Callable[[DistilledDataset], DistilledDataset]) -> Path:
    """Change a record's artefact, with a record that names it and its size."""
    file = path.with_name(ARTIFACT)
    changed = change(DistilledDataset.load(file))
    changed.save(file)

    def seal(content: dict[str, Any]) -> None:
        content["result"]["artifact"] = file_digest(file)
        content["stored_bytes"] = changed.stored_bytes()

    return forge(path, seal)


def raise_scores(content: dict[str, Any]) -> None:
    for score in content["result"]["scores"]:
        score["accuracy"] += 0.03


# -- from end to end --------------------------------------------------------------------------------------------------


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_template_s_paper_is_refused_and_uncommitted_changes_are_said(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(METHODS.get("distribution_matching"), "paper", "https://arxiv.org/abs/...")
    (complaint,) = file(runs)
    assert complaint == (
        "method distribution_matching says that its paper is https://arxiv.org/abs/...; name it in the method's file "
        "and run again, with --again"
    )
    monkeypatch.undo()
    for path in runs.glob(f"*/*/{RECORD}"):
        forge(path, lambda content: content["measured"]["environment"].update(git="0123456789ab+"))
    (note,) = [note for note in submit(runs, tables(runs)).notes if "uncommitted" in note]
    assert note.startswith(
        f"{len(list(runs.glob(f'*/*/{RECORD}')))} runs were made from a working tree with uncommitted"
    )


def test_a_run_is_submitted_verified_and_rendered(runs: Path, call: Call) -> None:
    code, out, err = call("submit", "runs", "--to", "tables")
    assert (code, out) == (0, "")
    assert "board 'tiny' is new: add its YAML to configs/" in err
    assert err.endswith("ready for a pull request\n")
    kept = sorted(tables(runs).glob("records/tiny/*/*.json"))
    assert [path.parent.name for path in kept] == ["distribution_matching"] * 3 + ["random_real"]
    assert {path.read_bytes() for path in kept} == {path.read_bytes() for path in runs.glob(f"*/*/{RECORD}")}

    code, out, _ = call("leaderboard", "tables", "--check")
    assert code == 0
    table = (tables(runs) / "tiny.md").read_text()
    ranked = table[table.index("|   rank |") : table.index("### Cost")]
    assert ranked.count("| [distribution_matching] ") == ranked.count("| [random_real] ") == 1

    artifacts = sorted(tables(runs).glob("artifacts/tiny/*/*"))
    assert [path.stem for path in artifacts] == [path.stem for path in kept]
    record = kept[0]
    code, out, err = call("verify", record, "--device", "cpu")
    claimed = read_record(record).accuracy
    assert claimed is not None
    assert (code, out.splitlines()[1]) == (0, "accepted")
    assert f"accuracy, equal seeds: claimed {100 * claimed:.2f} %, re-measured {100 * claimed:.2f} %, diff" in out
    assert [line.partition(":")[0] for line in err.splitlines()] == [f"{NETWORK}, seed {seed}" for seed in (0, 1)]


def test_of_larger_artefacts_that_of_the_median_run_is_kept(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "SMALL_ARTIFACT", 0)
    for path, accuracy in zip(sorted(runs.glob(f"distribution_matching/*/{RECORD}")), (0.9, 0.2, 0.4), strict=True):
        forge(path, lambda content, accuracy=accuracy: [  # type: ignore[misc]
            score.update(accuracy=accuracy) for score in content["result"]["scores"]
        ])  # fmt: skip
    assert file(runs) == []
    (kept,) = tables(runs).glob("artifacts/tiny/distribution_matching/*")
    record = read_record(tables(runs) / "records/tiny/distribution_matching" / f"{kept.stem}.json")
    assert (record.accuracy, record.result.artifact) == (0.4, file_digest(kept))


def test_a_large_artefact_stays_out(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "ARTIFACT_LIMIT", 100)
    monkeypatch.setattr(filing, "SMALL_ARTIFACT", 0)
    found = submit(runs, tables(runs), configs=runs.parent / "configs")
    assert len(found.notes) == 2
    assert "more than the 100 of an artefact that is kept; publish it with `ddbench card`" in found.notes[0]
    assert not (tables(runs) / "artifacts").exists()
    assert len(read_records(tables(runs) / "records")) == 4


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_submitting_twice_does_nothing(runs: Path, call: Call) -> None:
    assert file(runs) == []
    before = contents(tables(runs))
    assert call("submit", "runs", "--to", "tables")[::2] == (0, "all of it is in tables already\n")
    assert contents(tables(runs)) == before


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_another_attempt_is_filed_beside_the_first_and_shown(runs: Path) -> None:
    assert file(runs) == []
    kept = sorted(tables(runs).glob("artifacts/tiny/distribution_matching/*"))
    path = runs / "distribution_matching" / kept[0].stem / RECORD

    def later(content: dict[str, Any]) -> None:
        soon = datetime.now(UTC) + timedelta(hours=1)
        content["measured"] |= {"started": soon.isoformat(), "finished": soon.isoformat()}
        for score in content["result"]["scores"]:
            score["accuracy"] = 0.125

    forge(path, later)
    before = contents(tables(runs) / "records")
    assert file(runs) == []
    after = contents(tables(runs) / "records")
    assert before.items() < after.items()
    (added,) = (tables(runs) / "records" / name for name in after.keys() - before.keys())
    assert added.name == f"{kept[0].stem}-2.json"
    assert Claim.read(added).artifact == kept[0]
    other = kept[0].with_stem(added.stem)
    other.write_text("another attempt's")
    assert Claim.read(added).artifact == kept[0]  # by what it holds, not by its name
    other.unlink()
    assert sorted(tables(runs).glob("artifacts/tiny/distribution_matching/*")) == kept
    assert check_tables(tables(runs), origins()) == []
    others = [read_record(one).accuracy or 0 for one in runs.glob(f"distribution_matching/*/{RECORD}") if one != path]
    table = (tables(runs) / "tiny.md").read_text()
    assert re.search(
        rf"distribution_matching\] +\| distribution matching +\| +{100 * (sum(others) + 0.125) / 3:.1f} [(±]", table
    )


def test_one_rounding_changes_images_by_no_more_than_that() -> None:
    images, labels = torch.full((10, 1, 8, 8), -3.0), torch.eye(10)
    before = DistilledDataset.pixels(images, labels, label_kind="probabilities")
    after = perturbed(before)
    change = (after.parts["images"] / images - 1).abs()
    assert 2**-13 < float(change.mean()) < float(change.max()) < 2**-11 * 1.001
    assert torch.equal(after.parts["labels"], labels)
    assert after.to_bytes() == perturbed(before).to_bytes()


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_networks_are_trained_on_the_threads_of_the_record(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [2]  # of torch, in this test alone
    monkeypatch.setattr(torch, "get_num_threads", lambda: counts[-1])
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    seen: list[int] = []
    found = verify(first_record(runs), count=1, device="cpu", on_score=lambda score: seen.append(counts[-1]))
    assert found.accepted
    assert (seen, counts[-1]) == ([1], 2)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_changed_record_is_refused_and_nothing_is_copied(runs: Path) -> None:
    assert file(runs) == []
    before = contents(tables(runs))
    path = forge(first_record(runs), raise_scores)
    (sentence,) = file(runs)
    assert sentence.startswith(f"{path} is {tables(runs)}/records/tiny/distribution_matching/digits-ipc1-seed")
    assert sentence.endswith("with other content; records are never changed: run again, and submit that")
    assert contents(tables(runs)) == before


def test_one_bad_record_keeps_the_others_out(runs: Path, call: Call) -> None:
    path = first_record(runs)
    path.write_text(path.read_text().replace('"accuracy": 0.', '"accuracy": 0.9', 1))
    code, out, err = call("submit", "runs", "--to", "tables")
    assert (code, out) == (1, "")
    assert err.startswith(f"{path.relative_to(runs.parent)} was edited after it was written")
    assert contents(tables(runs)) == {}


def test_a_file_of_no_record_is_not_overwritten(runs: Path) -> None:
    assert file(runs) == []
    (kept,) = tables(runs).glob("artifacts/tiny/random_real/*")
    kept.write_text("mine")
    shutil.rmtree(tables(runs) / "records" / "tiny")
    before = contents(tables(runs))
    with pytest.raises(UserError, match=r"safetensors exists, and is not of a record that is there; move it away"):
        file(runs)
    assert contents(tables(runs)) == before


def test_a_disk_that_fills_leaves_nothing_behind(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def fails(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == 3:
            raise UserError("cannot write: no space")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    monkeypatch.setattr(filing, "write_atomically", fails)
    with pytest.raises(UserError, match="no space"):
        file(runs)
    assert contents(tables(runs)) == {}


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_raised_scores_are_refused_by_training_again(runs: Path, call: Call) -> None:
    path = forge(first_record(runs), raise_scores)
    assert file(runs) == []  # nothing to be seen without training
    code, out, _ = call("verify", path, "--device", "cpu", "--record", "--to", "tables", "--json")
    found = json.loads(out)
    assert (code, found["accepted"], found["complaints"]) == (1, False, [])
    (comparison,) = found["comparisons"]
    assert comparison["difference"] == pytest.approx(0.03)
    assert comparison["bound"] < 0.03

    # What was measured is a record of its own, and the one that the table shows.
    (written,) = [Path(name) for name in found["filed"] if name.endswith(".json")]
    again = read_record(runs.parent / written)
    assert written.stem == f"{again.name}-2"
    assert again.rescores == file_digest(path)
    assert again.accuracy == pytest.approx(comparison["remeasured"])
    claimed = read_record(path).measured
    assert (again.measured.seconds, again.measured.environment) == (claimed.seconds, claimed.environment)
    assert again.measured.uncharged_seconds.keys() == claimed.uncharged_seconds.keys()
    assert again.measured.rescored_in is not None
    assert again.measured.rescored_in["device"] == claimed.environment["device"]
    assert check_tables(tables(runs), origins()) == []
    seeds = sorted(runs.glob(f"distribution_matching/*/{RECORD}"))
    mean = sum(read_record(one).accuracy or 0 for one in seeds) / 3 - 0.01  # one of three is back to what it is
    assert f"{100 * mean:.1f} ± " in (tables(runs) / "tiny.md").read_text()


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_every_way_and_metric_is_measured_again(ways: Path) -> None:
    (ways.parent.parent / "tables" / "records").mkdir(parents=True)
    shares = list[float]()
    found = verify(
        ways, device="cpu", to=ways.parent.parent / "tables", report=lambda stage, share: shares.append(share)
    )
    assert found.accepted, found
    assert shares == sorted(shares)
    assert {round(6 * share, 9) for share in shares} >= set(range(6)), "one network, two of another, each twice"
    (filed,) = [path for path in found.filed if path.suffix == ".json"]
    assert read_record(filed).result == read_record(ways).result
    assert read_record(filed).rescores == file_digest(ways)
    quantities = ["accuracy", "held_out", "oracle", "validation"]
    other = "accuracy of mlp(depth=1, width=8) under quick-300@1"
    assert sorted(one.quantity for one in found.comparisons) == sorted([*quantities, other])
    assert all(one.difference == 0 for one in found.comparisons)

    forge(ways, lambda content: [score.update(accuracy=0.9) for score in content["result"]["also"]])
    found = verify(ways, device="cpu", count=1)
    assert [one.quantity for one in found.comparisons if not one.accepted] == [other]
    forge(ways, lambda content: content["result"]["scores"][0]["metrics"].update(success=0.5))
    assert verify(ways, device="cpu").complaints == [f"{ways}: metrics success are none that its cell measures"]
    forge(ways, lambda content: content["result"]["scores"][0]["metrics"].update(unheard_of=0.5))
    (sentence,) = verify(ways, device="cpu").complaints
    assert sentence.startswith(f"{ways}: metric 'unheard_of' is not declared; known: before, held_out, ")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda content: content["result"]["also"].pop(),
            "scores of further ways that are not those of its cell",
        ),
        (
            lambda content: content["result"]["also"][0].update(seed=4),
            "scores of further ways that are not those of its cell",
        ),
        (
            lambda content: content["result"]["also"][0].update(protocol="dc-300@1"),
            "scores of further ways that are not those of its cell",
        ),
        (lambda content: content["result"]["also"][0]["metrics"].update(a=1), "scores with different metrics"),
        (
            lambda content: content["result"]["cell"]["also"][0].update(protocol="dc-300@1"),
            "scores of further ways that are not those of its cell",
        ),
        (
            lambda content: [
                one.update(protocol="dc-300@1")
                for one in (content["result"]["cell"]["also"][0], *content["result"]["also"])
            ],
            "does not say what protocol dc-300@1 is",
        ),
    ],
)
def test_further_scores_are_those_of_the_cell(
    ways: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    forge(ways, change)
    assert any(one.startswith(f"{ways}: {sentence}") for one in verify(ways).complaints)


def more_images(artifact: DistilledDataset) -> DistilledDataset:
    return replace(artifact, parts={name: part.repeat_interleave(2, 0) for name, part in artifact.parts.items()})


def other_labels(artifact: DistilledDataset) -> DistilledDataset:
    return replace(artifact, parts={**artifact.parts, "labels": artifact.parts["labels"] + 5})


def unbalanced(artifact: DistilledDataset) -> DistilledDataset:
    return replace(artifact, parts={**artifact.parts, "labels": artifact.parts["labels"] // 2})


def other_shape(artifact: DistilledDataset) -> DistilledDataset:
    return replace(artifact, parts={**artifact.parts, "images": artifact.parts["images"][..., :4]})


def trained_weights(artifact: DistilledDataset) -> DistilledDataset:
    return replace(artifact, initial={"head": torch.zeros(2)})


def header(**changes: Any) -> Callable[[DistilledDataset], DistilledDataset]:
    return lambda artifact: artifact.with_provenance({**artifact.provenance, **changes})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (more_images, "{file} does not fit 'digits' and ipc 1: image parts take 5120 bytes; 1 images a class are 2560"),
        (other_labels, "{file} does not fit 'digits' and ipc 1: labels lie outside 0 to 9"),
        (unbalanced, "{file} does not fit 'digits' and ipc 1: classes have [2, 2, 2, 2, 2, 0, 0, 0, 0, 0] images; eve"),
        (other_shape, "{file} does not fit 'digits' and ipc 1: images have shape (1, 8, 4), the task's have (1, 8, 8)"),
        (trained_weights, "{file} does not fit 'digits' and ipc 1: it stores initial weights, and setting random "),
        (header(method="dm"), "says method 'distribution_matching', but the header of {file} says 'dm'"),
        (header(dataset_digest="sha256:00"), "but the header of {file} says 'sha256:00'"),
        (header(ipc=2), "says ipc 1, but the header of {file} says 2"),
        (header(protocol="dc-300@1"), "says protocol 'quick-300@1', but the header of {file} says 'dc-300@1'"),
        (header(network={"name": "mlp"}), "says network.name 'convnet', but the header of {file} says 'mlp'"),
        (header(seed=7), "says seed 0, but the header of {file} says 7"),
        (header(hyperparameters={"batch_real": 9}), "says hyperparameters.batch_real 8, but the header of {file} says"),
        (header(preprocessing={"kind": "zca"}), "says preprocessing 'normalize', but the header of {file} says 'zca'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_artefact_of_something_else_is_refused(
    runs: Path, change: Callable[[DistilledDataset], DistilledDataset], sentence: str
) -> None:
    path = forge_artifact(sorted((runs / "distribution_matching").glob(f"*seed0*/{RECORD}"))[0], change)
    wanted = sentence.format(file=path.with_name(ARTIFACT))
    for said in (file(runs), verify(path).complaints):
        assert any(wanted in one for one in said), said
        assert all(one.startswith(f"{path}: ") for one in said)
    assert contents(tables(runs)) == {}


def test_a_wrong_digest_is_refused(runs: Path) -> None:
    path = first_record(runs)
    right = file_digest(path.with_name(ARTIFACT))
    forge(path, lambda content: content["result"].update(artifact="sha256:" + "0" * 64))
    sentence = f"{path}: is of the artefact sha256:{'0' * 64}, but {path.with_name(ARTIFACT)} is {right}"
    assert file(runs) == [sentence]
    assert verify(path).complaints == [sentence]
    assert contents(tables(runs)) == {}


def scores_of(*seeds: int) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        one = content["result"]["scores"][0]
        content["result"]["scores"] = [{**one, "seed": seed} for seed in seeds]

    return change


def left_unscored(content: dict[str, Any]) -> None:
    content["result"].update(scores=[], curve=[], also=[], unscored=True)
    content["measured"]["curve_seconds"] = []


def of(record: Record, **changes: Any) -> Record:
    cell = record.result.cell.model_copy(update=changes)
    return record.model_copy(update={"result": record.result.model_copy(update={"cell": cell})})


def of_cell(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["result"]["cell"].update(changes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (scores_of(0), "1 scores where its cell says 2 networks"),
        (left_unscored, "was left unscored; run its cell with scores"),
        (scores_of(0, 5), "scores of evaluation seeds 0, 5; they are 0 to 1"),
        (
            lambda content: content["result"]["scores"][0]["network"].update(name="mlp"),
            "scores of mlp(depth=1, width=8",
        ),
        (lambda content: content["result"]["scores"][0]["metrics"].update(a=1), "scores with different metrics"),
        (lambda content: content["result"].update(artifact=None), "scores, but the digest of no artefact"),
        (
            lambda content: content["result"].update(status="failed"),
            "status failed, and scores or an artefact; a run th",
        ),
        (lambda content: content["protocol"].update(steps=900), "says that quick-300@1 has steps 900; it has 300"),
        (lambda content: content["protocol"].clear(), "says that quick-300@1 has batch_size 256; it has 25"),
        (of_cell(protocol="mine@1"), "unknown protocol 'mine@1'; known: "),
        (lambda content: content["measured"].update(finished="2999-01-01"), "started 20"),
        (lambda content: content["measured"].update(finished="2000-01-01"), "started 20"),
        (lambda content: content["measured"].update(finished="soon"), "started '20"),
        (lambda content: content["measured"].update(finished="9999-01-01"), "started 20"),
        (lambda content: content["result"].update(steps_done={"distil": 100}), "100 steps of a budget of 3"),
        (of_cell(method="a b"), "method 'a b' cannot name a file; use letters, digits, "),
        (
            lambda content: content.update(board="mine"),
            "board 'mine' is made of options; `ddbench evaluate` with the same ones and --save-board configs/mine.yaml",
        ),
        (lambda content: content["stored_bytes"].update(images=1), "says that {'images': 1, "),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(
    runs: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    path = forge(first_record(runs), change)
    said = file(runs)
    assert any(one.startswith(f"{path}: {sentence}") for one in said), said
    assert contents(tables(runs)) == {}


def test_a_seed_that_its_board_does_not_run_is_refused(runs: Path) -> None:
    path = forge(first_record(runs), lambda content: content["result"].update(seed=3))
    board = runs.parent / "configs" / "tiny.yaml"
    forge_artifact(path, lambda artifact: artifact.with_provenance({**artifact.provenance, "seed": 3}))
    assert file(runs) == [f"{path}: has seed 3, and its cell in {board} 0, 1, 2; run those"]


def test_a_method_that_is_not_known_here_runs_under_its_boards_conditions(runs: Path) -> None:
    record, configs = read_record(first_record(runs)), runs.parent / "configs"

    def complaint(**changes: Any) -> str | None:
        return board_complaint(of(record, method="theirs", hyperparameters={"depth": 3}, **changes), configs)

    assert complaint() is None
    assert str(complaint(budget=Budget(steps=9))).endswith("tiny.yaml: budget.steps is 9 where the board says 3")
    assert "has no cell of theirs on digits with ipc 2" in str(complaint(ipc=2))


def test_what_came_later_and_changes_nothing_makes_no_other_cell(runs: Path) -> None:
    """A record from before a hyper-parameter came, as its method has it now at its neutral value."""
    path = first_record(runs)
    assert NEUTRAL["decoder"] == read_record(path).result.cell.hyperparameters["decoder"]
    record = read_record(path)
    older = {name: value for name, value in record.result.cell.hyperparameters.items() if name != "decoder"}
    assert board_complaint(of(record, hyperparameters=older), runs.parent / "configs") is None
    forge(path, of_cell(hyperparameters=older))
    assert plan_runs(resolve(make_board(BOARD), "cpu"), runs).jobs == []


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_a_data_set_is_known_wherever_it_lies(runs: Path, tmp_path: Path) -> None:
    save_npz(tmp_path / "elsewhere" / "mine.npz")
    board = {**BOARD, "datasets": [str(tmp_path / "elsewhere" / "mine.npz")], "entries": [{"methods": "random_real"}]}
    (runs.parent / "configs" / "tiny.yaml").write_text(yaml.safe_dump(board))
    out = tmp_path / "own"
    run_jobs(plan_runs(resolve(make_board(board), "cpu"), out), out)
    found = submit(out, tables(runs), configs=runs.parent / "configs", datasets=board["datasets"])
    assert found.complaints == []


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_data_that_other_cells_of_a_board_need_are_not_asked_for(runs: Path) -> None:
    given = {"methods": "random_real", "setting": "pretrained", "pool": {"dataset": "nowhere"}}
    board = BOARD | {"datasets": ["digits", "none-such"], "entries": [*BOARD["entries"], given]}
    (runs.parent / "configs" / "tiny.yaml").write_text(yaml.safe_dump(board))
    assert file(runs) == []


def save_npz(path: Path) -> None:
    data = load_dataset("digits")
    images, labels = data.test_images.permute(0, 2, 3, 1).numpy(), data.test_labels.numpy()
    path.parent.mkdir()
    np.savez(path, train_images=images, train_labels=labels, test_images=images[:90], test_labels=labels[:90])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 2}, "is no cell of {file}: budget.steps is 3 where the board says 2"),
        (
            {"networks": 3, "threads": 2},
            "is no cell of {file}: networks is 2 where the board says 3; threads is 1 where",
        ),
        ({"ipc": 5}, "{file} has no cell of distribution_matching on digits with ipc 1; add it there, and run that"),
    ],
)
def test_a_record_of_no_cell_of_its_board_is_refused(runs: Path, changes: dict[str, Any], sentence: str) -> None:
    board = runs.parent / "configs" / "tiny.yaml"
    board.write_text(yaml.safe_dump(BOARD | changes))
    path = first_record(runs)
    assert any(one.startswith(f"{path}: {sentence.format(file=board)}") for one in file(runs))
    assert contents(tables(runs)) == {}


@pytest.mark.parametrize("rule", [file_digest, file_source_digest])
def test_a_method_that_cannot_be_looked_up_is_refused_without_its_file(
    runs: Path, tmp_path: Path, rule: Callable[[Path], str]
) -> None:
    """A file that was changed and not committed; what was committed can be looked up."""
    source = tmp_path / "mine.py"
    source.write_text("raise RuntimeError('a stranger is never run')\n")
    path = first_record(runs)

    def changed(revision: str) -> None:
        def change(content: dict[str, Any]) -> None:
            content["method_source"] = rule(source)
            content["measured"]["environment"]["git"] = revision

        forge(path, change)

    changed("0123456789ab+")
    (sentence,) = file(runs)
    assert "the file of 'distribution_matching' is not the one here, and was not committed when it ran" in sentence
    (runs.parent / "other.py").write_text("")
    with pytest.raises(UserError, match=r"no record was made with .*other\.py as it is now"):
        submit(runs, tables(runs), sources=[runs.parent / "other.py"])

    found = submit(runs, tables(runs), sources=[source], configs=runs.parent / "configs")
    assert found.complaints == []
    name = f"distribution_matching-{rule(source).rpartition(':')[2][:16]}.py"
    assert (tables(runs) / "sources" / name).read_bytes() == source.read_bytes()
    (sentence,) = source_complaints_of(runs, "0123456789ab")
    assert "revision '0123456789ab' is not in this clone; fetch it" in sentence
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (sentence,) = source_complaints_of(runs, head.strip())
    assert f"is not at revision {head.strip()} what the record says that ran" in sentence


def source_complaints_of(runs: Path, revision: str) -> list[str]:
    """Of the same records, run from this commit."""
    forge(first_record(runs), lambda content: content["measured"]["environment"].update(git=revision))
    shutil.rmtree(tables(runs))
    (tables(runs) / "records").mkdir(parents=True)
    return file(runs)


def test_an_unknown_method_is_refused(runs: Path) -> None:
    path = first_record(runs)
    forge_artifact(path, header(method="unheard_of"))
    forge(path, of_cell(method="unheard_of"))
    assert file(runs) == [f"{path}: no method 'unheard_of' here; add its file to methods/, or give it with --source"]


def test_a_failed_run_is_submitted_like_any_other(runs: Path) -> None:
    path = first_record(runs)
    path.with_name(ARTIFACT).unlink()
    (sentence,) = file(runs)
    assert sentence == f"{path}: its artefact is not beside it; put it back, or run the cell again"
    forge(path, lambda content: content["result"].update(status="failed", reason="x", artifact=None, scores=[]))
    assert file(runs) == []


# -- bad usage --------------------------------------------------------------------------------------------------------


def test_bad_usage_is_said_in_a_sentence(runs: Path, call: Call) -> None:
    record = first_record(runs)
    for arguments, sentence in (
        (["submit", "nowhere"], "no record.json below nowhere; name the --out folder of `ddbench evaluate`"),
        (
            ["submit", "runs", "--to", "nowhere"],
            "no folder nowhere/records; go to a clone of the repository, or name i",
        ),
        (["submit", "runs", "--to", "tables", "--source", "none.py"], "no method file at none.py"),
        (["verify", "none.json"], "no record at none.json; give a run's record.json, or one below leaderboards/record"),
        (["verify", record, "--artifact", "none"], f"no artefact of {record} at none; name its file with --artifact"),
        (
            ["verify", record, "--count", 1, "--record", "--to", "tables"],
            "a record of this cell has 2 networks, 1 are ",
        ),
        (["verify", record, "--record"], "no folder leaderboards/records; go to a clone of the repository"),
        (["verify", record, "--dataset", "none"], "unknown dataset 'none'"),
    ):
        code, out, err = call(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"ddbench: {sentence}")
        assert contents(tables(runs)) == {}


def test_a_record_of_other_data_says_so(runs: Path, call: Call) -> None:
    path = forge(first_record(runs), of_cell(dataset_digest="sha256:" + "1" * 64))
    code, _, err = call("verify", path)
    assert code == 2
    assert err.startswith("ddbench: the record is of 'digits' (sha256:111111111111), but 'digits' here is another data")


def test_a_damaged_record_is_refused(runs: Path, call: Call) -> None:
    path = first_record(runs)
    path.write_text("{}")
    code, out, err = call("verify", path)
    assert (code, out) == (1, "refused\n")
    assert "schema version None" in err


# -- what is committed ------------------------------------------------------------------------------------------------

LEADERBOARDS = Path(__file__).resolve().parent.parent / "leaderboards"
COMMITTED = sorted((LEADERBOARDS / "artifacts").rglob("*.safetensors"))


def record_of(artifact: Path) -> Path:
    return (LEADERBOARDS / "records" / artifact.relative_to(LEADERBOARDS / "artifacts")).with_suffix(".json")


def test_committed_artefacts_are_those_of_their_records() -> None:
    assert COMMITTED
    for path in COMMITTED:
        claim = Claim.read(record_of(path))
        assert claim.artifact == path
        assert path.stat().st_size <= filing.ARTIFACT_LIMIT
        if claim.record.result.cell.dataset == "digits":  # which needs no download
            assert complaints(claim, recorded_data(claim.record.result.cell)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in COMMITTED if path.stem.startswith("digits")], ids=lambda path: path.stem
)
def test_committed_records_are_accepted(path: Path) -> None:
    found = verify(record_of(path), device="cpu")
    assert found.accepted, found.comparisons
