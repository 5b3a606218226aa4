"""Influence: which test images does a distilled image help, and would another start say the same?

Yang, Zhu, Deng & Russakovsky, "What is Dataset Distillation Learning?", ICML 2024, arXiv 2406.04284, look at the test
images that a distilled image influences most, for one set and one start. Here each image is left out in earnest, and
several starts show how much of what is seen is chance.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor

from ddbench.analyses.plain_training import STEPS, draw_of, refusal, shuffled
from ddbench.analyses.subject import Subject
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.records.findings import Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_analysis
from ddbench.stats import spearman

HELPED = 9
"""test images that are looked at, those that an image helps most"""
RELIABLE = 0.3
"""correlation between starts below which no test images are listed"""
NOTHING_LEFT = "every class has one stored image, and leaving it out removes the class"


@register_analysis("influence@1")
@dataclass(frozen=True)
class Influence:
    """What leaving a stored image out does to the loss of each test image, and how well two starts agree on that.

    Test images are listed for images alone on which starts agree. Intervals are bootstrapped over images.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("own_class", f"share of the {HELPED} test images helped most that are of the image's class"),
        Metric("chance", "what own_class is for images without influence, 1 / K"),
        Metric("reliability", "rank correlation, between starts, of the influence on test images", -1, 1),
        Metric("reliable", f"share of images with a reliability of at least {RELIABLE}"),
        Metric("magnitude", "mean absolute change of a test image's loss, in nats", 0, 1e6),
    )
    headline: ClassVar[tuple[str, ...]] = ("own_class", "reliability", "magnitude")

    images: PositiveInt = 20
    """stored images that are left out, one at a time"""
    starts: Annotated[int, Field(ge=2)] = 2
    """networks for each of them"""
    steps: PositiveInt = STEPS
    """training steps of each"""

    def analyse(self, subject: Subject) -> Findings:
        why, labels = refusal(subject), stored_labels(subject.artifact)
        if labels is None:
            why = f"the images that decoder {subject.artifact.decoder.name} makes belong to no stored one"
        if why is not None or labels is None:
            return Findings(not_applicable=why)
        spared = torch.bincount(labels)[labels] > 1
        if not spared.any():
            return Findings(not_applicable=NOTHING_LEFT)
        order = torch.randperm(len(labels), generator=subject.generator("images"))
        chosen = order[spared[order]][: self.images]
        changes = torch.stack([self._changes(subject, chosen, number) for number in range(self.starts)])
        return found(changes, chosen, labels[chosen], subject.data.test_labels.cpu(), len(subject.data.classes))

    def _changes(self, subject: Subject, chosen: Tensor, number: int) -> Tensor:
        """How much the loss of each test image rises without each image, (images, M), for one start."""
        whole, rows = self._losses(subject, number, None), list[Tensor]()
        for place, image in enumerate(chosen.tolist()):
            rows.append(self._losses(subject, number, image) - whole)
            subject.report((number + (place + 1) / len(chosen)) / self.starts)
        return torch.stack(rows)

    def _losses(self, subject: Subject, number: int, image: int | None) -> Tensor:
        """The loss of each test image, (M,), of a network that learned without a stored image."""
        artifact, references = subject.artifact, subject.references
        draw = draw_of(artifact, subject.device, subject.generator("decoded", number))
        each = len(draw(0)[1]) // len(artifact.parts["labels"])
        left_out = range(0) if image is None else range(image * each, (image + 1) * each)
        (weights,) = references.plain(
            number, lambda generator: shuffled(draw, generator, left_out), artifact.label_kind, (self.steps,)
        )
        return F.cross_entropy(subject.test_logits(weights), subject.data.test_labels, reduction="none").cpu()


def stored_labels(artifact: DistilledDataset) -> Tensor | None:
    """The class of each stored image, (N,); None where the images made of one do not stand together."""
    stored, made = artifact.parts.get("labels"), artifact.decode(0, torch.Generator().manual_seed(0))[1]
    if stored is None or len(made) % len(stored):
        return None
    if not torch.equal(stored.repeat_interleave(len(made) // len(stored), 0), made):
        return None
    return stored.argmax(1) if stored.ndim == 2 else stored


def found(changes: Tensor, chosen: Tensor, labels: Tensor, truth: Tensor, classes: int) -> Findings:
    """What changes of losses say.

    Args:
        changes: how much the loss of each test image rises without each image, (starts, images, M)
        chosen, labels: position and class of each image, (images,)
        truth: labels of the test images, (M,)
    """
    helped = changes.mean(0).topk(min(HELPED, len(truth)), dim=1).indices  # (images, HELPED)
    own = (truth[helped] == labels[:, None]).double().mean(1).tolist()
    pairs = list(itertools.combinations(changes, 2))
    alike = [sum(alikeness(a[i], b[i]) for a, b in pairs) / len(pairs) for i in range(len(chosen))]
    metrics = {
        "own_class": Measure.resampled(own, "images"),
        "chance": Measure(values=[1 / classes], of="classes"),
        "reliability": Measure.resampled(alike, "images"),
        "reliable": Measure(values=[sum(value >= RELIABLE for value in alike) / len(alike)], of="shares"),
        "magnitude": Measure.resampled(changes.abs().mean((0, 2)).tolist(), "images"),
    }
    shown = [i for i, value in enumerate(alike) if value >= RELIABLE]
    if not shown:
        return Findings(metrics=metrics)
    columns = {"image": chosen[shown], "label": labels[shown], "reliability": torch.tensor(alike)[shown]}
    columns |= {f"helped_{place + 1}": column for place, column in enumerate(helped[shown].T)}
    listed = Series(columns={name: column.double().tolist() for name, column in columns.items()})
    return Findings(metrics=metrics, series={"helped": listed})


def alikeness(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of the influence from two starts; 0 where all numbers of one are equal."""
    found = spearman(one.tolist(), other.tolist())
    return 0.0 if found is None else found
