"""Discrepancy: how far are the images from real ones of their class, by the distances that methods minimise?

Chen & Selvan, "A Discrepancy-Based Perspective on Dataset Condensation", 2025, arXiv 2509.10367, see methods as
minimising one each. `families/weighted_discrepancies.py` has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from ddbench.analyses.probes import Probe, class_shares
from ddbench.analyses.subject import Subject
from ddbench.artifacts.distilled_dataset import NO_DISTRIBUTION
from ddbench.records.findings import FLOOR, IMAGES_PER_CLASS, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_analysis

FAR = 1e12
"""largest distance in units of the real spread"""
MATCHED = ("distribution matching",)
"""families whose methods minimise distances of features"""
DISTANCES = (
    Metric("gradient_cosine", "mean over output units of 1 - cosine of the gradients of the loss, in fresh networks",
           0, 2, "lower", ("gradient matching",)),
    Metric("sliced_wasserstein_fresh", "squared 2-Wasserstein distance along random directions of the features of "
           "fresh networks, in units of the real spread", 0, FAR, "lower", MATCHED),
    Metric("sliced_wasserstein_trained", "the same, of networks trained on real images", 0, FAR, "lower", MATCHED),
    Metric("mmd_fresh", "squared maximum mean discrepancy of the features of fresh networks, of five Gaussian kernels",
           0, 10, "lower", MATCHED),
    Metric("mmd_trained", "the same, of networks trained on real images", 0, 10, "lower", MATCHED),
    Metric("sinkhorn_trained", "Sinkhorn divergence of the features of networks trained on real images, in units of "
           "the real spread", 0, FAR, "lower", MATCHED),
    Metric("mmd_pixels", "squared maximum mean discrepancy of pixels", 0, 10, "lower"),
)  # fmt: skip


@register_analysis("discrepancy@1")
@dataclass(frozen=True)
class Discrepancy:
    """How far the images are from real ones of their class: in gradients, features and pixels, means over classes.

    Scale and bandwidth come of the real images alone; soft labels are weights. The floor is what other real images,
    as many as those that are compared with, give.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        *DISTANCES,
        *(Metric(f"{m.name}{FLOOR}", f"{m.name} of other real images", m.low, m.high, "lower") for m in DISTANCES),
        Metric(IMAGES_PER_CLASS, "images that the artefact decodes to, by class", 0, 1e9),
    )
    headline: ClassVar[tuple[str, ...]] = (*(metric.name for metric in DISTANCES), IMAGES_PER_CLASS)

    real: PositiveInt = 400
    """real images of each class; of a class with fewer than twice as many, half"""
    replicates: PositiveInt = 3
    """fresh networks, and trained ones, each with real images of its own"""
    directions: PositiveInt = 128
    """random directions of the sliced distance"""

    def analyse(self, subject: Subject) -> Findings:
        if subject.evaluator.setting.attack is not None:
            return Findings(
                not_applicable="its labels are to mislead, so that its classes are not those of real images"
            )
        if subject.artifact.label_kind in NO_DISTRIBUTION:
            return Findings(not_applicable="its labels are numbers of either sign, which give no class a share")
        names = subject.data.classes
        if int(subject.data.counts.min()) < 4:
            return Findings(not_applicable="a class has fewer than 4 real images, too few to compare with others")
        images, labels = subject.decoded()
        shares = class_shares(labels, subject.artifact.label_kind, len(names))
        if not bool((shares.sum(0) > 0).all()):
            return Findings(not_applicable=f"no image is of class {names[int(shares.sum(0).argmin())]!r}")
        probes = [Probe(subject, number, self.real, self.directions) for number in range(self.replicates)]
        tables, floors = list[Tensor](), list[Tensor]()
        for number, probe in enumerate(probes):
            floors.append(probe.floor())
            tables.append(probe.measured(images, shares))
            subject.report((number + 1) / self.replicates)
        found = torch.stack(tables)  # (replicates, distances, K)
        metrics = {m.name: Measure.over(found[:, i].mean(1).tolist()) for i, m in enumerate(DISTANCES)}
        floor = torch.stack(floors)
        metrics |= {f"{m.name}{FLOOR}": Measure.over(floor[:, i].tolist()) for i, m in enumerate(DISTANCES)}
        metrics[IMAGES_PER_CLASS] = Measure(values=[len(labels) / len(names)], of="artefacts")
        columns = {m.name: found[:, i].mean(0).tolist() for i, m in enumerate(DISTANCES)}
        return Findings(metrics=metrics, series={"classes": Series(columns={"class": list(names)} | columns)})
