"""`ddbench tune`: declared ranges, the same trials for everybody and after a kill, and the board of the best."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import PositiveFloat, PositiveInt

import ddbench
from ddbench.boards.board import Board, load_board, make_board
from ddbench.boards.chosen import origins_beside
from ddbench.boards.command_line import board_of
from ddbench.boards.tuning import Search, Trial, searches_of
from ddbench.errors import UserError
from ddbench.leaderboard import csv_table, markdown
from ddbench.leaderboard.origins import BoardOrigins, settings_key
from ddbench.records.files import read_record
from ddbench.registry import METHODS, discover
from ddbench.runs.plan import Event
from ddbench.runs.tune import Tried, Tuned
from ddbench.task.search_space import Choice, IntegerRange, LogRange, Range, ranges_of, sobol_points
from factories import Call, carry_out_here, make_record, write_method

SMALL: dict[str, Any] = {
    "datasets": ["digits"],
    "ipc": [1],
    "network": "convnet,depth=1,width=8",
    "networks": 1,
    "compile": False,
    "steps": 2,
}
PATIENCE_SECONDS = 180.0
RANGED = "iterations: Annotated[int, Choice(8, 9)] = 8\n    strength: Annotated[float, LogRange(0.1, 10.0)] = 1.0"


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., str]:
    """Write a researcher's method, with search ranges on its fields."""

    def write(name: str, **lines: str) -> str:
        path = Path(write_method(tmp_path, name, **lines))
        text = path.read_text().replace("from typing import ClassVar", "from typing import Annotated, ClassVar")
        text = text.replace("from ddbench import ", "from ddbench import Choice, LogRange, ")
        path.write_text(text.replace("iterations: int = 8", RANGED))
        return str(path)

    return write


def board(*methods: str, **values: Any) -> Board:
    discover()
    return board_of({**SMALL, "methods": list(methods), **values})


def settings(search: Search) -> list[dict[str, Any]]:
    return [trial.settings for trial in search.trials]


# -- ranges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "values"),
    [
        (LogRange(0.01, 1.0), [0.01, 0.0316, 0.1, 0.316]),
        (LogRange(1, 256), [1, 4, 16, 64]),
        (IntegerRange(1, 6), [1, 2, 4, 5]),
        (IntegerRange(0, 1), [0, 0, 1, 1]),
        (Choice("noise", None, True), ["noise", "noise", None, True]),
    ],
)
def test_the_quarters_of_a_range(one: Range, values: list[Any]) -> None:
    found = [one.at(share) for share in (0.0, 0.25, 0.5, 0.75)]
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


def test_no_value_lies_outside_a_range() -> None:
    largest = 1 - 2**-53
    assert (LogRange(0.1, 0.7).at(largest), LogRange(3, 100).at(largest)) == (0.7, 100)
    assert (IntegerRange(1, 6).at(largest), Choice("a", "b").at(largest)) == (6, "b")


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogRange(0.0, 1.0),
        lambda: LogRange(2.0, 1.0),
        lambda: LogRange(1.0, float("inf")),
        lambda: IntegerRange(3, 3),
        lambda: Choice("alone"),
    ],
)
def test_a_range_without_numbers_is_refused(make: Callable[[], Range]) -> None:
    with pytest.raises(ValueError, match=r"; give two"):
        make()


def test_points_are_those_of_the_sequence_by_number() -> None:
    """The first points of two dimensions, which every text on the sequence lists: 1/2 1/2, 3/4 1/4, 1/4 3/4."""
    ranges: dict[str, Range] = {"a": IntegerRange(0, 7), "b": IntegerRange(0, 7)}
    wanted = [(4, 4), (6, 2), (2, 6), (3, 3), (7, 7)]
    assert [tuple(point.values()) for point in sobol_points(ranges, 5)] == wanted
    assert [tuple(point.values()) for point in sobol_points(ranges, 2)] == wanted[:2]


@dataclass(frozen=True)
class Ranged:
    name: ClassVar[str] = "ranged"

    lr: Annotated[PositiveFloat, LogRange(0.1, 10.0)] = 1.0
    steps: Annotated[PositiveInt | None, Choice(None, 5)] = None
    other: int = 1


def test_ranges_are_read_from_fields() -> None:
    found = ranges_of(Ranged)
    assert list(found) == ["lr", "steps"]
    assert found["lr"] == LogRange(0.1, 10.0)


def test_a_range_that_its_field_refuses_is_said() -> None:
    @dataclass(frozen=True)
    class Wrong:
        name: ClassVar[str] = "wrong"
        steps: Annotated[PositiveInt, IntegerRange(-1, 3)] = 1

    Wrong.__annotations__["steps"] = Annotated[PositiveInt, IntegerRange(-1, 3)]
    sentence = "steps=-1 lies in the search range of wrong: input should be greater than 0"
    with pytest.raises(UserError, match=sentence):
        ranges_of(Wrong)
    Wrong.family = Wrong.paper = "none"  # type: ignore[attr-defined]
    Wrong.settings, Wrong.tiny = (), {}  # type: ignore[attr-defined]
    assert ddbench.check_method(Wrong) == [sentence]


def test_methods_that_ship_are_searched_around_what_they_ship_with() -> None:
    discover()
    families = {"backprop through optimisation", "gradient matching", "distribution matching", "trajectory matching"}
    for method in (METHODS.get(name) for name in METHODS):
        ranges = ranges_of(method)
        private = method.name == "private_distribution_matching"  # trials on private data are beyond its epsilon
        assert bool(ranges) or private or method.family not in families, method.name
        for field in dataclasses.fields(method):
            one = ranges.get(field.name)
            if isinstance(one, Choice):
                assert field.default in one.values, (method.name, field.name)
            elif one is not None:
                assert one.low <= field.default <= one.high, (method.name, field.name)


# -- trials -----------------------------------------------------------------------------------------------------------


def test_trial_0_ships_and_the_others_differ() -> None:
    (search,) = searches_of(board("dm"), 5, 0.2)
    assert settings(search)[0] == {}
    assert settings(search)[1] == {"lr_images": 1.0, "batch_real": 91, "augment": False, "init": "noise"}
    assert [trial.number for trial in search.trials] == list(range(5))
    assert len({trial.jobs[0].key for trial in search.trials}) == 5
    for trial in search.trials:
        cell = trial.jobs[0].cell
        assert (cell.split, cell.budget.steps, trial.jobs[0].snapshots) == ("validation(0.2)", 2, ())
        assert cell.dataset_digest.endswith("+validation(0.2)")


def test_more_trials_begin_with_the_same() -> None:
    (few,), (many,) = searches_of(board("dm"), 3, 0.2), searches_of(board("dm"), 6, 0.2)
    assert settings(many)[:3] == settings(few)


def test_what_an_entry_sets_is_not_searched() -> None:
    (search,) = searches_of(board("dm", set={"init": "noise", "lr_images": 2.0}), 4, 0.2)
    assert all(one["init"] == "noise" and one["lr_images"] == 2.0 for one in settings(search))
    assert settings(search)[0] == {"init": "noise", "lr_images": 2.0}


def test_points_that_do_not_go_together_and_repeated_ones_are_passed_over() -> None:
    """A window of more steps than there are is refused by the method; three spaces of features are three settings."""
    (search,) = searches_of(board("truncated_backprop", set={"steps": 60}), 4, 0.2)
    assert all(one["window"] <= 60 for one in settings(search)[1:])
    (few,) = searches_of(board("k_means", set={"training_steps": 100}), 8, 0.2)
    assert sorted(one.get("space", "trained") for one in settings(few)) == ["pixels", "random", "trained"]


@pytest.mark.parametrize(
    ("methods", "changes", "sentence"),
    [
        (["random_real"], {}, r"random_real declares no search range; declare one on a field, `lr: Annotated\["),
        (["label_solve"], {"set": {"regulariser": 1e-5}}, "every field of label_solve with a search range is set"),
        (["dm"], {"steps": None}, "name what a trial may spend"),
        (["dm", "distribution_matching"], {}, "distribution_matching is there twice for digits at ipc 1"),
        (["dm"], {"set": {"lr_images": -1.0}}, r"lr_images=-1\.0 of distribution_matching"),
    ],
)
def test_what_cannot_be_tuned_equally_is_refused(methods: list[str], changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        searches_of(board(*methods, **changes), 3, 0.2)


@pytest.mark.parametrize(("own", "value"), [("budget", "60s"), ("steps", 5), ("networks", 3), ("seeds", 2)])
def test_an_unequal_budget_is_refused(tmp_path: Path, own: str, value: object) -> None:
    (tmp_path / "b.yaml").write_text(
        json.dumps({**SMALL, "board": "b", "entries": [{"methods": ["dc"]}, {"methods": ["dm"], own: value}]})
    )
    with pytest.raises(
        UserError, match=rf"b\.yaml: entries\.1: dm has {own} [0-9.]+ of its own, and methods are tuned"
    ):
        searches_of(load_board(tmp_path / "b.yaml"), 3, 0.2)


# -- the best ---------------------------------------------------------------------------------------------------------


def tuned(*accuracies: float | None) -> Tuned:
    trials = tuple(Trial(number, {}, ()) for number in range(len(accuracies)))
    tried = tuple(Tried(trial, one, "ok") for trial, one in zip(trials, accuracies, strict=True))
    return Tuned(Search("m", "digits", 1, trials), tried)


def test_the_best_is_the_earliest_of_the_most_accurate() -> None:
    found = tuned(0.5, None, 0.7, 0.7)
    assert found.best is found.tried[2]
    assert (found.shipped.accuracy, found.chosen) == (0.5, "tuned(4)")
    assert tuned(None, None).best is None


@pytest.mark.usefixtures("short")
def test_a_method_of_ones_own_is_tuned_resumed_and_written(
    call: Call, own: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off after the first run, the command makes the other trials; what it writes is a board."""
    monkeypatch.setattr("ddbench.runs.tune.run_jobs", carry_out_here)
    own("mine", end="return result() if self.strength > 0.9 else None")
    asked = {**SMALL, "protocol": "short-3@1", "methods": ["./mine.py"]}
    content = {**SMALL, "board": "ours", "protocol": "short-3@1", "entries": [{"methods": ["./mine.py"]}]}
    (tmp_path / "ours.yaml").write_text(json.dumps(content))
    folder = tmp_path / "runs" / "ours-tuning"

    def stop(event: Event) -> None:
        if event.kind == "finished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ddbench.tune("ours.yaml", trials=3, device="cpu", workers=1, on_event=stop)
    (first,) = folder.glob("*/*/record.json")
    kept = first.read_bytes()
    code, out, err = call("tune", "ours.yaml", "--trials", 3, "--device", "cpu", "--workers", 1)
    assert (code, first.read_bytes()) == (0, kept), err
    assert [word in out for word in ("./mine.py", "2 of 3", "shipped %", "tuned %", "best settings")] == [True] * 5
    assert "the best settings are a board: runs/ours-tuning/tuned.yaml" in err

    (found,) = ddbench.tune("ours.yaml", trials=3, device="cpu").found
    wanted = [{}, {"iterations": 9, "strength": 1.0}, {"iterations": 9, "strength": 0.316}]
    assert [one.trial.settings for one in found.tried] == wanted
    assert [one.status for one in found.tried] == ["truncated", "truncated", "failed"]
    for one in found.tried:
        (path,) = folder.glob(f"mine/*{one.trial.jobs[0].key}/record.json")
        assert read_record(path).accuracy == one.accuracy
    assert len(list(folder.glob("*/*/record.json"))) == 3

    written = load_board(folder / "tuned.yaml")
    assert found.best is not None
    assert [(entry.chosen, entry.set) for entry in written.entries] == [("tuned(3)", found.best.trial.settings)]
    assert (written.validation, written.steps, str(written.network)) == (None, 2, "convnet(depth=1, width=8)")
    monkeypatch.setattr("ddbench.runs.api.run_jobs", carry_out_here)
    ddbench.evaluate(folder / "tuned.yaml", "out", device="cpu")
    assert "| tuned(3) |" in (tmp_path / "out" / "leaderboard.md").read_text()
    with pytest.raises(UserError, match=r"ours-tuning has trials of 2 steps, and these would have 3 steps: methods"):
        ddbench.tune({**asked, "steps": 3}, folder, trials=3, device="cpu")
    (folder / "tuned.yaml").write_text("board: other\n")
    with pytest.raises(UserError, match=r"tuned\.yaml exists, and `ddbench tune` has not written it"):
        ddbench.tune("ours.yaml", trials=3, device="cpu")


@pytest.mark.slow  # commands of their own; `.ci/run` carries it out
@pytest.mark.skipif(not hasattr(os, "fork"), reason="ends a process by a signal")
def test_the_same_trials_after_a_kill(call: Call, own: Callable[..., str], tmp_path: Path) -> None:
    own("mine", body="time.sleep(0.2)")
    content = {**SMALL, "board": "ours", "protocol": "quick-300@1", "entries": [{"methods": ["./mine.py"]}]}
    (tmp_path / "ours.yaml").write_text(json.dumps(content))
    command = [
        sys.executable,
        "-m",
        "ddbench",
        "tune",
        "ours.yaml",
        "--trials",
        "3",
        "--workers",
        "1",
        "--device",
        "cpu",
    ]

    def finished() -> set[str]:
        return {path.parent.name for path in tmp_path.glob("runs/ours-tuning/mine/*/record.json")}

    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not finished() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = finished()
    assert 0 < len(first) < 3
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (search,) = searches_of(load_board(tmp_path / "ours.yaml"), 3, 0.2, "cpu")
    assert first < finished() == {Path(job.folder).name for trial in search.trials for job in trial.jobs}


# -- tables and the command -------------------------------------------------------------------------------------------


def test_tables_say_how_the_settings_of_a_board_were_chosen() -> None:
    records = [make_record(method, seed, (0.5,)) for method in ("good", "other") for seed in range(2)]
    said = {settings_key("tiny", "good", "digits", 1, {"lr": 0.5, "init": "real"}): "tuned(8)"}
    text = markdown(records, "t", origins=BoardOrigins({}, said))
    rows = {
        line.split("|")[2].strip(): line.split("|")[3].strip() for line in text.splitlines() if line.startswith("|")
    }
    assert (rows["method"], rows["good"], rows["other"]) == ("chosen", "tuned(8)", "–")  # noqa: RUF001
    assert "- **chosen**: how the board says" in text
    lines = csv_table(records, None, BoardOrigins({}, said)).splitlines()
    assert [line.rpartition(",")[2] for line in lines] == ["chosen", "tuned(8)", ""]
    other = {settings_key("tiny", "good", "digits", 1, {"lr": 0.25}): "tuned(8)"}
    for nothing in (BoardOrigins({}, other), BoardOrigins({}, {}), {}):
        assert "chosen" not in markdown(records, "t", origins=nothing)


def test_a_folder_of_records_has_it_from_the_boards_beside(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "leaderboards" / "records" / "ours").mkdir(parents=True)
    entry = {"methods": ["dm"], "set": {"lr_images": 5.0}, "chosen": "hand"}
    (tmp_path / "configs" / "ours.yaml").write_text(json.dumps({**SMALL, "board": "ours", "entries": [entry]}))
    known = origins_beside(tmp_path / "leaderboards")
    (own,) = searches_of(board("dm", set={"lr_images": 5.0}), 2, 0.2)
    cell = own.trials[0].jobs[0].cell
    assert (known.chosen("ours", cell), known.chosen("other", cell)) == ("hand", None)
    assert known.chosen("ours", own.trials[1].jobs[0].cell) is None
    assert known["distribution_matching"].family == "distribution matching"


@pytest.mark.parametrize("said", ["tuned", "tuned(0)", "best", "tuned(8) "])
def test_only_three_ways_of_choosing_are_known(said: str) -> None:
    entry = {"methods": ["dm"], "chosen": said}
    with pytest.raises(UserError, match=r"entries\.0\.chosen: .*got 'tuned|entries\.0\.chosen: .*got 'best'"):
        make_board({**SMALL, "board": "b", "entries": [entry]})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name at least one --method, or a board's file"),
        (["quickstart", "--budget", "5s"], "quickstart says what is tuned; leave out --budget, or the file"),
        (["-m", "dm", "--budget", "5s", "--validation", "1.5"], "cannot hold out a share of 1.5"),
        (["-m", "dm", "--budget", "5s", "--save-board", "x.txt"], "'x.txt' does not end in .yaml; boards do"),
        (["-m", "random_real", "--budget", "5s"], "random_real declares no search range"),
    ],
)
def test_bad_usage_is_one_sentence(call: Call, arguments: list[str], sentence: str) -> None:
    code, out, err = call("tune", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
