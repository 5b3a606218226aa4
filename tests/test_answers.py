"""Which distilled set is best: what stands beside it, by how much it is ahead, and how that is said."""

from __future__ import annotations

from dataclasses import replace

from ddbench.leaderboard import rows
from ddbench.leaderboard.answers import Answer, answers
from ddbench.leaderboard.columns import groups
from ddbench.leaderboard.published import Figure
from ddbench.records.schema import Record
from test_against_selection import BAD, CHOSEN, FAIR, GOOD, ORIGINS, RANDOM, seeds


def answer_of(*runs: list[Record]) -> Answer:
    made = rows([record for own in runs for record in own], origins=ORIGINS)
    return next(answer for group in groups(made) for answer in answers(group, made))


def test_the_best_is_told_with_the_next_method_and_the_best_selection() -> None:
    found = answer_of(
        seeds("good", *GOOD),
        seeds("good", *GOOD[:2], hyperparameters={"step": 2}),
        seeds("fair", *FAIR),
        seeds("herding", *CHOSEN),
        seeds("random_real", *RANDOM),
    )
    assert (found.best.method, found.second and found.second.method) == ("good", "fair")
    assert found.selected
    assert found.selected.method == "herding"
    assert round(100 * found.beyond(found.selected).mean, 1) == 11.0
    assert found.sentence == (
        "good (step=None) 91.0 ± 2.5, 10.0 ± 5.7 above fair (significant); "
        "best selected real images: herding 80.0 ± 5.0, 11.0 ± 4.2 below it (significant)."
    )


def test_a_selection_above_it_is_said_to_be() -> None:
    said = answer_of(seeds("good", *FAIR), seeds("herding", *GOOD)).sentence
    assert "best selected real images: herding 91.0 ± 2.5, 10.0 ± 5.7 above it (significant)" in said


def test_a_seed_alone_cannot_tell_and_equals_are_no_winners() -> None:
    assert (
        answer_of(seeds("good", 0.9), seeds("fair", 0.8)).sentence
        == "good 90.0, 10.0 above fair (one seed cannot tell)."
    )
    near = answer_of(seeds("good", *CHOSEN), seeds("fair", 0.77, 0.79, 0.82)).sentence
    assert near.endswith("above fair (not significant).")


def test_all_data_and_published_figures_stand_beside_it() -> None:
    found = answer_of(seeds("good", *GOOD), seeds("bad", *BAD), seeds("full_data", 0.99))
    figure = Figure(method="good", dataset="digits", ipc=1, network="convnet", accuracy=88.8, source="x", read=True)
    best = replace(found.best, published=(figure,))
    told = replace(found, comparison=replace(found.comparison, distilled=(best, *found.comparison.distilled[1:])))
    assert told.sentence.endswith("; published: 88.8; all training data: 99.0.")
