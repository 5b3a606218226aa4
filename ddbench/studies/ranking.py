"""How good an order of candidates is that a cheap proxy gives, by what they are truly worth."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from ddbench.stats import CONFIDENCE, kendall_draws, kendall_tau


def tau(proxy: Sequence[float], truth: Sequence[float]) -> float:
    """Kendall's tau-b; 0 where either is equal for all candidates, and orders none."""
    found = kendall_tau(proxy, truth)
    return 0.0 if found is None else found


def tau_interval(proxies: Sequence[Sequence[float]], truth: Sequence[float]) -> tuple[float, float]:
    """Ends of the 95 % bootstrap interval, over candidates, of the mean of tau over several proxies.

    A draw in which a proxy orders nothing has a tau of 0 of it.
    """
    draws = np.nan_to_num(np.stack([kendall_draws(proxy, truth) for proxy in proxies])).mean(0)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def regret(proxy: Sequence[float], truth: Sequence[float], count: int) -> float:
    """What the best of the `count` candidates that a proxy puts first lacks to the best of all.

    Candidates of equal proxy come in random order; this is the expectation over these orders, in closed form: the
    largest of m that are drawn from g sorted values is the j-th with probability C(j - 1, m - 1) / C(g, m).
    """
    count = min(count, len(truth))
    last = sorted(proxy, reverse=True)[count - 1]
    first = [worth for given, worth in zip(proxy, truth, strict=True) if given > last]
    tied = sorted(worth for given, worth in zip(proxy, truth, strict=True) if given == last)
    drawn, sure = count - len(first), max(first, default=-np.inf)
    chances = [comb(place, drawn - 1) / comb(len(tied), drawn) for place in range(len(tied))]
    reached = sum(chance * max(sure, worth) for chance, worth in zip(chances, tied, strict=True) if chance)
    return float(max(truth) - reached)
