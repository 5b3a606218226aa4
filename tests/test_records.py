"""The record: what it must hold, and the sentences about one that does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ddbench.errors import UserError
from ddbench.io.atomic import canonical_json, digest
from ddbench.records.cell import Budget, Cell, NetworkSpec, run_key
from ddbench.records.files import dump_record, problems, read_record, read_records, write_record
from ddbench.records.schema import Record
from factories import make_cell, make_record

NETWORK = NetworkSpec(name="convnet", parameters={"width": 16, "depth": 3})


CELL: dict[str, Any] = {
    "method": "random_real",
    "dataset_digest": "sha256:00",
    "network": NETWORK,
    "ipc": 10,
    "protocol": "quick-300@1",
    "budget": Budget(seconds=60),
}


def cell(**changes: Any) -> Cell:
    return make_cell(**(CELL | changes))


def record(**changes: Any) -> Record:
    fields = {
        "board": "test",
        "method_source": "sha256:11",
        "stored_bytes": {"images": 96},
        "seconds": {"experts": 2.5, "distil": 1.25},
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:01:00Z",
        "log": {"loss": [(0, 1.5), (10, 0.5)]},
        "environment": {"threads": 1},
    }
    return make_record(accuracies=(0.5, 0.75), curve=((0.0, 0.25),), **(CELL | fields | changes))


def altered(path: Path, change: Callable[[dict[str, Any]], Any], seal: bool = True) -> Path:
    """A record file with changed content, under a checksum that fits."""
    content = json.loads(dump_record(record()))
    del content["checksum"]
    change(content)
    if seal:
        content["checksum"] = digest(canonical_json(content))
    path.write_text(json.dumps(content))
    return path


def test_a_written_record_comes_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, record())
    assert problems(path) == []
    assert read_record(path) == record()
    assert dump_record(read_record(path)) == path.read_bytes()


def test_records_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for place, status in (("b/1.json", "ok"), ("a/2.json", "truncated")):
        write_record(tmp_path / place, record(status=status))
    assert [found.result.status for found in read_records(tmp_path)] == ["truncated", "ok"]


def test_accuracy_is_the_mean_over_networks() -> None:
    assert record().accuracy == 0.625
    assert record(scores=[]).accuracy is None


def test_charged_seconds_are_the_sum_over_phases() -> None:
    assert record().charged_seconds == 3.75


def test_a_network_names_its_parameters_in_order() -> None:
    assert str(NETWORK) == "convnet(depth=3, width=16)"
    assert str(NetworkSpec(name="mlp")) == "mlp"


def test_a_run_key_is_stable() -> None:
    assert run_key(cell(), 0, "sha256:11") == "9c045a5dde8cda88"


@pytest.mark.parametrize(
    "other",
    [
        run_key(cell(ipc=1), 0, "sha256:11"),
        run_key(cell(budget=Budget(seconds=61)), 0, "sha256:11"),
        run_key(cell(hyperparameters={"lr": 0.25}), 0, "sha256:11"),
        run_key(cell(), 1, "sha256:11"),
        run_key(cell(), 0, "sha256:12"),
    ],
)
def test_a_run_key_depends_on_cell_seed_and_file(other: str) -> None:
    assert other != run_key(cell(), 0, "sha256:11")


def test_a_run_key_does_not_depend_on_how_a_budget_was_written() -> None:
    assert run_key(cell(budget=Budget(seconds=60.0)), 0, "x") == run_key(cell(budget={"seconds": 60}), 0, "x")


@pytest.mark.parametrize("fields", [{"seconds": 0}, {"seconds": float("inf")}, {"steps": 0}, {"peak_bytes": -1}])
def test_a_budget_is_positive(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Budget(**fields)  # type: ignore[arg-type]


def test_a_budget_says_what_it_leaves() -> None:
    free, both = Budget(), Budget(seconds=10, steps=4)
    assert [both.spent(*used) for used in ((9.9, 3), (10.0, 3), (9.9, 4))] == [False, True, True]
    assert [both.affords(*used) for used in ((10.0, 4), (10.1, 4), (10.0, 5))] == [True, False, False]
    assert [both.share(*used) for used in ((0.0, 0), (5.0, 1), (5.0, 3), (20.0, 3))] == [0.0, 0.5, 0.75, 2.0]
    assert (free.spent(1e9, 10**9), free.affords(1e9, 10**9), free.share(1e9, 10**9)) == (False, True, 0.0)


def test_records_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        record().key = "other"


def test_one_digit_changed_by_hand_is_found(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, record())
    text = path.read_text()
    assert text.count('"accuracy": 0.75') == 1
    path.write_text(text.replace('"accuracy": 0.75', '"accuracy": 0.76'))
    sentence = f"{path} was edited after it was written (its checksum does not match); restore it or run the cell again"
    assert problems(path) == [sentence]
    with pytest.raises(UserError) as caught:
        read_record(path)
    assert str(caught.value) == sentence


def test_a_record_without_a_checksum_was_edited(tmp_path: Path) -> None:
    assert "was edited" in problems(altered(tmp_path / "r.json", lambda content: None, seal=False))[0]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"key": NaN}', b'{"key": 1e999}', b'{"key": "\\ud800"}'])
def test_what_is_no_json_is_not_readable(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(data)
    (sentence,) = problems(path)
    assert sentence.startswith(f"{path} is not a readable JSON file (")
    assert sentence.endswith("); remove it and run the cell again")


def test_a_missing_file_is_not_readable(tmp_path: Path) -> None:
    assert "is not a readable JSON file" in problems(tmp_path / "none.json")[0]


def test_a_list_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("[]")
    assert problems(path) == [f"{path} holds a list where a record is an object; remove it and run the cell again"]


@pytest.mark.parametrize("version", [2, None])
def test_another_schema_version_is_said(tmp_path: Path, version: int | None) -> None:
    path = altered(tmp_path / "r.json", lambda content: content.update(schema_version=version))
    assert problems(path) == [f"{path} has schema version {version!r}; this ddbench reads 1"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.update(mood="good"), "mood: extra inputs are not permitted (got 'good'); run the cell again"),
        (lambda c: c["result"].update(extra=1), "result.extra: extra inputs are not permitted (got 1)"),
        (lambda c: c["result"].pop("seed"), "result.seed: field required; run the cell again"),
        (
            lambda c: c["result"]["scores"][1].update(accuracy="high"),
            "result.scores.1.accuracy: input should be a valid number",
        ),
        (
            lambda c: c["result"]["scores"][0].update(accuracy=75.0),
            "result.scores.0.accuracy: input should be less than",
        ),
        (lambda c: c["result"].update(status="fine"), "result.status: input should be 'ok', "),
        (lambda c: c["result"]["cell"].update(ipc=0), "result.cell.ipc: input should be greater than 0 (got 0)"),
    ],
)
def test_a_wrong_field_is_named_with_its_path(tmp_path: Path, change: Callable[..., Any], sentence: str) -> None:
    path = altered(tmp_path / "r.json", change)
    (found,) = problems(path)
    assert found.startswith(f"{path}: {sentence}")


def test_every_wrong_field_has_a_sentence(tmp_path: Path) -> None:
    path = altered(tmp_path / "r.json", lambda content: content.update(key=1, board=[]))
    assert len(problems(path)) == 2


def test_a_wrong_key_is_said(tmp_path: Path) -> None:
    path = altered(tmp_path / "r.json", lambda content: content["result"].update(seed=1))
    assert problems(path) == [f"{path}: key {record().key} is not the hash of its cell and seed; run the cell again"]


@pytest.mark.parametrize("status", ["ok", "truncated"])
def test_a_good_status_needs_scores(tmp_path: Path, status: str) -> None:
    path = altered(tmp_path / "r.json", lambda content: content["result"].update(scores=[], status=status))
    assert problems(path) == [f"{path}: status {status} without scores; run the cell again"]


def test_a_run_that_was_left_unscored_needs_none(tmp_path: Path) -> None:
    path = altered(tmp_path / "r.json", lambda content: content["result"].update(scores=[], unscored=True))
    assert problems(path) == []
    path = altered(tmp_path / "r.json", lambda content: content["result"].update(unscored=True))
    assert problems(path) == [f"{path}: scores of a run that was left unscored; run the cell again"]
    assert b"unscored" not in dump_record(record())


def test_a_bad_status_needs_none(tmp_path: Path) -> None:
    path = altered(tmp_path / "r.json", lambda content: content["result"].update(scores=[], status="diverged"))
    assert problems(path) == []


def test_curve_points_have_times(tmp_path: Path) -> None:
    path = altered(tmp_path / "r.json", lambda content: content["measured"].update(curve_seconds=[]))
    assert problems(path) == [f"{path}: 1 curve points but 0 times"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.update(board="../../x"), "board: string should match pattern"),
        (
            lambda c: c["result"]["cell"].update(method="../x"),
            "result.cell.method: a name begins with a letter or digit",
        ),
        (lambda c: c["result"]["cell"].update(dataset="a\x1b[2J"), "result.cell.dataset: a name begins with a letter"),
        (lambda c: c["result"]["cell"].update(protocol="x`<img>"), "result.cell.protocol: string should match pattern"),
        (
            lambda c: c["result"]["cell"].update(dataset_digest="=1+1"),
            "result.cell.dataset_digest: string should match",
        ),
        (lambda c: c["result"]["cell"]["network"].update(name="a|\nb"), "result.cell.network.name: a name begins with"),
        (lambda c: c["measured"]["seconds"].update(distil="nan"), "measured.seconds.distil: input should be "),
        (
            lambda c: c["measured"]["seconds"].update(distil=1e300),
            "measured.seconds.distil: input should be less than or",
        ),
        (lambda c: c["measured"]["log"].update(loss=[[0, "inf"]]), "measured.log.loss.0.1: input should be a valid nu"),
    ],
)
def test_what_tables_and_paths_cannot_hold_is_refused(
    tmp_path: Path, change: Callable[..., Any], sentence: str
) -> None:
    path = altered(tmp_path / "r.json", change)
    found = problems(path)[0]
    assert found.startswith(f"{path}: {sentence}")
    assert found.isprintable()


def test_a_strange_key_is_shown_without_its_control_characters(tmp_path: Path) -> None:
    path = altered(tmp_path / "r.json", lambda content: content.update({"\x1b[2J\n": 1}))
    assert problems(path)[0].startswith(rf"{path}: \x1b[2J : extra inputs are not permitted")


def test_a_reason_is_one_printable_line(tmp_path: Path) -> None:
    odd = record(scores=[], status="failed", reason="\x1b[31mred\nline")
    assert odd.result.reason == r"\x1b[31mred line"
    write_record(tmp_path / "r.json", odd)
    assert read_record(tmp_path / "r.json") == odd


def test_a_link_is_no_record(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", record())
    (tmp_path / "link.json").symlink_to(tmp_path / "r.json")
    assert problems(tmp_path / "link.json") == [f"{tmp_path / 'link.json'} is a link; put the record itself there"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 10_000, "nested deeper than 50 levels"),
        ('{"a": ' + "1" * 4000 + "}", "a whole number of more than 63 bits"),
    ],
)
def test_vast_documents_are_not_readable(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "r.json").write_text(text)
    assert reason in problems(tmp_path / "r.json")[0]
