"""The state of a number, derived from what others have measured of it."""

from __future__ import annotations

import pytest

from ddbench.io.atomic import digest
from ddbench.leaderboard import csv_table, markdown, rich_table, rows
from ddbench.records.contradictions import contradictions
from ddbench.records.files import dump_record
from ddbench.records.schema import Record
from ddbench.records.states import State, evidence, state
from factories import make_record

HERE = {"device": "AMD EPYC", "torch": "2.9.0"}
ELSEWHERE = {"device": "Apple M3", "torch": "2.9.0"}
CLAIM = make_record("good", 0, (0.80, 0.82), environment=HERE)


def rescored(claim: Record, accuracies: tuple[float, ...], environment: dict[str, str] = ELSEWHERE) -> Record:
    return make_record(
        "good",
        claim.result.seed,
        accuracies,
        environment=claim.measured.environment,
        rescored_in=environment,
        finished="2025-01-02T00:00:00+00:00",
        rescores=digest(dump_record(claim)),
        bound=0.01,
    )


def replayed(claim: Record, accuracies: tuple[float, ...], environment: dict[str, str] = ELSEWHERE) -> Record:
    return make_record(
        "good",
        claim.result.seed,
        accuracies,
        environment=environment,
        finished="2025-01-03T00:00:00+00:00",
        replays=digest(dump_record(claim)),
        bound=0.02,
        budget={"steps": 5},
    )


def states(*records: Record) -> list[State]:
    found = evidence(records)
    return [state(found.get(id(record), [])) for record in records]


def test_a_number_is_claimed_until_somebody_measures_it() -> None:
    assert states(CLAIM, make_record("other", 0, (0.9,))) == ["claimed", "claimed"]


def test_scores_that_agree_and_were_measured_elsewhere_verify() -> None:
    assert states(CLAIM, rescored(CLAIM, (0.792, 0.812))) == ["verified", "verified"]  # lower, within the bound
    assert states(CLAIM, rescored(CLAIM, (0.90, 0.95))) == ["verified", "verified"]  # too low a claim is none


@pytest.mark.parametrize(
    ("accuracies", "environment"),
    [((0.78, 0.81), ELSEWHERE), ((0.80, 0.82), HERE)],
    ids=["too high a claim", "the same environment"],
)
def test_what_does_not_agree_or_is_not_elsewhere_verifies_nothing(
    accuracies: tuple[float, ...], environment: dict[str, str]
) -> None:
    assert states(CLAIM, rescored(CLAIM, accuracies, environment)) == ["claimed", "claimed"]
    assert states(CLAIM, replayed(CLAIM, (0.78,), environment))[0] == "claimed"
    refused = rescored(CLAIM, (0.80, 0.82)).model_copy(update={"bound": -0.07})
    assert states(CLAIM, refused) == ["claimed", "claimed"], "further networks did worse"


def test_a_replay_is_the_most_and_holds_for_what_measured_the_same_artefact_again() -> None:
    check, replay = rescored(CLAIM, (0.80, 0.82)), replayed(CLAIM, (0.792,))
    assert states(CLAIM, replay)[0] == "replayed"
    assert states(CLAIM, check, replay)[:2] == ["replayed", "replayed"]


def test_evidence_of_a_record_that_is_not_here_says_nothing() -> None:
    assert states(rescored(CLAIM, (0.80, 0.82)), replayed(CLAIM, (0.8,))) == ["claimed", "claimed"]


def test_a_replay_makes_no_row_and_a_new_attempt_is_claimed_again() -> None:
    (row,) = rows([CLAIM, replayed(CLAIM, (0.792,))])
    assert (row.runs, row.states, row.state) == ((CLAIM,), {"replayed": 1}, "replayed")
    later = make_record("good", 0, (0.9,), environment=HERE, finished="2025-02-01T00:00:00+00:00")
    (row,) = rows([CLAIM, replayed(CLAIM, (0.792,)), later])
    assert (row.runs, row.states) == ((later,), {"claimed": 1})


def test_tables_show_states_and_filter_by_them_and_ranks_use_all() -> None:
    good = [make_record("good", seed, (0.80 + 0.001 * seed,), environment=HERE) for seed in range(3)]
    better = [make_record("better", seed, (0.90 + 0.001 * seed,), environment=HERE) for seed in range(3)]
    found = [*good, *better, *(replayed(record, (0.80,)) for record in good[:2]), rescored(good[2], (0.81,))]
    text = markdown(found, "x")
    assert "2 replayed, 1 verified" in text
    assert "| claimed " in text
    assert '"{""replayed"":2,""verified"":1}"' in csv_table(found)
    (table,) = rich_table(found, least="verified")
    assert [str(cell) for column in table.columns[:2] for cell in column.cells] == ["2", "good"]
    assert rich_table(found, least="replayed") == []


def test_rows_rank_within_a_source_of_labels() -> None:
    hard = [make_record("plain", seed, (0.80 + 0.001 * seed,), label_source="hard") for seed in range(3)]
    worse = [make_record("worse", seed, (0.70 + 0.001 * seed,)) for seed in range(3)]
    soft = [make_record("soft", seed, (0.90 + 0.001 * seed,), label_source="static") for seed in range(3)]
    found = {row.method: (row.rank, row.labels) for row in rows([*hard, *worse, *soft])}
    assert found == {"plain": (1, "hard"), "worse": (2, "hard"), "soft": (None, "static")}
    text = markdown([*hard, *worse, *soft], "x")
    assert "| static " in text
    assert "- **labels**:" in text
    assert "| static " not in markdown(hard, "x")


def test_records_from_before_tell_their_labels_by_the_settings_of_their_method() -> None:
    assert make_record("difficulty_aligned_matching", hyperparameters={"lr_labels": 2.0}).labels == "static"
    assert make_record("scalable_trajectory_matching", hyperparameters={"soft_labels": True}).labels == "static"
    assert make_record("scalable_trajectory_matching", hyperparameters={"soft_labels": False}).labels == "hard"


def test_a_bound_needs_something_that_it_bounds() -> None:
    assert list(contradictions(make_record("good", 0, (0.8,), bound=0.5))) == [
        "a bound without a record that is measured again; run the cell again"
    ]
    both = make_record("good", 0, (0.8,), rescores=digest(b"one"), replays=digest(b"other"))
    assert list(contradictions(both)) == [
        "it measures one record's scores again and replays another; it can do one of the two"
    ]
