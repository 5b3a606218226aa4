"""What stands below the tables and beside them: the way to a result, storage, budgets, costs, links, the overview."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ddbench.leaderboard import Origin, csv_table, markdown, rows
from ddbench.leaderboard.anytime import artefacts
from ddbench.leaderboard.columns import Group, Lines, groups
from ddbench.leaderboard.readme import overview
from ddbench.leaderboard.sections import anytime, budgets, cost, phases, storage
from ddbench.leaderboard.tables import pipe_table
from ddbench.records.cell import Budget
from ddbench.records.schema import Record, Score
from ddbench.stats import front
from factories import CONVNET, make_record

WHOLE = {"name": "quick@1", "steps": 300, "epochs": None, "short": 300}
SHORTER = {"name": "long@1", "steps": None, "epochs": 1000, "short": 300}
ORIGINS = {
    "good": Origin("matching", "https://example.org/good"),
    "random_real": Origin("control", "https://example.org/random"),
}


def record(
    method: str,
    accuracy: float | None,
    *,
    seed: int = 0,
    seconds: float = 100.0,
    curve: tuple[tuple[float, float], ...] = (),
    protocol: dict[str, Any] | None = None,
    stored: dict[str, int] | None = None,
    finished: int = 1,
    environment: dict[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """A run whose first network got `accuracy` and whose second got 2 points more."""
    return make_record(
        method,
        seed,
        () if accuracy is None else (accuracy, accuracy + 0.02),
        steps=(0, 10) if curve else None,
        curve=curve,
        resolved=protocol or WHOLE,
        seconds={"distil": seconds},
        stored_bytes=stored or {"images": 1000},
        finished=f"2025-01-{finished:02}T00:00:00Z",
        environment=environment or {},
        **{"hyperparameters": {}, "protocol": "quick@1", "budget": Budget(seconds=100), **changes},
    )


def group_of(*records: Record) -> Group:
    (group,) = groups(rows(records, origins=ORIGINS))
    return group


def texts(lines: Lines) -> list[list[str]]:
    return [list(texts.values()) for _, texts in lines]


CURVE = ((0.0, 0.2), (10.0, 0.5), (50.0, 0.7))


def test_the_accuracy_in_hand_is_a_step_function_over_the_budget() -> None:
    (row,) = rows([record("good", 0.8, seconds=90.0, curve=CURVE)])
    assert row.anytime is not None
    # 10 s at 20 %, 40 s at 50 %, 40 s at 70 %, and the finished artefact's first network, 80 %, for the last 10 s
    assert row.anytime.accuracy.mean == pytest.approx((10 * 0.2 + 40 * 0.5 + 40 * 0.7 + 10 * 0.8) / 100)
    assert row.anytime.seconds == 90.0  # the first at or above 72 %, 90 % of 80 %


def test_nothing_is_in_hand_before_the_first_snapshot_and_nothing_counts_after_the_budget() -> None:
    (row,) = rows([record("good", 0.8, seconds=110.0, curve=((20.0, 0.5), (60.0, 0.75)))])
    assert row.anytime is not None
    assert row.anytime.accuracy.mean == pytest.approx((40 * 0.5 + 40 * 0.75) / 100)
    assert row.anytime.seconds == 60.0


def test_without_seconds_in_the_budget_the_longest_run_of_the_table_is_the_range() -> None:
    unlimited = {"budget": Budget(), "curve": ((0.0, 0.5),)}
    made = rows([record("good", 0.8, seconds=50.0, **unlimited), record("other", 0.9, seconds=200.0, **unlimited)])
    assert [row.anytime and row.anytime.accuracy.mean for row in made] == [
        pytest.approx((200 * 0.5) / 200),
        pytest.approx((50 * 0.5 + 150 * 0.8) / 200),
    ]


def test_a_finished_artefact_scored_in_another_way_is_not_in_hand() -> None:
    (row,) = rows([record("good", 0.8, seconds=50.0, curve=CURVE, protocol=SHORTER)])
    assert row.anytime is not None
    assert row.anytime.accuracy.mean == pytest.approx((10 * 0.2 + 40 * 0.5 + 50 * 0.7) / 100)
    assert row.anytime.seconds == 50.0  # 63 %, 90 % of the last snapshot's 70 %
    assert len(artefacts(record("good", 0.8, curve=CURVE))) == 4


def test_methods_without_steps_have_their_artefact_in_hand_from_their_end_on() -> None:
    group = group_of(record("good", 0.8, curve=CURVE), record("herding", 0.78, seconds=25.0))
    # 75 s at 78 %; good: 10 s at 20 %, 40 s at 50 %, 50 s at 70 %
    assert texts(anytime(group)) == [["herding", "58.5", "1", "25.0"], ["good", "57.0", "1", "100.0"]]
    assert [row.anytime for row in rows([record("herding", 0.76, seconds=25.0)])] == [None]


def test_runs_without_snapshots_say_nothing_of_a_way_that_others_tell() -> None:
    watched = [record("good", 0.8, seed=seed, curve=CURVE) for seed in (0, 1)]
    unwatched = record("good", 0.8, seed=2).model_copy(deep=True)
    unwatched.result.steps_planned["distil"] = 10
    (row,) = rows([*watched, unwatched])
    assert row.anytime is not None
    assert (row.accuracy and row.accuracy.n, row.anytime.accuracy.n) == (3, 2)
    other = unwatched.model_copy(
        update={"result": unwatched.result.model_copy(update={"cell": record("o", 0.1).result.cell})}
    )
    assert [row.anytime is None for row in rows([*watched, other])] == [False, True]


def test_who_mostly_never_gets_there_has_no_time() -> None:
    late = record("late", 0.2, curve=((0.0, 0.1),))
    group = group_of(record("good", 0.8, curve=CURVE), late)
    assert texts(anytime(group))[1] == ["late", "10.0", "1", "–"]  # noqa: RUF001


def test_ranks_are_of_one_table() -> None:
    records = [
        record("good", mean + offset, seed=seed, ipc=ipc)
        for ipc, mean in ((1, 0.3), (2, 0.7)) for seed, offset in enumerate((0.0, 0.001, 0.002))
    ]  # fmt: skip
    records += [record("other", mean, seed=seed, ipc=ipc) for ipc, mean in ((1, 0.5), (2, 0.6)) for seed in (0, 1)]
    found = [(row.ipc, row.method, row.rank) for row in rows(records)]
    assert found == [(1, "other", 1), (1, "good", 2), (2, "good", 1), (2, "other", 2)]


def test_the_front_by_hand() -> None:
    assert front([(30, 0.8), (10, 0.5), (10, 0.6), (20, 0.6), (30, 0.7), (40, 0.79)]) == {(10, 0.6), (30, 0.8)}
    assert front([(10, 0.6), (10, 0.6)]) == {(10, 0.6)}
    assert front([]) == set()


def test_storage_counts_everything_and_every_ipc() -> None:
    records = [
        record("good", 0.60, stored={"images": 1000, "labels": 500}),
        record("plain", 0.50, stored={"images": 1000, "labels": 80}),
        record("plain", 0.58, ipc=2, stored={"images": 2000, "labels": 160}),
        record("good", 0.70, ipc=2, stored={"images": 2000, "labels": 160, "recipe": 4}),
        record("broken", None, ipc=2),
        record("good", 0.10, dataset="other", dataset_digest="sha256:o"),
    ]
    ((heading, lines),) = storage(groups(rows(records)))
    assert heading == "digits"
    assert texts(lines) == [
        ["1.080", "1", "1.08", "plain", "51.0", "yes"],
        ["1.500", "1", "1.50", "good", "61.0", "yes"],
        ["2.160", "2", "2.16", "plain", "59.0", ""],
        ["2.164", "2", "2.16", "good", "71.0", "yes"],
    ]
    assert "## Equal storage\n\n### digits\n\n|" in markdown(records, "x")
    assert "Equal storage" not in markdown(records[1:2], "x")


def test_a_cell_under_several_budgets_is_a_line_with_a_column_each() -> None:
    records = [
        record("good", accuracy, budget=Budget(seconds=seconds)) for seconds, accuracy in ((100, 0.7), (20, 0.5))
    ]
    records += [record("other", 0.6, budget=Budget(seconds=20))]
    group = group_of(*records)
    assert next(list(line) for _, line in budgets(group)) == ["method", "20 s", "100 s"]
    assert texts(budgets(group)) == [["good", "51.0", "71.0"], ["other", "61.0", "–"]]  # noqa: RUF001
    assert budgets(group_of(records[0], records[2])) == []
    assert "### By budget" in markdown(records, "x")


def test_phases_name_what_took_time() -> None:
    assert phases({"distil": 104.28, "experts": 15.81, "cache": 0.04}) == "distil 104.3 + experts 15.8"
    assert phases({"distil": 0.01}) == phases({}) == "0.0"


def test_rows_measured_on_different_machines_say_on_which() -> None:
    eager, compiled = ({"device": "A", "compiled": chosen} for chosen in (False, True))
    mixed = cost(
        group_of(
            record("good", 0.8, environment=eager),
            record("good", 0.8, seed=1, environment=compiled),
            record("bad", 0.5, environment=compiled),
        )
    )
    assert {row.method: cells["machine"] for row, cells in mixed} == {
        "good": "A, compiled; A, eager", "bad": "A, compiled",
    }  # fmt: skip
    alike = cost(group_of(record("good", 0.8, environment=eager), record("bad", 0.5, environment=eager)))
    assert all("machine" not in cells for _, cells in alike)


def test_methods_lead_to_their_papers_and_plugins_to_none() -> None:
    records = [record("good", 0.8), record("good", 0.7, hyperparameters={"lr": [1]}), record("x[y](evil)", 0.6)]
    text = markdown(records, "x", None, ORIGINS)
    assert "| [good] (lr=None) " in text
    assert r"| [good] (lr=\[1\]) " in text
    assert re.search(r"\| x\\\[y\\\]\(evil\) +\| – ", text)  # noqa: RUF001
    assert text.endswith("\n\n[good]: https://example.org/good\n")
    assert "family" not in markdown(records, "x")
    assert "good,matching,https://example.org/good,digits" in csv_table(records, None, ORIGINS)


def test_the_overview_has_a_line_a_method_the_best_mean_rank_first_and_controls_last() -> None:
    def cells(method: str, first: float, second: float | None) -> list[Record]:
        by_ipc = {1: first, 2: second}
        return [
            record(method, None if mean is None else mean + offset, seed=seed, ipc=ipc)
            for ipc, mean in by_ipc.items() for seed, offset in enumerate((0.0, 0.001, 0.002))
        ]  # fmt: skip

    records = [
        *cells("random_real", 0.8, 0.95),
        *cells("a", 0.5, 0.7),
        *cells("good", 0.7, 0.7),
        *cells("bad", 0.1, None),
    ]
    lines = overview(groups(rows(records, origins=ORIGINS)))
    # ranks: random_real 1 and 1; good 2 and 2; a 3 and 2; bad 4
    assert [line["method"] for _, line in lines] == ["good", "a", "bad", "random_real"]
    assert list(lines[0][1]) == ["method", "family", "digits, ipc 1", "digits, ipc 2"]
    written = pipe_table(lines).splitlines()
    assert written[2].split("|")[3].strip() == "71.1 ± 0.2"
    assert written[4].split("|")[4].strip() == "diverged"
    assert written[5].split("|")[4].strip() == "**96.1 ± 0.2**"


def test_the_overview_shows_gains_whole_controls_alone_and_all_data_last() -> None:
    tiles = {"hyperparameters": {"decoder": "multi_formation"}}
    made = [
        make_record("good", accuracies=(0.70,), start=[Score(network=CONVNET, seed=0, accuracy=0.60)]),
        make_record(
            "random_real",
            accuracies=(0.65,),
            finished="2024-01-01T00:00:00Z",
            started="2024-01-01T00:00:00Z",
            hyperparameters={},
        ),
        make_record("random_real", accuracies=(0.80,), **tiles),
        make_record("full_data", accuracies=(0.95,), protocol="full-data-10@1", hyperparameters={}),
    ]
    assert texts(overview(groups(rows(made)))) == [
        ["good", "70.0 (+10.0)"],
        ["random_real", "65.0"],
        ["full_data", "95.0"],
    ]


def test_the_overview_takes_the_newest_settings_not_the_best() -> None:
    records = [
        record("good", 0.9, hyperparameters={"lr": 1}, finished=1),
        record("good", 0.5, hyperparameters={"lr": 2}, finished=2),
        record("other", 0.7, ipc=2),
    ]
    for ordered in (records, records[::-1]):
        lines = overview(groups(rows(ordered)))
        assert texts(lines) == [["other", "", "71.0"], ["good", "51.0", ""]]
