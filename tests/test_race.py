"""`ddbench race`: who goes on, what each run may spend, what won, and the same after an interruption."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import ddbench
from ddbench.artifacts.distilled_dataset import DistilledDataset, file_digest
from ddbench.boards.board import Board, Entry, load_board, make_board
from ddbench.boards.command_line import SHIPPED
from ddbench.boards.racing import Candidate, candidates_of, first_budget, round_sizes, wall_seconds
from ddbench.errors import UserError
from ddbench.records.files import read_record, read_records
from ddbench.registry import METHODS, discover
from ddbench.runs import race_time
from ddbench.runs.plan import Event
from ddbench.runs.race import RaceWatcher
from ddbench.runs.race_result import Race, Round, Standing
from ddbench.runs.race_time import RaceTime
from factories import Call, carry_out_here, contents, make_record, write_method

SMALL: dict[str, Any] = {
    "board": "mine",
    "datasets": ["digits"],
    "ipc": [1],
    "network": "convnet,depth=1,width=8",
    "protocol": "short-3@1",
    "networks": 2,
    "compile": False,
}
ASKED = "sha256:" + "a" * 64


def board(*entries: dict[str, Any]) -> Board:
    discover()
    return make_board({**SMALL, "protocol": "quick-300@1", "entries": list(entries)})


# -- who runs, and for how long ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("methods", "sizes"), [(0, [0]), (1, [1]), (2, [2]), (3, [3, 2]), (4, [4, 2]), (5, [5, 3, 2]), (9, [9, 5, 3, 2])]
)
def test_half_of_the_methods_go_on_until_two_are_left(methods: int, sizes: list[int]) -> None:
    assert round_sizes(methods) == sizes


def test_budgets_are_what_rounds_leave_of_the_time() -> None:
    """Four runs of b + 2 seconds, five of 2 b + 2 and one of 4 b + 3: 18 b + 21; on two cores 2, 3 and 1 in a row."""
    runs, overheads = [4, 5, 1], [2.0, 2.0, 3.0]
    assert wall_seconds(10.0, runs, overheads, 1) == 201.0
    assert first_budget(201.0, runs, overheads, 1) == pytest.approx(10.0)
    assert first_budget(12 * 10.0 + 13.0, runs, overheads, 2) == pytest.approx(10.0)
    assert first_budget(3.0, runs, overheads, 1) == -1.0


class Clock:
    now = 100.0
    slowdown = 1.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(race_time, "time", made)
    monkeypatch.setattr(race_time, "slowdown", lambda: made.slowdown)
    return made


def test_the_seconds_of_a_race_keep_to_its_time(clock: Clock, tmp_path: Path) -> None:
    """Two runs and a final one; the rounds took twice as long by the wall, and scoring thrice what was forecast."""
    timer = RaceTime(tmp_path / "race.state", ASKED, 100.0, 1)
    # 95 seconds for 2 (b + 1 + 3) and 2 b + 1 + 6
    assert timer.budget(0, [2, 1], [3.0, 6.0]) == 20.0
    clock.now += 92.0
    runs = [make_record(seconds={"distil": 19.0}, uncharged_seconds={"evaluation": 3.0}) for _ in range(2)]
    timer.learn(runs, 92.0, 1.0)
    assert timer.left == 8.0
    # half of the 3 seconds that are planned with, and not even time to score
    assert timer.budget(1, [1], [4.0]) == 1.0


def test_a_crowded_machine_is_noticed_before_the_first_round(clock: Clock, tmp_path: Path) -> None:
    clock.slowdown = 2.0
    assert RaceTime(tmp_path / "race.state", ASKED, 200.0, 1).budget(0, [2, 1], [3.0, 6.0]) == 20.0
    aside = RaceTime(tmp_path / "aside.state", ASKED, 200.0, 1).budget(0, [2, 1], [3.0, 6.0], aside=20.0)
    assert aside == 15.0  # controls take 20 of the 80 seconds
    with pytest.raises(UserError, match=r"give --time 2m or more"):  # 2 (2 (1 + 14) + 2 + 7) / 0.95 = 82 s
        RaceTime(tmp_path / "other.state", ASKED, 30.0, 1).budget(0, [2, 1], [13.0, 6.0])


def test_what_is_learned_counts(clock: Clock, tmp_path: Path) -> None:
    timer = RaceTime(tmp_path / "race.state", ASKED, 1000.0, 2)
    assert timer.budget(0, [2, 1], [4.0, 4.0]) == pytest.approx((950 - 5 - 5) / 3, abs=1)
    clock.now += 350.0
    runs = [make_record(seconds={"distil": 315.0}, uncharged_seconds={"evaluation": 4.0}) for _ in range(2)]
    timer.learn(runs, 480.0, 2.0)  # 320 seconds each on two cores took 480: half as long again
    assert timer.budget(1, [1], [2.0]) == pytest.approx(600 / 1.5 - 1 - 4, abs=1)


def test_a_race_goes_on_with_its_budgets(clock: Clock, tmp_path: Path) -> None:
    first = RaceTime(tmp_path / "race.state", ASKED, 100.0, 1)
    budget = first.budget(0, [2, 1], [3.0, 6.0])
    clock.now += 30.0
    first.keep()
    clock.now += 1000.0  # nobody was racing
    again = RaceTime(tmp_path / "race.state", ASKED, 100.0, 1)
    assert again.left == 70.0
    assert again.budget(0, [2, 1], [5.0, 5.0]) == budget
    with pytest.raises(UserError, match="is of a race with other options; choose another --out, or those"):
        RaceTime(tmp_path / "race.state", ASKED.replace("a", "b"), 100.0, 1)


def test_too_little_time_is_said_with_what_would_do(clock: Clock, tmp_path: Path) -> None:
    """24 runs of a second and 10 beside, a final of two seconds: 274 seconds, of which 95 % are planned with."""
    timer = RaceTime(tmp_path / "race.state", ASKED, 60.0, 1)
    with pytest.raises(UserError, match=r"1 min are too short for a race of 24 methods: .*give --time 5m or more, or"):
        timer.budget(0, [24, 1], [9.0, 7.0])
    assert not (tmp_path / "race.state").exists()


# -- candidates -------------------------------------------------------------------------------------------------------


def test_the_board_that_ships_has_a_method_of_each_family_and_controls() -> None:
    discover()
    said = list[str]()
    found = candidates_of(load_board(SHIPPED / "race.yaml"), "digits", 10, "cpu", said.append)
    families = [METHODS.get(one.entry.methods[0]).family for one in found if not one.control]
    assert sorted(families) == sorted(
        ["backprop through optimisation", "distribution matching", "gradient matching", "trajectory matching"]
    )
    assert [one.label for one in found if one.control] == ["random_real", "k_means", "herding"]
    assert said == []


def test_candidates_are_there_once_with_their_settings_and_fit() -> None:
    said = list[str]()
    found = candidates_of(
        board(
            {"methods": ["dm", "distribution_matching"], "datasets": ["mnist"]},
            {"methods": ["dm"], "set": {"lr_images": 2.0}},
            {"methods": ["dm"], "set": {"lr_images": 3.0}, "ipc": [10]},
            {"methods": ["backprop"], "set": {"images_per_step": 2}},
            {"methods": ["random_real"]},
        ),
        "digits", 1, "cpu", said.append,
    )  # fmt: skip
    assert [(one.label, one.control) for one in found] == [
        ("distribution_matching (as shipped)", False),
        ("distribution_matching (lr_images=2.0)", False),
        ("random_real", True),
    ]
    assert len(said) == 1
    assert said[0].startswith("backprop is left out: images_per_step 2 of backprop does not divide ipc 1")


@pytest.mark.parametrize(
    ("entry", "dataset", "sentence"),
    [
        ({"methods": ["dm"]}, "nowhere", "nowhere"),
        ({"methods": ["backprop"], "set": {"images_per_step": 2}}, "digits", "does not divide ipc 1"),
        ({"methods": ["dm"], "ipc": [10]}, "digits", "board 'mine' has no entry for ipc 1; name another"),
    ],
)
def test_without_candidates_the_reason_is_said(entry: dict[str, Any], dataset: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        candidates_of(board(entry), dataset, 1, "cpu", lambda said: None)


# -- the sentence -----------------------------------------------------------------------------------------------------


def candidate(label: str, control: bool = False) -> Candidate:
    return Candidate(label, Entry(methods=[label]), control)


DM, MEANS = candidate("dm"), candidate("k_means", control=True)


def raced(winner: Candidate | None, other: Candidate | None, **accuracies: Sequence[float]) -> Race:
    standings = [
        Standing(one, make_record(one.label, accuracies=accuracies[one.label]))
        for one in (winner, other)
        if one is not None
    ]
    return Race(Path("out"), (), winner, other, Round("9 s", tuple(standings)), 359, None)


def test_a_method_that_is_clearly_better_has_won() -> None:
    """Differences of 2, 3 and 4 points: a mean of 3, and t(0.975, 2) = 4.303 times 1 / sqrt(3)."""
    found = raced(DM, MEANS, dm=(0.92, 0.93, 0.94), k_means=(0.9, 0.9, 0.9))
    assert found.significant
    assert found.sentence == (
        "dm won: 93.0 % on 359 test images that no round has seen, 3.0 ± 2.5 points more than k_means, the best "
        "control (90.0 %); over 3 networks that is significant"
    )


def test_a_control_may_win_and_be_no_better_on_the_test_images() -> None:
    found = raced(MEANS, DM, dm=(0.92, 0.94), k_means=(0.93, 0.92))
    assert not found.significant
    assert found.sentence == (
        "k_means, which learns no images, won: 92.5 % on 359 test images that no round has seen, 0.5 ± 19.1 points "
        "less than dm, the best method that learns (93.0 %); over 2 networks that is not significant"
    )


def test_one_network_is_no_proof() -> None:
    assert raced(DM, MEANS, dm=(0.9,), k_means=(0.5,)).sentence.endswith("one network says nothing of significance")


def test_what_has_nothing_beside_it_is_said_to() -> None:
    assert raced(DM, None, dm=(0.9, 0.9)).sentence.endswith("no round has seen; there is nothing to compare it with")
    assert raced(None, None).sentence == "nothing won: no run of the last round has a score"
    failed = raced(DM, MEANS, dm=(), k_means=(0.5,))
    assert failed.sentence == "dm won, but the set made of all training images has no score: diverged"
    assert failed.difference is None


# -- a race -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Call, short: None) -> Callable[..., Race]:
    """Race three methods and two controls in this process, in a folder of its own; one is noise, and one fails."""
    monkeypatch.setattr("ddbench.runs.race.run_jobs", carry_out_here)
    write_method(tmp_path, "noise", body="state.images += 9 * torch.randn(images.shape, generator=task.generator('n'))")
    write_method(tmp_path, "sound")
    write_method(tmp_path, "fails", start="raise ValueError('no luck')")
    names = ["./noise.py", "./sound.py", "./fails.py", "random_real", "class_mean"]
    (tmp_path / "mine.yaml").write_text(json.dumps({**SMALL, "entries": [{"methods": names}]}))

    def raced(**options: Any) -> Race:
        return ddbench.race("digits", **{"steps": 3, "candidates": "mine.yaml", "device": "cpu", **options})

    return raced


def test_a_race_in_small(here: Callable[..., Race], call: Call, tmp_path: Path) -> None:
    """Broken off in the first round and gone on with, it ends as one that nobody broke off; then it does nothing."""
    seen = list[str]()

    def note(event: Event) -> None:
        if event.kind == "finished":
            seen.append(event.job.cell.method)

    def stop(event: Event) -> None:
        note(event)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here(watcher=RaceWatcher(on_event=stop))
    assert seen == ["noise", "sound"]
    seen.clear()
    sentences = list[str]()
    found = here(watcher=RaceWatcher(sentences.append, on_event=note))
    assert seen == ["fails", *("sound", "noise", "random_real", "class_mean"), *(seen[5:])]
    assert sentences == [
        "round 1, 3 steps a run: noise, sound, fails",
        "round 2, 6 steps a run: sound, noise, random_real, class_mean",
        f"the final sets, of all training images, 12 steps a run: {found.winner.label}, {found.other.label}",  # type: ignore[union-attr]
    ]
    first, last = found.rounds
    assert [(one.candidate.label, one.status) for one in first.standings] == [
        ("noise", "truncated"), ("sound", "truncated"), ("fails", "failed"),
    ]  # fmt: skip
    scored = {one.candidate.label: one.accuracy or 0.0 for one in last.standings}
    assert found.winner is not None
    assert scored[found.winner.label] == max(scored.values())
    assert {found.winner.control, found.other.control if found.other else None} == {True, False}

    for one in (*first.standings, *last.standings):
        assert one.record is not None
        assert (one.record.result.cell.split, one.record.result.cell.networks) == ("validation(0.2)", 2)
    for one in found.test.standings:
        assert one.record is not None
        assert (one.record.result.cell.split, one.record.result.cell.networks) == ("test", 5)
    folder = tmp_path / "runs" / "race-digits-ipc1"
    assert found.folder == folder.relative_to(tmp_path)
    ours = found.test.of(found.winner)
    assert ours is not None
    assert found.images == 359
    assert ours.record == read_record(folder / "winner.record.json")
    assert file_digest(folder / "winner.safetensors") == ours.record.result.artifact  # type: ignore[union-attr]
    assert DistilledDataset.load(folder / "winner.safetensors")
    assert len(read_records(folder)) == 3 + 4 + 2 + 1  # the winner's record lies beside its set, too

    before = contents(folder)
    code, out, err = call("race", "digits", "--steps", 3, "--candidates", "mine.yaml", "--device", "cpu")
    assert (code, out.splitlines()[-1]) == (0, found.sentence), err
    assert all(word in out for word in ("round 1 %", "6 steps", "test %", "class_mean", "failed"))
    assert {name for name, content in contents(folder).items() if before.get(name) != content} <= {"race.state"}

    code, _, err = call("race", "digits", "--steps", 4, "--candidates", "mine.yaml", "--device", "cpu")
    assert (code, "race-digits-ipc1 is of a race with other options" in err) == (2, True)


def test_a_race_within_a_time(here: Callable[..., Race], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """285 of 300 seconds for a run of b and one of 2 b, with a second to start each, and one for the control.

    The method ends by itself, so that almost all of the time is left for the final sets.
    """
    monkeypatch.setattr(race_time, "slowdown", lambda: 1.0)
    names = ["./sound.py", "random_real"]
    (tmp_path / "mine.yaml").write_text(json.dumps({**SMALL, "entries": [{"methods": names}]}))
    said, again = list[str](), list[str]()
    found = here(steps=None, time="5m", watcher=RaceWatcher(said.append))
    budgets = [float(re.findall(r"([\d.]+) s a run", sentence)[0]) for sentence in said]
    assert 0.8 * (285 - 3) / 3 < budgets[0] <= (285 - 3) / 3
    assert 200 < budgets[1] < 285
    assert here(steps=None, time="5m", watcher=RaceWatcher(again.append)).sentence == found.sentence
    assert again == said


def test_nothing_wins_where_all_fail(here: Callable[..., Race], call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(json.dumps({**SMALL, "entries": [{"methods": ["./fails.py"]}]}))
    arguments = ("race", "digits", "--steps", 3, "--candidates", "mine.yaml", "--device", "cpu", "--json")
    code, out, err = call(*arguments)
    said = json.loads(out)
    assert (code, said["winner"], said["file"]) == (1, None, None), err
    assert said["sentence"] == "nothing won: no run of the last round has a score"
    assert said["rounds"][0]["standings"] == [{"method": "fails", "accuracy": None, "status": "failed"}]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digits"], "say how long the race may take, --time 30m, or what a run of its first round may, --steps 100"),
        (["digits", "--time", "1m", "--steps", "3"], "say how long the race may take"),
        (["digits", "--time", "soon"], "time: 'soon' is not a budget such as 60s, 2m or 1h"),
        (["digits", "--steps", "0"], "0 steps are none; give one or more"),
        (
            ["digits", "--time", "2s", "--network", "convnet,depth=1,width=8"],
            "2 s are too short for a race of 4 methods",
        ),
        (["./nothing", "--time", "1m"], "nothing"),
    ],
)
def test_bad_usage_is_one_sentence(call: Call, arguments: list[str], sentence: str) -> None:
    code, out, err = call("race", *arguments, "--device", "cpu")
    assert (code, out) == (2, "")
    assert sentence in err.splitlines()[-1]
