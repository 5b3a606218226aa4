"""Membership: can somebody who has the distilled set, which is published, tell who was in the training set?

The adversary knows the set, the method and some images, and may train any number of networks on the set. A
likelihood-ratio attack (Carlini et al., S&P 2022, arXiv 2112.03570) asks networks that are trained on it; a threshold
on the log-odds asks them without other splits to compare with; the distance to the nearest distilled image asks none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import Dataset
from ddbench.data.audit import Audit, Design
from ddbench.data.builtin import Size
from ddbench.errors import UserError
from ddbench.records.cell import Cell
from ddbench.records.findings import Figure, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_study
from ddbench.stats import bootstrap_interval, share_interval
from ddbench.studies.bench import Bench
from ddbench.studies.inference import Members, Scores, area, likelihood_ratios, log_odds, true_positives
from ddbench.studies.study import Part, Replicate, Training

ATTACKS = {
    "lira": "the likelihood ratio of networks trained on the set",
    "loss": "the log-odds of the label alone",
    "distance": "nearness to the closest distilled image",
}
RATES = tuple(10 ** (-3 + 3 * step / 30) for step in range(31))
"""shares of false positives of the figure"""


def _metrics() -> tuple[Metric, ...]:
    found = [Metric("accuracy", "accuracy on test images of the networks that are attacked, averaged over splits")]
    for name, said in ATTACKS.items():
        found += [
            Metric(f"auc_{name}", f"area under the ROC curve of {said}; 0.5 by chance", better="lower"),
            Metric(f"tpr_1_{name}", f"members found by {said} at 1 % false positives", better="lower"),
            Metric(f"tpr_01_{name}", f"members found by {said} at 0.1 % false positives", better="lower"),
            Metric(f"auc_{name}_canaries", f"area under the ROC curve of {said}, of canaries", better="lower"),
            Metric(f"tpr_1_{name}_canaries", f"canaries found by {said} at 1 % false positives", better="lower"),
        ]
    meaning = f"random images that methods start from, all of them members, found by {ATTACKS['distance']} at 1 %"
    return (*found, Metric("tpr_1_distance_starts", meaning, better="lower"))


@register_study("membership@1")
@dataclass(frozen=True)
class Membership:
    """Who was in the training set, to somebody who holds the distilled set and trains networks on it?"""

    measures: ClassVar[tuple[Metric, ...]] = _metrics()
    headline: ClassVar[tuple[str, ...]] = (
        "accuracy", "auc_lira", "tpr_1_lira", "tpr_1_lira_canaries", "tpr_1_distance", "tpr_1_distance_starts",
    )  # fmt: skip
    caption: ClassVar[str] = (
        "An empirical lower bound of what leaks: a stronger attack may find more, and no row is private by it. Numbers "
        "are over all audited images: a set that copies few images hides most of its training set and gives these "
        "away, as the last measure shows. Each split has its own distillation with the seconds that are named."
    )
    variants: ClassVar[tuple[str, ...]] = ()
    references: ClassVar[tuple[str, ...]] = ("random_real", "full_data")
    protocol: ClassVar[str] = "quick-300@1"
    networks: ClassVar[int] = 3
    seeds: ClassVar[int] = 1
    figure: ClassVar[Figure] = Figure(
        "roc", "false_positives", "lira", "share of false positives", f"members found by {ATTACKS['lira']}",
        logarithmic=True,
    )  # fmt: skip

    splits: PositiveInt = 16
    """training sets that are distilled, with each audited image in a half of them"""
    images: PositiveInt = 500
    """audited images, as many of each class as of any other"""
    canaries: NonNegativeInt = 50
    """audited images with a wrong label"""

    def check(self, data: Dataset) -> None:
        self.design(0).check(data)
        if self.images < 2:
            raise UserError(f"{self.images} audited image is nothing to compare with; set images to 2 or more")

    def design(self, seed: int) -> Design:
        return Design(self.splits, self.images, self.canaries, seed)

    def parts(self, data: Dataset, variant: str | None, seed: int) -> list[Part]:
        return [Part(self.design(seed).name(split)) for split in range(self.splits)]

    def trainings(self, size: Size, cell: Cell, variant: str | None) -> list[Training]:
        return [Training(size, count=self.splits)]

    def refusal(self, made: Sequence[DistilledDataset]) -> str | None:
        if any(artifact.label_kind == "targets" for artifact in made):
            return "networks that regress numbers have no odds of a label"
        return None

    def measure(self, bench: Bench, made: Sequence[DistilledDataset], seed: int) -> Replicate:
        audit = Audit.of(bench.data, self.design(seed))
        positions = audit.positions.to(bench.data.train_images.device)
        candidates = bench.data.train_images[positions]
        phi, accuracies, near, starts = list[float](), list[float](), list[float](), list[float]()
        for split in range(self.splits):
            odds = list[Tensor]()
            for number in range(bench.cell.networks):
                bench.report((split + number / bench.cell.networks) / self.splits)
                if bench.on_real:
                    weights = bench.trained_on(audit.training_set(bench.data, split), number)
                else:
                    weights = bench.trained(made[split], number)
                odds.append(log_odds(bench.logits(weights, candidates).cpu(), audit.labels))
                answers = bench.logits(weights, bench.data.test_images).argmax(1)
                accuracies.append(float((answers == bench.data.test_labels).double().mean()))
            phi += torch.stack(odds).mean(0).tolist()
            if not bench.on_real:
                images = bench.images_of(made[split])[0].to(candidates.device)
                near += _nearest(bench.evaluator.transform(candidates), images)
                starts += _nearest(bench.starts(self.design(seed).name(split), seed), images)
        found = {
            "phi": phi,
            "accuracy": accuracies,
            "member": audit.member.double().flatten().tolist(),
            "canary": audit.canary.double().tolist(),
        }
        return found if bench.on_real else {**found, "distance": near, "start_distance": starts}

    def findings(self, replicates: Sequence[Replicate]) -> Findings:
        summaries = [Summary.of(replicate) for replicate in replicates]
        accuracies = [sum(own["accuracy"]) / len(own["accuracy"]) for own in replicates]
        metrics = {"accuracy": Measure.over(accuracies, "seeds")}
        alone = len(replicates) == 1
        for attack in summaries[0].scores:
            for group, end in (("images", ""), ("canaries", "_canaries")):
                if summaries[0].groups[group].any():
                    metrics |= _found(summaries, attack, group, end, alone)
        if "distance" in summaries[0].scores:
            metrics["tpr_1_distance_starts"] = Measure.over([one.found_starts(0.01) for one in summaries], "seeds")
        return Findings(metrics=metrics, series={"roc": _curves(summaries)})


@dataclass(frozen=True)
class Summary:
    """The scores of a seed, by attack, and the audited images by group."""

    scores: dict[str, Scores]
    member: Members
    groups: dict[str, NDArray[np.bool_]]
    """masks of the audited images, (A,)"""
    starts: Scores
    """nearness of the images that methods start from, (S, n)"""

    @classmethod
    def of(cls, replicate: Replicate) -> Summary:
        canary = np.array(replicate["canary"]) > 0.5
        member = np.array(replicate["member"]).reshape(-1, len(canary)) > 0.5
        phi = np.array(replicate["phi"]).reshape(member.shape)
        scores = {"lira": likelihood_ratios(phi, member), "loss": phi}
        starts = np.zeros((len(member), 0))
        if "distance" in replicate:
            scores["distance"] = -np.array(replicate["distance"]).reshape(member.shape)
            starts = -np.array(replicate["start_distance"]).reshape(len(member), -1)
        return cls(scores, member, {"images": ~canary, "canaries": canary}, starts)

    def of_group(self, attack: str, group: str) -> NDArray[Any]:
        """Return scores and membership of each image of a group, (A, 2, S)."""
        chosen = self.groups[group]
        return np.stack([self.scores[attack].T[chosen], self.member.T[chosen].astype(float)], 1)

    def found_starts(self, rate: float) -> float:
        """Share of the starts of each split that are nearer than all but a share of its images that are no members."""
        own = self.groups["images"]
        shares = [
            true_positives(near, scores[own & ~inside], rate)
            for near, scores, inside in zip(self.starts, self.scores["distance"], self.member, strict=True)
        ]
        return float(np.mean(shares))


def _found(summaries: Sequence[Summary], attack: str, group: str, end: str, alone: bool) -> dict[str, Measure]:
    """The measures of an attack on a group, with intervals over seeds, or of one seed over its images."""
    found = dict[str, Measure]()
    for name, statistic in STATISTICS.items():
        if name == "tpr_01" and group == "canaries":
            continue
        rows = [summary.of_group(attack, group) for summary in summaries]
        values = [statistic(own) for own in rows]
        measure = Measure.over(values, "seeds")
        if alone:
            count = len(rows[0])
            rare = name == "tpr_01"
            low, high = share_interval(values[0] * count, count) if rare else bootstrap_interval(rows[0], statistic)
            measure = Measure(values=values, of="seeds", low=min(low, values[0]), high=max(high, values[0]))
        found[f"{name}_{attack}{end}"] = measure
    return found


def _of(statistic: Callable[[Scores, Scores], float]) -> Callable[[NDArray[Any]], float]:
    """Make a statistic of members and others one of the rows of `Summary.of_group`."""

    def of(rows: NDArray[Any]) -> float:
        inside = rows[:, 1] > 0.5
        return statistic(rows[:, 0][inside], rows[:, 0][~inside])

    return of


STATISTICS = {
    "auc": _of(area),
    "tpr_1": _of(partial(true_positives, rate=0.01)),
    "tpr_01": _of(partial(true_positives, rate=0.001)),
}


def _curves(summaries: Sequence[Summary]) -> Series:
    """True over false positives of each attack, in the mean over seeds."""
    columns: dict[str, list[float] | list[str]] = {"false_positives": list(RATES)}
    for attack in summaries[0].scores:
        rows = [summary.of_group(attack, "images") for summary in summaries]
        columns[attack] = [
            float(np.mean([_of(partial(true_positives, rate=rate))(own) for own in rows])) for rate in RATES
        ]
    return Series(columns=columns)


def _nearest(images: Tensor, distilled: Tensor) -> list[float]:
    """Distance of each image to the nearest distilled one, (N,)."""
    found: list[float] = torch.cdist(images.flatten(1).double(), distilled.flatten(1).double()).amin(1).tolist()
    return found
