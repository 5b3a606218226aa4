"""Which differences are significant, and the ranks that follow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ddbench.stats import (
    bootstrap_interval,
    discoveries,
    ranks,
    share_interval,
    spearman,
    spearman_interval,
    welch,
)

FAR = [0.50, 0.51, 0.52]
NEAR = [0.70, 0.71, 0.72]
BEST = [0.90, 0.91, 0.92]


def test_welch_by_hand() -> None:
    # means 2 and 6; variances 1 and 4, over n 1/3 and 4/3: t = -4 / sqrt(5/3) = -3.0984
    # degrees of freedom (5/3)^2 / ((1/9)/2 + (16/9)/2) = 2.9412; twice the tail of t beyond it: 0.0548
    assert welch([1.0, 2.0, 3.0], [4.0, 6.0, 8.0]) == pytest.approx(0.0548, abs=5e-5)


def test_welch_agrees_with_scipy() -> None:
    draws = np.random.default_rng(0)
    for _ in range(50):
        ours = draws.normal(0.5, draws.uniform(0.001, 0.1), draws.integers(2, 21)).tolist()
        theirs = draws.normal(0.52, draws.uniform(0.001, 0.1), draws.integers(2, 21)).tolist()
        expected = stats.ttest_ind(ours, theirs, equal_var=False).pvalue
        assert welch(ours, theirs) == pytest.approx(expected, rel=1e-9)
        assert welch(theirs, ours) == pytest.approx(expected, rel=1e-9)


def test_samples_without_spread_differ_for_certain_or_not_at_all() -> None:
    assert welch([0.1] * 7, [0.1] * 3) == 1.0
    assert welch([0.1] * 3, [0.2] * 3) == 0.0
    # the one that has a spread gives the error: t = 0.1 / (0.01 / sqrt(3)) with two degrees of freedom
    assert welch([0.6] * 5, [0.49, 0.50, 0.51]) == pytest.approx(2 * stats.t.sf(0.1 / (0.01 / 3**0.5), 2), rel=1e-9)


def test_one_value_cannot_be_tested() -> None:
    with pytest.raises(ValueError, match="two or more"):
        welch([0.5], [0.4, 0.6])


def test_the_discoveries_of_the_paper() -> None:
    # Benjamini & Hochberg 1995, section 3.3: four hypotheses are rejected, where Bonferroni's method rejects three
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
                0.7590, 1.0000]  # fmt: skip
    assert discoveries(p_values) == [True] * 4 + [False] * 11
    assert discoveries(p_values[::-1]) == [False] * 11 + [True] * 4
    assert discoveries([]) == []
    assert discoveries([0.05, 0.06]) == [False, False]
    assert discoveries([0.04, 0.05]) == [True, True]  # the larger passes at its place, so the smaller does


def test_discoveries_agree_with_scipy() -> None:
    draws = np.random.default_rng(0)
    for count in (1, 2, 5, 190):
        p_values = (draws.uniform(size=count) ** 3).tolist()
        expected = stats.false_discovery_control(p_values) <= 0.05
        assert discoveries(p_values) == expected.tolist()


def test_a_rank_counts_who_is_significantly_better() -> None:
    assert ranks([BEST, NEAR, FAR]) == [1, 2, 3]
    assert ranks([FAR, BEST, NEAR]) == [3, 1, 2]


def test_who_cannot_be_told_apart_shares_a_rank() -> None:
    assert ranks([BEST, [0.89, 0.91, 0.91], FAR]) == [1, 1, 3]
    assert ranks([[0.5] * 3, [0.5] * 3, [0.4] * 3]) == [1, 1, 3]


def test_a_wide_sample_shares_ranks_with_more() -> None:
    # BEST against WIDE: t = 0.11 / 0.14, no difference; against NEAR, which lies below WIDE: t = 0.12 / 0.0082
    wide, near = [0.55, 0.85, 1.0], [0.78, 0.79, 0.80]
    assert ranks([BEST, wide, near]) == [1, 1, 2]


def test_a_wide_sample_ranks_before_none_that_is_better() -> None:
    # as different from BEST as no test can tell, t = 0.18 / 0.18, but below NEAR, which is
    lower, near = [0.40, 0.80, 1.0], [0.79, 0.80, 0.81]
    assert ranks([BEST, near, lower]) == [1, 2, 2]
    assert ranks([lower, near, BEST]) == [2, 2, 1]


def test_a_sample_of_one_has_no_rank_and_a_lone_sample_none_either() -> None:
    assert ranks([[0.99], BEST, FAR, []]) == [None, 1, 2, None]
    assert ranks([BEST, [0.5]]) == [None, None]
    assert ranks([]) == []


def test_many_equal_methods_are_not_told_apart() -> None:
    draws = np.random.default_rng(0)
    tables = [ranks(draws.normal(0.7, 0.01, (20, 3)).tolist()) for _ in range(20)]
    # 190 pairs each; without the correction nine of them would differ by chance, in nearly every table
    assert sum(set(table) != {1} for table in tables) <= 3


# -- shares, bootstraps and rank correlation ---------------------------------------------------------------------------


def test_the_interval_of_a_share_has_the_right_tails() -> None:
    """By its definition: at either end, what was seen or more extreme has 2.5 % of the chances."""
    from scipy.stats import binom

    low, high = share_interval(3, 20)
    assert binom.sf(2, 20, low) == pytest.approx(0.025)
    assert binom.cdf(3, 20, high) == pytest.approx(0.025)
    assert share_interval(0, 10) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert share_interval(10, 10) == (pytest.approx(0.025 ** (1 / 10)), 1.0)


def test_the_bootstrap_of_a_mean_is_as_wide_as_its_error() -> None:
    values = np.random.RandomState(1).randn(400)
    low, high = bootstrap_interval(values, lambda rows: float(rows.mean()))
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert bootstrap_interval(values, np.mean) == (low, high)


def test_spearman_is_scipys() -> None:
    from scipy.stats import spearmanr

    random = np.random.RandomState(3)
    one, other = random.rand(9).round(1), random.rand(9).round(1)
    assert spearman(list(one), list(other)) == pytest.approx(float(spearmanr(one, other).statistic))
    assert spearman([1.0, 2.0], [3.0, 3.0]) is None
    assert spearman([1.0], [3.0]) is None
    found = spearman_interval(list(one), list(other))
    draws = np.random.RandomState(0).randint(9, size=(2000, 9))
    taken = [spearman(list(one[draw]), list(other[draw])) for draw in draws]
    assert found == pytest.approx(tuple(np.quantile([t for t in taken if t is not None], [0.025, 0.975])))
    assert spearman_interval([1.0] * 5, [1.0] * 5) is None
    assert spearman_interval([0.0] * 6 + [1.0], [*range(7)]) is None  # (6 / 7) ** 7, a third, of the draws lack the one
    assert spearman_interval([0.0] * 3 + [1.0] * 4, [*range(7)]) is not None
    assert spearman_interval([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None
