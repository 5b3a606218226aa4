"""Membership inference: scores that say which images a model has learned from, and how well they say it.

Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022, arXiv 2112.03570. Two traps of a
published implementation are avoided: the pooled variance is of residuals of members and of others alike, not of members
alone; and a score is the ratio of both likelihoods, not one of them, which suspects what is answered too badly as well.
"""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Scores = NDArray[np.float64]
"""one a split and image, (S, A); the larger, the likelier a member"""
Members = NDArray[np.bool_]
"""true where an image is in a split's training set, (S, A)"""


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Logarithm of the odds of the label, log p_y - log sum_{j != y} p_j, (N,) float64.

    Args:
        logits: (N, K)
        labels: (N,)
    """
    logits = logits.double()
    own = F.one_hot(labels, logits.shape[1]).bool()
    return logits[own] - logits.masked_fill(own, -math.inf).logsumexp(1)


def likelihood_ratios(phi: Scores, member: Members) -> Scores:
    """Score each split as the target of an attack that knows all others: the log-likelihood ratio of its log-odds.

    Both normal distributions of an image have their medians over the splits that are not attacked, equally many on
    either side, and one variance, which all images share. A member of the target has one split less on its own side:
    with all splits of the other side, that median would be the better known one, and chance an area below a half.

    Args:
        phi: log-odds, (S, A)
    """
    found = np.empty_like(phi)
    for target in range(len(phi)):
        rest = np.arange(len(phi)) != target
        known, inside = phi[rest], member[rest]
        fewest = np.minimum(inside.sum(0), (~inside).sum(0))
        sides = [np.where(mask & (mask.cumsum(0) <= fewest), known, np.nan) for mask in (inside, ~inside)]
        within, without = (np.nanmedian(side, axis=0) for side in sides)
        variance = float(np.nanmean(np.stack([sides[0] - within, sides[1] - without]) ** 2))
        found[target] = ((phi[target] - without) ** 2 - (phi[target] - within) ** 2) / (2 * max(variance, 1e-300))
    return found


def area(members: Scores, others: Scores) -> float:
    """Area under the curve of true over false positives: how often a member scores above another image, ties half."""
    from scipy.stats import rankdata  # takes a second to import

    ranks = rankdata(np.concatenate([members, others]))[: len(members)]
    return float((ranks.sum() - len(members) * (len(members) + 1) / 2) / (len(members) * len(others)))


def true_positives(members: Scores, others: Scores, rate: float) -> float:
    """Share of members above the threshold at which at most this share of the others is."""
    allowed = math.floor(rate * len(others) + 1e-9)
    threshold = np.partition(others, len(others) - 1 - allowed)[len(others) - 1 - allowed]
    return float((members > threshold).mean())
