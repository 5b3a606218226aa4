"""Classes: which classes do networks trained on the artefact serve badly, and would other data do the same?

Chen, Li, Liu & Zheng, "A Comprehensive Study on Dataset Distillation: Performance, Privacy, Robustness and Fairness",
2023, arXiv 2305.03355: distilled data amplifies the differences between classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from ddbench.analyses.subject import Subject
from ddbench.compute.compiling import Weights
from ddbench.records.findings import Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_analysis

REFERENCES = ("full_data", "random_real")
ALIKE = "correlation of the shares of images taken for each wrong class with those of networks trained on"


@register_analysis("classes@1")
@dataclass(frozen=True)
class Classes:
    """How differently classes are served: the worst class, the spread over classes and what is confused.

    Beside it stand networks trained on all data, and on as many random real images, those of the control `random_real`
    at the run's seed.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("worst", "accuracy of the class that is answered worst"),
        Metric("spread", "standard deviation of the accuracy over classes", 0, 0.5, "lower"),
        Metric("worst_full_data", "worst of networks trained on all data"),
        Metric("spread_full_data", "spread of networks trained on all data", 0, 0.5, "lower"),
        Metric("amplified_full_data", "spread less that of networks trained on all data", -0.5, 0.5, "lower"),
        Metric("confused_as_full_data", f"{ALIKE} all data", -1, 1),
        Metric("worst_random_real", "worst of networks trained on as many random images"),
        Metric("spread_random_real", "spread of networks trained on as many random images", 0, 0.5, "lower"),
        Metric("amplified_random_real", "spread less that of networks on random images", -0.5, 0.5, "lower"),
        Metric("confused_as_random_real", f"{ALIKE} random images", -1, 1),
    )
    headline: ClassVar[tuple[str, ...]] = (
        "worst", "spread", "amplified_full_data", "amplified_random_real", "confused_as_full_data",
        "confused_as_random_real",
    )  # fmt: skip

    full_data: NonNegativeInt = 3
    """networks that are trained on all data; 0 leaves them out"""
    pairs: PositiveInt = 100
    """confusions that are listed, at most"""

    def analyse(self, subject: Subject) -> Findings:
        own = [confusion(subject, weights) for weights in subject.trained()]
        spreads = [spread(table) for table in own]
        metrics = {"worst": Measure.over([worst(table) for table in own]), "spread": Measure.over(spreads)}
        means = {"own": torch.stack(own).mean(0)}
        for name, others in zip(REFERENCES, (self._full_data(subject), self._random_real(subject)), strict=True):
            if not others:
                continue
            means[name] = torch.stack(others).mean(0)
            theirs = [spread(table) for table in others]
            usual = theirs if name == "random_real" else [sum(theirs) / len(theirs)] * len(own)  # paired by number
            differences = [ours - their for ours, their in zip(spreads, usual, strict=True)]
            metrics[f"worst_{name}"] = Measure.over([worst(table) for table in others])
            metrics[f"spread_{name}"] = Measure.over(theirs)
            metrics[f"amplified_{name}"] = Measure.over(differences)
            alike = [likeness(table, means[name]) for table in own]
            if None not in alike:
                metrics[f"confused_as_{name}"] = Measure.over([value for value in alike if value is not None])
        return Findings(metrics=metrics, series=self._series(subject.data.classes, means))

    def _full_data(self, subject: Subject) -> list[Tensor]:
        return [confusion(subject, subject.references.full_data(number)) for number in range(self.full_data)]

    def _random_real(self, subject: Subject) -> list[Tensor]:
        found = (subject.references.random_real(number) for number in range(subject.networks))
        return [confusion(subject, weights) for weights in found if weights is not None]

    def _series(self, names: Sequence[str], means: dict[str, Tensor]) -> dict[str, Series]:
        shown = {"accuracy" if name == "own" else name: table for name, table in means.items()}
        classes = {"class": list(names)} | {name: table.diagonal().tolist() for name, table in shown.items()}
        wrong = means["own"].clone().fill_diagonal_(0).flatten()
        order = wrong.argsort(descending=True, stable=True)[: self.pairs]
        order = order[wrong[order] > 0]
        taken = {"class": [names[int(pair) // len(names)] for pair in order],
                 "taken_for": [names[int(pair) % len(names)] for pair in order]}  # fmt: skip
        shares = {"share" if name == "own" else name: table.flatten()[order].tolist() for name, table in means.items()}
        confusions = {"confusions": Series(columns=taken | shares)} if len(order) else {}
        return {"classes": Series(columns=classes)} | confusions


def confusion(subject: Subject, weights: Weights) -> Tensor:
    """The share of each class's test images that are taken for each class, (K, K); a class without any has 0s."""
    answers, count = subject.test_logits(weights).argmax(1), len(subject.data.classes)
    table = torch.bincount(subject.data.test_labels * count + answers, minlength=count**2).view(count, count).double()
    shares: Tensor = (table / table.sum(1, keepdim=True).clamp(min=1)).cpu()
    return shares


def worst(table: Tensor) -> float:
    return float(present(table).min())


def spread(table: Tensor) -> float:
    return float(present(table).std(correction=0))


def present(table: Tensor) -> Tensor:
    """Accuracies of the classes that have test images."""
    return table.diagonal()[table.sum(1) > 0]


def likeness(table: Tensor, other: Tensor) -> float | None:
    """Correlation of the entries off the diagonal; None where they are all equal in one table."""
    off = ~torch.eye(len(table), dtype=torch.bool)
    pair = torch.stack([table[off], other[off]])
    if len(pair[0]) < 2 or bool((pair.amax(1) == pair.amin(1)).any()):
        return None
    return float(pair.corrcoef()[0, 1].clamp(-1, 1))
