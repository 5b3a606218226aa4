"""Does any distilled set beat the best selected one: which rows are compared, and what tables say."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats as scipy_stats

from ddbench.io.atomic import digest
from ddbench.leaderboard import Origin, markdown, rich_table, rows
from ddbench.leaderboard.against_selection import against_selection, sentences
from ddbench.leaderboard.columns import Group, groups
from ddbench.records.cell import Attack, Budget
from ddbench.records.schema import Record
from ddbench.stats import Interval, welch, welch_difference
from factories import make_record

CONTROLS = ("random_real", "herding", "k_means", "class_mean", "full_data")
ORIGINS = {name: Origin("control", f"https://example.org/{name}") for name in CONTROLS} | {
    name: Origin("matching", f"https://example.org/{name}") for name in ("good", "fair", "bad")
}


def digest_of(method: str, seed: int) -> str:
    return digest(f"{method} {seed}".encode())


def seeds(method: str, *accuracies: float, **changes: Any) -> list[Record]:
    """One run for each accuracy, each with an artefact of its own."""
    sealed = {"hyperparameters": {}, "budget": Budget(seconds=100), **changes}
    return [
        make_record(method, seed, (accuracy,), artifact=digest_of(method, seed), **sealed)
        for seed, accuracy in enumerate(accuracies)
    ]


def group_of(*runs: list[Record]) -> Group:
    (group,) = groups(rows([record for own in runs for record in own], origins=ORIGINS))
    return group


GOOD, FAIR, BAD = ((0.90, 0.91, 0.92), (0.79, 0.80, 0.84), (0.50, 0.51, 0.52))
CHOSEN, RANDOM = (0.78, 0.80, 0.82), (0.60, 0.61, 0.62)


def test_the_interval_of_a_difference_is_welchs() -> None:
    ours, theirs = (0.90, 0.91, 0.95), (0.80, 0.84)
    low, high = scipy_stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    found = welch_difference(ours, theirs)
    assert found.mean == pytest.approx(0.10)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))
    assert welch(ours, theirs) == pytest.approx(scipy_stats.ttest_ind(ours, theirs, equal_var=False).pvalue)
    assert welch_difference([0.9], [0.8, 0.7]) == Interval(pytest.approx(0.15), None, 3)
    assert welch_difference([0.9, 0.9], [0.8, 0.8]) == Interval(pytest.approx(0.1), 0.0, 4)


def test_the_best_distilled_set_meets_the_best_selected_one() -> None:
    group = group_of(
        seeds("good", *GOOD),
        seeds("fair", *FAIR),
        seeds("bad", *BAD),
        seeds("herding", *CHOSEN),
        seeds("random_real", *RANDOM),
    )
    (found,) = against_selection(group)
    assert (found.distilled.method, found.selected.method, found.count) == ("good", "herding", 3)
    assert found.difference.mean == pytest.approx(0.11)
    assert [row.method for row in found.better] == ["good"]
    assert [row.method for row in found.worse] == ["bad"]
    assert found.significant


def test_means_of_images_and_all_data_are_no_selection() -> None:
    group = group_of(
        seeds("good", *BAD), seeds("k_means", *GOOD), seeds("class_mean", *FAIR), seeds("random_real", *RANDOM)
    )
    (found,) = against_selection(group)
    assert found.selected.method == "random_real"
    assert against_selection(group_of(seeds("good", *GOOD), seeds("full_data", *GOOD), seeds("k_means", *FAIR))) == []
    assert against_selection(group_of(seeds("herding", *GOOD), seeds("random_real", *FAIR))) == []


def test_a_method_that_is_not_known_learns() -> None:
    (found,) = against_selection(group_of(seeds("mine", *GOOD), seeds("herding", *CHOSEN)))
    assert found.distilled.method == "mine"


def test_labels_of_each_source_have_an_answer_of_their_own() -> None:
    soft = {"label_source": "static", "hyperparameters": {"labels": "expert"}}
    group = group_of(
        seeds("good", *FAIR),
        seeds("herding", *CHOSEN),
        seeds("fair", *GOOD, label_source="static"),
        seeds("random_real", *BAD, **soft),
    )
    pairs = [(one.distilled.method, one.selected.method) for one in against_selection(group)]
    assert pairs == [("fair", "random_real"), ("good", "herding")]
    first, second = sentences(group, lambda row: row.method)
    assert first.startswith("Does any distilled set beat the best selected one (static labels)? Yes: +40.0")
    assert second.startswith("Does any distilled set beat the best selected one (hard labels)? Not significantly: +1.0")


def test_a_selection_may_cost_no_more_than_the_budget() -> None:
    spent = {"budget": Budget(seconds=600), "seconds": {"distil": 300.0}}
    cheap = {"budget": Budget(seconds=600), "seconds": {"distil": 40.0}}
    group = group_of(seeds("good", *BAD), seeds("herding", *GOOD, **spent), seeds("random_real", *FAIR, **cheap))
    (found,) = against_selection(group)
    assert found.selected.method == "random_real"
    both = group_of(
        seeds("good", *BAD), seeds("fair", *BAD, budget=Budget(seconds=600)), seeds("herding", *GOOD, **spent)
    )
    (found,) = against_selection(both)  # under 100 s there is no selected set
    assert (found.distilled.method, found.selected.method) == ("fair", "herding")
    (said,) = sentences(both, lambda row: row.method)
    assert said.startswith("Does any distilled set beat the best selected one (600 s)? No: -40.0")


def test_an_attack_is_not_compared() -> None:
    attack = {"setting": "attack", "attack": Attack(source=0, target=1)}
    assert against_selection(group_of(seeds("good", *GOOD, **attack), seeds("herding", *CHOSEN, **attack))) == []


def test_one_seed_cannot_tell() -> None:
    (said,) = sentences(group_of(seeds("good", 0.9), seeds("herding", *CHOSEN)), lambda row: row.method)
    assert said == (
        "Does any distilled set beat the best selected one? One seed cannot tell: +10.0 points, "
        "good 90.0 against herding 80.0 ± 5.0."
    )


def test_the_answer_stands_below_the_table() -> None:
    runs = [*seeds("good", *GOOD), *seeds("bad", *BAD), *seeds("herding", *CHOSEN)]
    text = markdown(runs, "Tiny", origins=ORIGINS)
    # standard errors 0.01 / sqrt(3) and 0.02 / sqrt(3): 2.94 degrees of freedom, quantile 3.22
    assert (
        "\n\nDoes any distilled set beat the best selected one? Yes: **+11.0 ± 4.2 points**, [good] 91.0 ± 2.5 against "
        "[herding] 80.0 ± 5.0; 1 of 2 distilled sets significantly better, 1 worse.\n\n### Cost" in text
    )
    assert "- **against selection**: " in text
    assert "against selection" not in markdown(runs[:6], "Tiny", origins=ORIGINS)
    (table,) = rich_table(runs, origins=ORIGINS)
    assert str(table.caption).startswith(
        "Does any distilled set beat the best selected one? Yes: +11.0 ± 4.2 points, good"
    )
    assert rich_table(runs)[0].caption is None  # nobody says which of them learn
