"""The test that accepts or refuses a claimed accuracy, against numbers worked out by hand."""

from __future__ import annotations

import math
import random

import pytest

from ddbench.records.cell import NetworkSpec
from ddbench.records.schema import Score
from ddbench.submissions.verdict import Comparison, allowance, compare, compare_equal_seeds, compare_further_seeds

NETWORK = NetworkSpec(name="convnet")


def by_seed(*accuracies: float) -> dict[int, float]:
    return dict(enumerate(accuracies))


def test_half_a_point_is_tolerated_where_rounding_changes_nothing() -> None:
    found = compare_equal_seeds("accuracy", by_seed(0.905, 0.895), by_seed(0.9, 0.891), by_seed(0.9, 0.891))
    assert found.bound == 0.005
    assert found.difference == pytest.approx(0.0045)
    assert found.accepted
    assert not compare_equal_seeds("accuracy", by_seed(0.906), by_seed(0.9), by_seed(0.9)).accepted


def test_what_rounding_does_is_tolerated_too() -> None:
    # changes of 0.01, 0.02 and 0.02: root mean square sqrt(9 / 3) / 100, t(0.99, 3) = 4.5407
    found = compare_equal_seeds("accuracy", by_seed(0.8, 0.8, 0.8), by_seed(0.7, 0.7, 0.7), by_seed(0.71, 0.72, 0.68))
    assert found.bound == pytest.approx(4.5407 * math.sqrt(9 / 3) / 100 / math.sqrt(3), rel=1e-4)


def test_a_claim_cannot_widen_its_bound() -> None:
    remeasured = by_seed(0.7, 0.7, 0.7)
    even = compare_equal_seeds("accuracy", by_seed(0.73, 0.73, 0.73), remeasured, remeasured)
    uneven = compare_equal_seeds("accuracy", by_seed(0.79, 0.7, 0.7), remeasured, remeasured)
    assert (even.bound, even.accepted) == (uneven.bound, uneven.accepted) == (0.005, False)
    assert even.difference == pytest.approx(uneven.difference)


def test_too_low_a_claim_is_accepted() -> None:
    assert compare_equal_seeds("accuracy", by_seed(0.1), by_seed(0.9), by_seed(0.9)).accepted


def test_further_seeds_are_compared_by_their_spread() -> None:
    # further: 0.6, 0.62, 0.64: standard deviation 0.02, t(0.99, 2) = 6.9646
    remeasured = by_seed(0.9, 0.9, 0.6, 0.62, 0.64)
    found = compare_further_seeds("accuracy", by_seed(0.9, 0.9), remeasured)
    assert found.remeasured == pytest.approx(0.62)
    assert found.bound == pytest.approx(6.9646 * 0.02 * math.sqrt(1 / 2 + 1 / 3), rel=1e-4)
    assert not found.accepted


def test_every_metric_is_compared_and_further_seeds_where_there_are_enough() -> None:
    def scores(*values: tuple[float, float]) -> list[Score]:
        return [
            Score(network=NETWORK, seed=seed, accuracy=accuracy, metrics={"success": success})
            for seed, (accuracy, success) in enumerate(values)
        ]

    claimed, again = scores((0.5, 0.9)), scores((0.5, 0.8), (0.5, 0.7))
    found = compare(claimed, again, again)
    assert [(one.quantity, one.seeds, one.accepted) for one in found] == [
        ("accuracy", "equal", True),
        ("success", "equal", False),
    ]
    assert len(compare(claimed, scores(*5 * [(0.5, 0.9)]), again)) == 2
    found = compare(claimed, scores(*6 * [(0.5, 0.9)]), again)
    assert [(one.quantity, one.seeds) for one in found] == [
        ("accuracy", "equal"),
        ("accuracy", "further"),
        ("success", "equal"),
        ("success", "further"),
    ]


def test_other_networks_are_compared_by_their_spread_alone() -> None:
    def scores(*values: float) -> list[Score]:
        return [Score(network=NETWORK, seed=seed, accuracy=value) for seed, value in enumerate(values)]

    # standard deviation 0.02 of 0.6, 0.62, 0.64: t(0.99, 2) = 6.9646
    again = scores(0.6, 0.62, 0.64)
    (found,) = compare(scores(0.9, 0.9), again, again, same_networks=False)
    assert (found.seeds, found.remeasured) == ("other", pytest.approx(0.62))
    assert found.bound == pytest.approx(6.9646 * 0.02 * math.sqrt(1 / 2 + 1 / 3), rel=1e-4)


def test_a_claim_within_the_allowance_is_one_that_every_comparison_accepts() -> None:
    equal = Comparison("accuracy", "equal", claimed=0.90, remeasured=0.90, bound=0.005)
    further = Comparison("accuracy", "further", claimed=0.90, remeasured=0.80, bound=0.03)
    other = Comparison("held_out", "equal", claimed=0.90, remeasured=0.10, bound=0.0)
    assert allowance([equal, other], 0.90) == pytest.approx(0.005)
    assert allowance([equal, further], 0.90) == pytest.approx(-0.07), "further networks refuse what equal ones accept"
    assert allowance([Comparison("accuracy", "replayed", 0.5, 0.5, 3.0)], 0.4) == 1.0


def test_honest_claims_are_refused_once_in_a_hundred() -> None:
    """Claims and measurements of one network that rounding scatters: by two points, far more than the tolerance."""
    draw = random.Random(0)
    refused, trials = 0, 4000
    for _ in range(trials):
        worlds = [{seed: 0.5 + draw.gauss(0, 0.02) for seed in range(5)} for _ in range(3)]
        refused += not compare_equal_seeds("accuracy", *worlds).accepted
    assert refused / trials < 0.015
