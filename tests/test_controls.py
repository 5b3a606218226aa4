"""What tables say beside an accuracy: gain over the start, unlearned images, the ceiling, and words for short runs."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from ddbench.leaderboard.columns import groups, percent, status
from ddbench.leaderboard.rows import Row, rows
from ddbench.leaderboard.tables import csv_table, markdown
from ddbench.records.schema import Record, Score
from ddbench.stats import Interval
from factories import CONVNET, make_record

SHA = "sha256:"


def scores(*accuracies: float) -> list[Score]:
    return [Score(network=CONVNET, seed=seed, accuracy=accuracy) for seed, accuracy in enumerate(accuracies)]


def only(*records: Record) -> Row:
    (row,) = rows(records)
    return row


def by_method(*records: Record) -> dict[str, Row]:
    return {row.method: row for row in rows(records)}


def text(row: Row, column: str) -> str:
    ((_, texts),) = groups([row])[0].lines
    return texts[column]


# -- the start --------------------------------------------------------------------------------------------------------


def test_the_gain_is_over_each_runs_own_start_by_the_same_networks() -> None:
    row = only(
        make_record(seed=0, accuracies=(0.60, 0.70), start=scores(0.50, 0.50)),
        make_record(seed=1, accuracies=(0.80, 0.90), start=scores(0.60)),
    )
    assert row.gain is not None
    assert row.gain.mean == pytest.approx((0.15 + 0.20) / 2)
    assert row.gain.n == 2
    assert text(row, "vs start") == "+17.5 ± 31.8"  # 12.706 times 2.5 points


def test_a_first_snapshot_is_a_start_where_it_was_scored_as_the_headline_is() -> None:
    changes: dict[str, Any] = {"accuracies": (0.60, 0.9), "curve": [(0.0, 0.50), (1.0, 0.7)]}
    whole = only(make_record(resolved={"name": "dsa-1000@1", "steps": 300, "short": 300}, **changes))
    assert whole.gain is not None
    assert whole.gain.mean == pytest.approx(0.10)
    assert only(make_record(resolved={"name": "dsa-1000@1", "epochs": 1000, "short": 300}, **changes)).gain is None


def test_without_a_start_there_is_no_column() -> None:
    assert "vs start" not in groups([only(make_record())])[0].lines[0][1]


def test_a_run_that_ends_below_its_start_says_so() -> None:
    records = [
        make_record(seed=0, accuracies=(0.70,), start=scores(0.60)),
        make_record(seed=1, accuracies=(0.45,), start=scores(0.60)),
        make_record(seed=2, accuracies=(0.595,), start=scores(0.60)),
    ]
    assert status(only(*records)) == "ok; 1 of 3 below the start"


# -- words for truncated runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "start", "said"),
    [
        ((40, 5000), 0.40, "budget used"),  # little of its way, and learned all the same
        ((40, 5000), 0.595, "barely begun"),
        ((50, 5000), 0.60, "budget used"),
        ((40, 5000), None, "barely begun"),
        ((60, 5000), None, "budget used"),
        ((0, 5000), None, "barely begun"),
    ],
)
def test_a_truncated_run_used_its_budget_or_had_barely_begun(
    steps: tuple[int, int], start: float | None, said: str
) -> None:
    row = only(
        make_record(
            status="truncated",
            accuracies=(0.60,),
            steps=steps,
            flops_per_step=1,
            start=[] if start is None else scores(start),
        )
    )
    assert status(row) == said
    assert row.statuses == {"truncated": 1}


def test_several_ends_are_counted() -> None:
    records = [
        make_record(seed=0, status="truncated", accuracies=(0.6,), steps=(100, 200), flops_per_step=1),
        make_record(seed=1, accuracies=(0.6,), steps=(200, 200), flops_per_step=1),
        make_record(seed=2, accuracies=(), status="failed", reason="it raised"),
    ]
    assert status(only(*records)) == "1 ok, 1 failed (it raised), 1 budget used"


# -- random images in the same storage --------------------------------------------------------------------------------


def test_random_images_are_those_of_the_same_decoder() -> None:
    tiles = {"decoder": "multi_formation"}
    found = rows(
        [
            make_record("random_real", accuracies=(0.40,), hyperparameters={}),
            make_record("random_real", accuracies=(0.55,), hyperparameters=tiles),
            make_record("tiled", accuracies=(0.60,), hyperparameters=tiles),
            make_record("whole", accuracies=(0.60,), hyperparameters={"decoder": "pixels"}),
            make_record("textured", accuracies=(0.60,), hyperparameters={"decoder": "canvas,factor=1"}),
        ]
    )
    versus = {row.method: row.versus_random for row in found if row.method != "random_real"}
    assert {name: round(value.mean, 6) for name, value in versus.items() if value} == {
        "tiled": 0.05,
        "whole": 0.20,
        "textured": 0.20,
    }
    assert [row.versus_random for row in found if row.method == "random_real"] == [None, None]


# -- the ceiling ------------------------------------------------------------------------------------------------------


def test_the_gap_is_that_between_random_images_and_all_data() -> None:
    ceiling = {"protocol": "full-data-10@1", "hyperparameters": {}}
    found = by_method(
        make_record("random_real", accuracies=(0.40,), hyperparameters={}),
        make_record("good", accuracies=(0.70,)),
        make_record("bad", accuracies=(0.30,)),
        make_record("full_data", accuracies=(0.90,), **ceiling),
    )
    assert found["good"].gap_closed == pytest.approx(0.6)
    assert found["bad"].gap_closed == pytest.approx(-0.2)
    assert found["random_real"].gap_closed is None
    assert found["full_data"].gap_closed is None
    assert found["full_data"].total_bytes == 0
    assert text(found["good"], "gap closed %") == "60"


@pytest.mark.parametrize(
    "change", [{"network": CONVNET.model_copy(update={"parameters": {}})}, {"dataset_digest": SHA}]
)
def test_a_ceiling_of_another_network_or_other_data_is_none(change: dict[str, Any]) -> None:
    found = by_method(
        make_record("random_real", accuracies=(0.40,), hyperparameters={}),
        make_record("good", accuracies=(0.70,)),
        make_record("full_data", accuracies=(0.90,), protocol="full-data-10@1", hyperparameters={}, **change),
    )
    assert found["good"].gap_closed is None


# -- intervals --------------------------------------------------------------------------------------------------------


def test_where_all_seeds_give_one_set_the_interval_is_over_networks() -> None:
    same = {"artifact": SHA + "a" * 64}
    row = only(*(make_record(seed=seed, accuracies=(0.70, 0.72, 0.74), **same) for seed in range(3)))
    assert row.accuracy is not None
    assert row.accuracy.mean == pytest.approx(0.72)
    assert row.accuracy.half_width == pytest.approx(4.302653 * 0.02 / 3**0.5, rel=1e-5)
    assert (text(row, "n"), row.accuracies) == ("3 networks", [0.70, 0.72, 0.74])


def test_sets_that_differ_are_compared_by_seeds() -> None:
    row = only(*(make_record(seed=seed, accuracies=(0.70, 0.74), artifact=SHA + str(seed) * 64) for seed in range(3)))
    assert row.accuracy == Interval(pytest.approx(0.72), pytest.approx(0.0), 3)
    assert text(row, "n") == "3"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Interval(0.854, 0.217, 3), "85.4 (63.7 to 100)"),
        (Interval(0.05, 0.08, 3), "5.0 (0 to 13)"),
        (Interval(0.9, 0.1, 3), "90.0 ± 10.0"),
        (Interval(0.854, None, 1), "85.4"),
    ],
)
def test_an_interval_beyond_the_range_is_written_by_its_ends(value: Interval, said: str) -> None:
    assert percent(value) == said


def test_differences_may_leave_the_range() -> None:
    assert percent(Interval(0.02, 0.05, 3), signed=True) == "+2.0 ± 5.0"


# -- the machine ------------------------------------------------------------------------------------------------------


def test_the_load_of_the_machine_is_told_with_the_costs() -> None:
    records = [make_record(seed=seed, load=load) for seed, load in enumerate((0.52, 0.97, 0.6))]
    assert "| 52-97 %" in markdown(records, "Tiny").replace("52-97 % |", "| 52-97 %")
    assert "load" not in markdown([make_record()], "Tiny")


def test_new_columns_are_fields_of_the_csv() -> None:
    (fields,) = csv.DictReader(io.StringIO(csv_table([make_record(accuracies=(0.6,), start=scores(0.5))])))
    assert (fields["versus_start"], fields["versus_start_n"], fields["gap_closed"]) == ("0.100000", "1", "")
