"""Early training: do networks of distilled data answer as networks do that have barely begun on real data?

Yang, Zhu, Deng & Russakovsky, "What is Dataset Distillation Learning?", ICML 2024, arXiv 2406.04284. Agreement grows
with accuracy; here it is corrected for chance, and compared at equal accuracy alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from ddbench.analyses import references
from ddbench.analyses.agreement import corrected, matched, on_subsets, stopped_early
from ddbench.analyses.references import SNAPSHOTS
from ddbench.analyses.subject import Subject
from ddbench.compute.compiling import Weights
from ddbench.records.cell import NetworkSpec
from ddbench.records.findings import Figure, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.records.network_files import CODE
from ddbench.registry import NETWORKS, register_analysis
from ddbench.task.settings import SETTINGS
from ddbench.task.settings.base import share

RECOGNISED = 0.9
"""share of the distilled images from which on a network recognises them"""
WIDTHS = (8, 32, 128)
"""widths of further networks of real data that are asked about the distilled images"""


@register_analysis("early@1")
@dataclass(frozen=True)
class Early:
    """How soon real training recognises distilled images, and how far networks of these answer as early ones do.

    A network of distilled data is compared with networks of real data that were stopped early, and with others trained
    to the end on a real subset, all of its accuracy. The gap is the difference of both agreements, each beyond chance.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("recognised_at", f"first step kept of real training that recognises {RECOGNISED:.0%} of the distilled "
               "images; the last one where none does", 0, SNAPSHOTS[-1], "lower"),
        Metric("unrecognised", f"share of real trainings that never recognise {RECOGNISED:.0%}", 0, 1, "lower"),
        Metric("recognised", "share of the distilled images that networks of real data recognise at the end"),
        *(Metric(f"recognised_{width}", f"recognised, by a network {width} wide") for width in WIDTHS),
        Metric("agreement_early", "agreement beyond chance with early-stopped networks of equal accuracy", -2, 1),
        Metric("agreement_subset", "agreement beyond chance with networks of real subsets of equal accuracy", -2, 1),
        Metric("agreement_gap", "agreement_early less agreement_subset: above 0, closer to early training", -3, 3),
    )  # fmt: skip
    headline: ClassVar[tuple[str, ...]] = (
        "recognised_at", "recognised", "agreement_early", "agreement_subset", "agreement_gap",
    )  # fmt: skip
    figure: ClassVar[Figure] = Figure(
        "recognition", "step", "recognised", "step of training on real data", "share of the images recognised"
    )

    trajectories: PositiveInt = 3
    """networks trained on all training images, that are read on their way"""
    subsets: PositiveInt = 24
    """networks trained on subsets of all sizes"""
    margin: PositiveFloat = 0.005
    """largest difference of two accuracies that count as equal"""

    def analyse(self, subject: Subject) -> Findings:
        images, labels = subject.decoded()
        truth = labels.argmax(1) if labels.ndim == 2 else labels
        numbers, recognises = range(self.trajectories), recognising(subject, images, truth)
        paths = [[recognises(weights) for weights in subject.references.trajectory(n).values()] for n in numbers]
        metrics = recognition(paths)
        for width, other in widths(subject):
            *_, last = other.references.trajectory(0).values()
            metrics[f"recognised_{width}"] = Measure.over([recognising(other, images, truth)(last)])
        series = {"recognition": self._curve(paths)}
        why = self._refusal(subject)
        if why is None:
            early = [stopped_early(subject, number, self.margin) for number in numbers]
            pairs = list(self._pairs(subject, early, on_subsets(subject, self.subsets)))
            metrics |= agreement(pairs)
            if not pairs:
                why = f"no network of both kinds has an accuracy within {100 * self.margin:g} points of a distilled one"
        if why is not None:
            series["left_out"] = Series(columns={"measure": ["agreement_gap"], "why": [why]})
        return Findings(metrics=metrics, series=series)

    def _curve(self, paths: Sequence[Sequence[float]]) -> Series:
        mean = torch.tensor(paths, dtype=torch.float64).mean(0).tolist()
        return Series(columns={"step": [float(step) for step in references.SNAPSHOTS], "recognised": mean})

    @staticmethod
    def _refusal(subject: Subject) -> str | None:
        """Why its networks cannot be compared with others; None where they can."""
        setting = subject.references.origin.setting
        if not SETTINGS[setting].starts_fresh:
            return f"setting {setting}: its networks do not start from fresh weights"
        if subject.protocol.kind != "train":
            return f"protocol {subject.protocol.name} trains no network on the artefact"
        return None

    def _pairs(self, subject: Subject, early: Sequence[Tensor], subsets: Tensor) -> Iterator[tuple[float, float]]:
        """Mean agreement of each distilled network with early ones and with subsets, where both have its accuracy.

        Args:
            early: answers, (T, M), of each trajectory, whose nearest counts
            subsets: answers, (T, M)
        """
        truth, classes = subject.data.test_labels, len(subject.data.classes)
        for weights in subject.trained():
            own = subject.test_logits(weights).argmax(1)
            nearest = torch.cat([matched(own, path, truth, self.margin)[:1] for path in early])
            alike = matched(own, subsets, truth, self.margin)
            if len(nearest) and len(alike):
                ours, theirs = (float(corrected(own, others, truth, classes).mean()) for others in (nearest, alike))
                yield ours, theirs


def agreement(pairs: Sequence[tuple[float, float]]) -> dict[str, Measure]:
    """Return measures of agreement with early networks and with subsets, one pair a distilled network."""
    if not pairs:
        return {}
    return {
        "agreement_early": Measure.over([early for early, _ in pairs]),
        "agreement_subset": Measure.over([subset for _, subset in pairs]),
        "agreement_gap": Measure.over([early - subset for early, subset in pairs]),
    }


def recognition(paths: Sequence[Sequence[float]]) -> dict[str, Measure]:
    """Return measures of the share recognised at each snapshot of each trajectory."""
    steps = references.SNAPSHOTS
    firsts = [next((s for s, part in zip(steps, path, strict=True) if part >= RECOGNISED), None) for path in paths]
    return {
        "recognised_at": Measure.over([float(steps[-1] if at is None else at) for at in firsts], "trajectories"),
        "unrecognised": Measure(values=[firsts.count(None) / len(firsts)], of="shares"),
        "recognised": Measure.over([path[-1] for path in paths], "trajectories"),
    }


def recognising(subject: Subject, images: Tensor, truth: Tensor) -> Callable[[Weights], float]:
    """A function from a network's weights to the share of preprocessed images that it recognises."""
    return lambda weights: share(subject.logits_of(weights, images).argmax(1) == truth)


def widths(subject: Subject) -> Iterator[tuple[int, Subject]]:
    """Yield the subject with networks of other widths; none where the architecture has no width."""
    network = subject.network
    if CODE in network.parameters or "width" not in inspect.signature(NETWORKS.get(network.name)).parameters:
        return
    for width in WIDTHS:
        other = NetworkSpec(name=network.name, parameters={**network.parameters, "width": width})
        evaluator = subject.evaluator.training(other, subject.protocol)
        yield width, replace(subject, evaluator=evaluator, references=subject.references.of(other), known={})
