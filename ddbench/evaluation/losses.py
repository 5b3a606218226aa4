"""What a training for a score minimises: the losses that a protocol names, for every kind of labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.artifacts.distilled_dataset import NO_DISTRIBUTION
from ddbench.errors import UserError
from ddbench.evaluation.protocols import LossName, Protocol


def training_loss(protocol: Protocol, logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Return the mean loss of a batch, ().

    Args:
        logits: (N, K)
        labels: of the kind `kind`, (N,) or (N, K)
    """
    if not protocol.losses:
        return F.mse_loss(logits, labels) if kind == "targets" else cross_entropy(logits, labels, kind)
    terms = [weight * _term(protocol, name, logits, labels, kind) for name, weight in protocol.losses]
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]


def check_labels(protocol: Protocol, kind: str) -> None:
    """Raise UserError where a protocol compares distributions, and labels of this kind are none."""
    if kind in NO_DISTRIBUTION and any(name == "kl" for name, _ in protocol.losses):
        raise UserError(
            f"protocol {protocol.name} minimises a divergence of distributions, and labels of kind {kind!r} are none; "
            "score the artefact under a protocol without `kl`"
        )


def cross_entropy(logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Return the mean cross-entropy; of targets, with the class of the largest."""
    if kind == "targets":
        return F.cross_entropy(logits, labels.argmax(1))
    return F.cross_entropy(logits, labels.softmax(1) if kind == "logits" else labels)


def squared_error(logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Return the mean squared difference from targets; from probabilities or weights less 1 / K."""
    targets = labels if kind == "targets" else probabilities(logits, labels, kind) - 1 / logits.shape[1]
    return F.mse_loss(logits, targets)


def divergence(logits: Tensor, labels: Tensor, kind: str, temperature: float) -> Tensor:
    """Return the mean Kullback-Leibler divergence of the labels' distribution from the network's.

    Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, without their factor
    of the squared temperature.

    Args:
        temperature: both sides are softened by it; probabilities are raised to 1 / temperature and normalised
    """
    if kind == "logits":
        wanted = (labels / temperature).softmax(1)
    else:
        softened = probabilities(logits, labels, kind).pow(1 / temperature)
        wanted = softened / softened.sum(1, keepdim=True)
    return F.kl_div((logits / temperature).log_softmax(1), wanted, reduction="batchmean")


def probabilities(logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Return labels as one number a class, (N, K); classes become 0 and 1."""
    if kind == "index":
        return (labels[:, None] == torch.arange(logits.shape[1], device=labels.device)).to(logits.dtype)
    return labels.softmax(1) if kind == "logits" else labels


PLAIN: dict[LossName, Callable[[Tensor, Tensor, str], Tensor]] = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
}


def _term(protocol: Protocol, name: LossName, logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    if name == "kl":
        return divergence(logits, labels, kind, protocol.temperature)
    return PLAIN[name](logits, labels, kind)
