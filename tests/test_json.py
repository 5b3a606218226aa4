"""`--json`: every command that answers something has it, its help names the fields, and nothing else is printed."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

import ddbench
from ddbench import cli
from ddbench.bench.cases import Setup
from ddbench.bench.growth import Growth
from ddbench.bench.measure import CaseTiming, Timing
from ddbench.boards.board import Entry
from ddbench.boards.racing import Candidate
from ddbench.boards.tuning import Search, Trial
from ddbench.leaderboard import csv_table, plain_rows
from ddbench.records.files import write_record
from ddbench.runs.forecast import CellForecast, Forecast
from ddbench.runs.race_result import Race, Round, Standing
from ddbench.runs.tune import Tried, Tuned, Tuning
from ddbench.submissions.hub import Fetched
from ddbench.submissions.submit import Submission
from ddbench.submissions.verdict import Comparison
from ddbench.submissions.verify import Verification
from factories import Call, make_cell, make_finding, make_record, make_study_row

COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
WITHOUT = {
    "new": "it writes the one file that it is given the name of",
    "show": "it draws the one picture that it is given the name of",
}
"""commands without the option, and why: they answer nothing"""
NAMES = re.compile(r"`(\w+)`")
RECORD = make_record("good", accuracies=(0.5, 0.75), steps=(3, 5), artifact="sha256:" + "a" * 64)


def documented(command: str) -> tuple[list[str], dict[str, list[str]]]:
    """The fields of a command's answer that its help names, and those of the lists in it."""
    text = " ".join((inspect.getdoc(COMMANDS[command].callback) or "").split())
    found = re.search(r"With --json: (?:an object|a list) of (.+?)\.(?: |$)", text)
    assert found is not None, f"the help of {command} does not say what --json prints"
    inner = re.findall(r"Each of `(\w+)`[^`]* has (.+?)\.(?: |$)", text)
    return NAMES.findall(found[1]), {name: NAMES.findall(fields) for name, fields in inner}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_answers_in_json_or_has_a_reason(command: str) -> None:
    options = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    assert ("--json" in options) != (command in WITHOUT)
    if command not in WITHOUT:
        names, inner = documented(command)
        assert names
        assert inner.keys() <= set(names)


def _convert(file: Path, layout: str, dataset: str, out: Path, **options: Any) -> None:
    options["report"]("read x as layout dc")
    warnings.warn("pixels look odd", RuntimeWarning, stacklevel=1)
    out.write_bytes(b"artefact")


def _timing(seconds: float) -> Timing:
    return Timing([seconds], 10, 20)


def _tuning() -> Tuning:
    trials = Trial(0, {}, ()), Trial(1, {"lr_images": 3.16}, ())
    tried = Tried(trials[0], 0.5, "ok"), Tried(trials[1], 0.75, "ok")
    return Tuning((Tuned(Search("dm", "digits", 1, trials), tried),), Path("runs/mine-tuning"), Path("tuned.yaml"))


def _race() -> Race:
    dm, means = Candidate("dm", Entry(methods=["dm"]), False), Candidate("k_means", Entry(methods=["k_means"]), True)
    last = Round("9 s", (Standing(dm, RECORD), Standing(means, make_record("k_means", accuracies=(0.25, 0.25)))))
    return Race(Path("out"), (last,), dm, means, last, 359, Path("out/winner.safetensors"))


def _answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each command have something to say at once."""
    forecast = Forecast([CellForecast(make_cell(), 2, 3.0, 1.0, 5, "budget")])
    verified = Verification(
        comparisons=[Comparison("accuracy", "equal", 0.5, 0.5, 0.005)], scores=RECORD.result.scores, same_bytes=True
    )
    for name, value in {
        "evaluate": [RECORD],
        "distill": RECORD,
        "plan": forecast,
        "tune": _tuning(),
        "race": _race(),
        "score": RECORD.result.scores,
        "analyze": [make_finding(RECORD, {"nll": [0.5, 0.75]})],
        "study": [make_study_row()],
        "export": 3,
        "card": Path("there/README.md"),
        "get": Fetched(Path("x.safetensors"), RECORD, 2),
        "push": "https://example.org/commit",
        "submit": Submission(notes=["new"], written=[Path("a.json")], tables=[Path("b.md")]),
        "verify": verified,
    }.items():
        monkeypatch.setattr(ddbench, name, lambda *arguments, value=value, **options: value)
    monkeypatch.setattr(ddbench, "convert", _convert)
    monkeypatch.setattr("ddbench.testing.check_method", lambda method: ["it is odd"])
    rows = [CaseTiming("evaluation", Setup(), _timing(4.0), _timing(2.0), 1e9)]
    monkeypatch.setattr("ddbench.bench.run_bench", lambda *arguments, **options: rows)
    grown = [Growth("ipc", "evaluation", (1, 10), [_timing(1.0), _timing(10.0)], [1, 100])]
    monkeypatch.setattr("ddbench.bench.run_growth", lambda *arguments, **options: grown)
    monkeypatch.setattr("ddbench.bench.draw_growth", lambda *arguments: None)


ARGUMENTS = {
    "evaluate": "-m dm -d digits --device cpu",
    "plan": "",
    "tune": "-m dm -d digits --budget 1s",
    "race": "digits --time 1m",
    "distill": "dm -d digits --out x.safetensors",
    "score": "x.safetensors",
    "analyze": "x.safetensors --what calibration",
    "study": "continual -m dm --seconds 1s",
    "export": "x.safetensors --out folder",
    "convert": "x.pt -d digits --out y.safetensors",
    "card": "x.safetensors --out there",
    "leaderboard": "out",
    "results": "out --out all.csv",
    "snapshot": "out",
    "get": "digits --ipc 1",
    "push": "x.safetensors",
    "submit": "runs/ours",
    "verify": "record.json",
    "list": "",
    "check": "random",
    "prepare": "digits",
    "bench": "",
}


def test_every_command_with_the_option_is_tried() -> None:
    assert ARGUMENTS.keys() == COMMANDS.keys() - WITHOUT.keys()


@pytest.mark.parametrize("command", sorted(ARGUMENTS))
def test_json_alone_is_on_standard_output_as_the_help_says(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    _answers(monkeypatch)
    write_record(tmp_path / "out" / "record.json", RECORD)
    code, out, err = call(command, *ARGUMENTS[command].split(), "--json")
    assert code == (1 if command == "check" else 0), err
    names, inner = documented(command)
    said = json.loads(out)
    for one in said if isinstance(said, list) else [said]:
        assert list(one) == names
    for name, fields in inner.items():
        assert all(list(one) == fields for one in said[name])


Said = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("command", "picked", "wanted"),
    [
        ("evaluate", lambda said: [run["accuracy"] for run in said["runs"]], [0.625]),
        ("distill", lambda said: said["run"]["steps_done"], {"distil": 3}),
        ("evaluate", lambda said: (said["board"], said["folder"]), ("mine", "runs/mine")),
        ("distill", lambda said: (said["file"], said["record"]), ("x.safetensors", "x.record.json")),
        ("plan", lambda said: (said["runs"], said["cells"][0]["distil_seconds"]), (2, 3.0)),
        ("tune", lambda said: (said["board"], said["methods"][0]["chosen"]), ("tuned.yaml", "tuned(2)")),
        ("tune", lambda said: said["methods"][0]["settings"], {"lr_images": 3.16}),
        ("race", lambda said: (said["winner"], said["accuracy"], said["difference"]), ("dm", 0.625, 0.375)),
        ("race", lambda said: said["rounds"][0]["standings"][1]["accuracy"], 0.25),
        ("convert", lambda said: (said["read"], said["warnings"]), (["read x as layout dc"], ["pixels look odd"])),
        ("submit", lambda said: (said["notes"], said["wrote"]), (["new"], ["a.json", "b.md"])),
        ("check", lambda said: said["complaints"], ["it is odd"]),
        ("prepare", lambda said: (said["shape"], said["train"], said["test"]), ([1, 8, 8], 1438, 359)),
        ("bench", lambda said: [(row["ratio"], row["ours_seconds"]) for row in said["rows"]], [(2.0, 2.0)]),
        ("verify", lambda said: (said["accepted"], said["same_bytes"]), (True, True)),
    ],
)  # fmt: skip
def test_values(call: Call, monkeypatch: pytest.MonkeyPatch, command: str, picked: Said, wanted: object) -> None:
    _answers(monkeypatch)
    assert picked(json.loads(call(command, *ARGUMENTS[command].split(), "--json")[1])) == wanted


def test_what_is_wrong_is_in_the_answer_too(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failed = make_record("bad", accuracies=(), reason="it fell")
    for name, value in {
        "evaluate": [failed], "distill": failed, "submit": Submission(["no"]), "verify": Verification(["no"])
    }.items():  # fmt: skip
        monkeypatch.setattr(ddbench, name, lambda *arguments, value=value, **options: value)
    code, out, _ = call("evaluate", "-m", "dm", "-d", "digits", "--json")
    (run,) = json.loads(out)["runs"]
    assert (code, run["status"], run["reason"], run["accuracy"]) == (1, "diverged", "it fell", None)
    code, out, _ = call("distill", "dm", "-d", "digits", "--out", "x.safetensors", "--json")
    said = json.loads(out)
    assert (code, said["file"], said["record"], said["run"]) == (1, None, None, run)
    for command in ("submit", "verify"):
        code, out, err = call(command, *ARGUMENTS[command].split(), "--json")
        assert (code, json.loads(out)["complaints"], err) == (1, ["no"], "no\n")
    monkeypatch.setattr("ddbench.leaderboard.check_tables", lambda folder, origins: ["x.csv is odd"])
    (tmp_path / "tables" / "records").mkdir(parents=True)
    code, out, err = call("leaderboard", "tables", "--check", "--json")
    assert (code, err) == (1, "x.csv is odd\n")
    assert json.loads(out) == {"boards": {}, "problems": ["x.csv is odd"], "wrote": []}


def test_what_is_badly_asked_for_prints_nothing(call: Call) -> None:
    for command in ("evaluate -m nothing", "score none.safetensors", "list no", "leaderboard none"):
        code, out, err = call(*command.split(), "--json")
        assert (code, out, err.startswith("ddbench: ")) == (2, "", True)


def test_growth_has_its_slopes(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch)
    (grown,) = json.loads(call("bench", "--growth", "g.png", "--json")[1])["growth"]
    assert list(grown) == documented("bench")[1]["growth"]
    assert (grown["slope"], grown["expected_slope"]) == (pytest.approx(1), pytest.approx(2))


def test_rows_are_those_of_the_csv_as_values() -> None:
    records = [make_record("a", seed, (0.25, 0.5), network={"name": "7"}) for seed in range(2)]
    (row,) = plain_rows(records)
    header, line, _ = csv_table(records).split("\n")
    assert list(row) == header.split(",")
    assert line.startswith("tiny,")
    picked = {
        name: row[name] for name in ("rank", "accuracy", "accuracy_n", "network", "seeds", "versus_random", "pool")
    }
    assert picked == {
        "rank": None, "accuracy": 0.375, "accuracy_n": 2, "network": "7", "seeds": [0, 1], "versus_random": None,
        "pool": None,
    }  # fmt: skip
    assert plain_rows(records, least="verified") == []
