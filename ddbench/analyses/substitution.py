"""Substitution: does distilled data stand in for real images, and does it still help beside some?

Yang, Zhu, Deng & Russakovsky, "What is Dataset Distillation Learning?", ICML 2024, arXiv 2406.04284, add real images to
distilled ones. Here every point has several starts, which all sets share, and beside it stands the same number of
random images with the same images added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor

from ddbench.analyses.plain_training import STEPS, Draw, draw_of, refusal, shuffled
from ddbench.analyses.subject import Subject
from ddbench.compute.compiling import Weights
from ddbench.records.findings import Figure, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_analysis

REAL = (0, 10, 50, 250)
"""real images of each class that are added"""
MOST_WORTH = 1e9


@register_analysis("substitution@1")
@dataclass(frozen=True)
class Substitution:
    """How much real data a distilled set is worth, and what becomes of it where real images are added.

    The added images are nested, and none is among the random images that are compared with. Intervals are over starts.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("own", "accuracy after plain training on the distilled images alone"),
        Metric("interference", "own less the lowest mean accuracy of the distilled images with real ones added", -1, 1,
               "lower"),
        Metric("interference_at", "real images of each class at which the mean accuracy is lowest", 0, REAL[-1]),
        *(
            Metric(f"advantage_{n}", f"accuracy with {n} real images of each class added, less that of random images "
                   "with the same added", -1, 1)
            for n in REAL
        ),
        Metric("worth", "real images of each class that reach own, interpolated in the logarithm", 0, MOST_WORTH),
        Metric("worth_censored", "share of starts at which it lies outside what was tried, whose end stands for it", 0,
               1, "lower"),
    )  # fmt: skip
    headline: ClassVar[tuple[str, ...]] = ("own", "interference", "advantage_0", "advantage_50", "worth")
    figure: ClassVar[Figure] = Figure(
        "accuracy", "added", "distilled", "real images a class that are added", "accuracy"
    )

    starts: PositiveInt = 3
    """networks of each point"""
    steps: PositiveInt = STEPS
    """training steps of each"""

    def analyse(self, subject: Subject) -> Findings:
        why = refusal(subject)
        if why is not None:
            return Findings(not_applicable=why)
        references = subject.references
        base = references.random_positions().cpu()
        more = references.by_class(subject.generator("added"), without=base)
        counts = [n for n in REAL if n <= min(map(len, more))]
        if len(counts) == 1:
            return Findings(not_applicable=f"a class has fewer than {REAL[1]} real images that could be added")
        ours, theirs = (torch.zeros(self.starts, len(counts), dtype=torch.float64) for _ in range(2))
        for number in range(self.starts):
            for place, n in enumerate(counts):
                added = torch.cat([positions[:n] for positions in more])
                real = references.on_real(torch.cat([base, added]), number, self.steps)
                theirs[number, place] = subject.test_accuracy(real)
                ours[number, place] = subject.test_accuracy(self._on_both(subject, added, number))
                subject.report((number * len(counts) + place + 1) / ours.numel())
        return self.found(ours, theirs, counts, references.origin.ipc)

    def _on_both(self, subject: Subject, added: Tensor, number: int) -> Weights:
        """A network that learned from the distilled images and the real ones at these positions."""
        references, artifact = subject.references, subject.artifact
        own = draw_of(artifact, subject.device, subject.generator("decoded", number))
        draw, kind = with_real(own, artifact.label_kind, references.real(added), len(subject.data.classes))
        (weights,) = references.plain(number, lambda generator: shuffled(draw, generator), kind, (self.steps,))
        return weights

    @staticmethod
    def found(ours: Tensor, theirs: Tensor, counts: Sequence[int], ipc: int) -> Findings:
        """What accuracies of distilled and of random images with real ones added say.

        Args:
            ours, theirs: (starts, len(counts))
            counts: real images added of each class, 0 first
            ipc: random images of each class
        """
        lowest = int(ours.mean(0).argmin())
        totals = [ipc + n for n in counts]
        worths = [worth(float(row[0]), totals, other.tolist()) for row, other in zip(ours, theirs, strict=True)]
        values = {
            "own": ours[:, 0],
            "interference": ours[:, 0] - ours[:, lowest],
            **{f"advantage_{n}": ours[:, place] - theirs[:, place] for place, n in enumerate(counts)},
        }
        metrics = {name: Measure.over(column.tolist(), "starts") for name, column in values.items()}
        metrics["interference_at"] = Measure(values=[counts[lowest]], of="curves")
        metrics["worth"] = Measure.over([found for found, _ in worths], "starts")
        metrics["worth_censored"] = Measure(values=[sum(cut for _, cut in worths) / len(worths)], of="shares")
        columns = {"added": list(map(float, counts)), "distilled": ours.mean(0).tolist(),
                   "random": theirs.mean(0).tolist()}  # fmt: skip
        return Findings(metrics=metrics, series={"accuracy": Series(columns=dict(columns))})


def with_real(own: Draw, kind: str, real: tuple[Tensor, Tensor], classes: int) -> tuple[Draw, str]:
    """Distilled images with real ones behind them, and the kind of the labels of both: shares where one's are soft."""
    images, labels = real

    def draw(epoch: int) -> tuple[Tensor, Tensor]:
        first, theirs = own(epoch)
        soft = theirs.softmax(1) if kind == "logits" else theirs
        mine = labels if kind == "index" else F.one_hot(labels, classes).to(soft.dtype)
        return torch.cat([first, images]), torch.cat([soft, mine])

    return draw, "index" if kind == "index" else "probabilities"


def worth(accuracy: float, counts: Sequence[int], accuracies: Sequence[float]) -> tuple[float, bool]:
    """The number of real images that first reaches an accuracy, and true where it lies beyond an end, which it then is.

    >>> worth(0.5, [10, 40], [0.4, 0.6]), worth(0.7, [10, 40], [0.4, 0.6])
    ((20.0, False), (40, True))

    Args:
        counts: of real images, ascending
        accuracies: that they reach
    """
    if accuracy < accuracies[0]:
        return counts[0], True
    for place in range(1, len(counts)):
        low, high = accuracies[place - 1], accuracies[place]
        if low <= accuracy <= high:
            part = (accuracy - low) / (high - low) if high > low else 0.0
            found = math.exp((1 - part) * math.log(counts[place - 1]) + part * math.log(counts[place]))
            return round(found, 6), False
    return counts[-1], True
