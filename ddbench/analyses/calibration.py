"""Calibration: do the networks' probabilities mean what they say?

Expected calibration error: Naeini, Cooper & Hauskrecht, AAAI 2015; temperature: Guo, Pleiss, Sun & Weinberger, ICML
2017, arXiv 1706.04599; equal-mass bins and the error's bias: Roelofs, Cain, Shlens & Mozer, AISTATS 2022,
arXiv 2012.08668.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from ddbench.analyses.subject import Subject
from ddbench.records.findings import Figure, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_analysis

COLDEST, HOTTEST = 1e-3, 1e3
"""temperatures between which one is sought"""
HALVINGS = 60
"""number of times that the interval around the temperature is halved"""


@register_analysis("calibration@1")
@dataclass(frozen=True)
class Calibration:
    """How far probabilities mean what they say: log-loss, Brier score, confidence and calibration error.

    They are measured again after a temperature, fitted on training images that the networks have not seen.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("nll", "mean negative log-likelihood of the test labels, in nats", 0, 1e6, "lower"),
        Metric("brier", "mean squared distance of the probabilities from the label's 1 and 0s", 0, 2, "lower"),
        Metric("gap", "confidence minus accuracy: below 0 under-confident, above 0 over-confident", -1, 1, "lower"),
        Metric("ece", "expected calibration error: mean distance of confidence and accuracy over bins", 0, 1, "lower"),
        Metric("ece_excess", "ece less what labels drawn from the predictions give", -1, 1, "lower"),
        Metric("temperature", "factor that logits are divided by; below 1, they were too flat", COLDEST, HOTTEST),
        Metric("nll_scaled", "nll after the temperature", 0, 1e6, "lower"),
        Metric("brier_scaled", "brier after the temperature", 0, 2, "lower"),
        Metric("gap_scaled", "gap after the temperature", -1, 1, "lower"),
        Metric("ece_scaled", "ece after the temperature", 0, 1, "lower"),
        Metric("ece_excess_scaled", "ece_excess after the temperature", -1, 1, "lower"),
    )
    headline: ClassVar[tuple[str, ...]] = (
        "nll", "brier", "gap", "ece_excess", "temperature", "nll_scaled", "ece_excess_scaled",
    )  # fmt: skip
    figure: ClassVar[Figure] = Figure(
        "reliability", "confidence", "accuracy", "mean confidence of a bin", "accuracy of the bin"
    )

    bins: PositiveInt = 15
    """bins of equally many images"""
    resamples: PositiveInt = 20
    """times that labels are drawn from the predictions"""
    held_out: PositiveInt = 2000
    """training images that the temperature is fitted on, at most"""

    def analyse(self, subject: Subject) -> Findings:
        if subject.artifact.label_kind == "targets":
            return Findings(not_applicable="its networks regress numbers, which are no log-probabilities")
        labels, found = subject.data.test_labels, list[dict[str, float]]()
        curves = list[tuple[Tensor, Tensor]]()
        for number, weights in enumerate(subject.trained()):
            logits = subject.test_logits(weights)
            draws = subject.generator("labels", number)
            measured = self.measured(logits, labels, draws)
            curves.append(reliability(logits.softmax(1), labels, self.bins))
            if subject.protocol.kind == "train":  # others have seen every training image
                held, answers = self._held_out(subject)
                heat = temperature(subject.logits(weights, held), answers)
                scaled = self.measured(logits / heat, labels, draws)
                measured |= {"temperature": heat} | {f"{name}_scaled": value for name, value in scaled.items()}
            found.append(measured)
        metrics = {name: Measure.over([each[name] for each in found]) for name in found[0]}
        confidence, accuracy = (torch.stack(column).mean(0).tolist() for column in zip(*curves, strict=True))
        return Findings(
            metrics=metrics, series={"reliability": Series(columns={"confidence": confidence, "accuracy": accuracy})}
        )

    def measured(self, logits: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, float]:
        """Return the measures of one network.

        Args:
            logits: (N, K)
            labels: (N,)
            generator: draws labels from the predictions, on the CPU
        """
        logs, chances = logits.log_softmax(1), logits.softmax(1)
        own = labels[:, None]
        confidence, answers = chances.max(1)
        right = (answers == labels).double()
        drawn = torch.rand(self.resamples, len(labels), generator=generator, dtype=torch.float64).to(logits.device)
        chance = [calibration_error(confidence, (draw < confidence).double(), self.bins) for draw in drawn]
        error = calibration_error(confidence, right, self.bins)
        return {
            "nll": float(-logs.gather(1, own).mean()),
            "brier": float((chances.square().sum(1) - 2 * chances.gather(1, own)[:, 0] + 1).mean().clamp(0, 2)),
            "gap": float((confidence - right).mean()),
            "ece": error,
            "ece_excess": error - sum(chance) / len(chance),
        }

    def _held_out(self, subject: Subject) -> tuple[Tensor, Tensor]:
        kept = subject.evaluator.held_out  # what the method did not see, where images were held back from it
        images, labels = (
            (kept.test_images, kept.test_labels)
            if kept is not None
            else (subject.data.train_images, subject.data.train_labels)
        )
        chosen = torch.randperm(len(labels), generator=subject.generator("held_out"))[: self.held_out]
        chosen = chosen.to(subject.device)
        return images[chosen], labels[chosen]


def calibration_error(confidence: Tensor, right: Tensor, bins: int) -> float:
    """Mean distance of confidence and accuracy over bins of equally many images, weighted by their number.

    Args:
        confidence: (N,), the largest probability of each image
        right: (N,), 1 where its class is the label
    """
    order = confidence.argsort(stable=True)
    pieces = (confidence - right)[order].tensor_split(min(bins, len(order)))
    return float(sum(piece.sum().abs() for piece in pieces)) / len(order)


def reliability(chances: Tensor, labels: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Mean confidence and accuracy in each bin of equally many images, (bins,) both."""
    confidence, answers = chances.max(1)
    order, right = confidence.argsort(stable=True), (answers == labels).double()
    count = min(bins, len(order))
    means = [torch.stack([p.mean() for p in column[order].tensor_split(count)]) for column in (confidence, right)]
    return means[0], means[1]


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The number that logits, (N, K), are divided by for the largest likelihood of labels, (N,); its negative logarithm
    is convex in the inverse, whose root is found by bisection."""
    own = logits.gather(1, labels[:, None])[:, 0]
    low, high = torch.tensor([1 / HOTTEST, 1 / COLDEST], dtype=torch.float64).log().tolist()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inverse = torch.tensor(middle, dtype=torch.float64).exp().to(logits.device)
        slope = ((inverse * logits).softmax(1) * logits).sum(1).mean() - own.mean()
        low, high = (middle, high) if slope <= 0 else (low, middle)
    found = float(torch.tensor(-(low + high) / 2, dtype=torch.float64).exp())
    return min(max(found, COLDEST), HOTTEST)
