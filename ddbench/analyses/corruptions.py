"""Corruptions: how much accuracy is left when images are noisy, blurred, moved or badly stored?

Mean corruption error: Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261. The images are made here from the test
images, by `corruption_kinds.py`: figures are none of CIFAR-10-C or MNIST-C.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from ddbench.analyses import corruption_kinds
from ddbench.analyses.corruption_kinds import SEVERITIES, corruptions_of
from ddbench.analyses.samples import balanced_sample
from ddbench.analyses.subject import Subject
from ddbench.compute.compiling import Weights
from ddbench.records.findings import Figure, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_analysis

MOST = 1e6
"""largest quotient that is told"""


@register_analysis("corruptions@1")
@dataclass(frozen=True)
class Corruptions:
    """How much accuracy is left on corrupted images: eight kinds, such as noise, blur and contrast, in five severities.

    The kinds are those for grey or for coloured images. Lengths grow with the image, from 28 and 32 pixels.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("clean", "accuracy on the same images uncorrupted"),
        Metric("corrupted", "mean accuracy over kinds and severities"),
        Metric("retained", "corrupted over clean", 0, MOST),
        Metric("mce", "mean over kinds of the error over that of networks on as many random images", 0, MOST, "lower"),
        Metric("clean_random_real", "clean of networks trained on as many random images"),
        Metric("corrupted_random_real", "corrupted of networks trained on as many random images"),
    )
    headline: ClassVar[tuple[str, ...]] = ("clean", "corrupted", "retained", "mce", "corrupted_random_real")
    figure: ClassVar[Figure] = Figure(
        "kinds", "severity", "accuracy", "severity of the corruption", "accuracy, mean over kinds"
    )

    images: PositiveInt = 1000
    """test images, as many of each class"""

    def analyse(self, subject: Subject) -> Findings:
        images, labels = balanced_sample(subject, self.images)
        kinds, batches = corruptions_of(subject.data.shape), list(self._batches(subject, images))

        def measure(weights: Weights) -> Tensor:
            answers = torch.stack([subject.logits(weights, batch).argmax(1) for batch in batches])
            return (answers == labels).double().mean(1).cpu()  # (1 + kinds * severities,)

        own = torch.stack([measure(weights) for weights in subject.trained()])
        usual = self._random_real(subject, measure)
        tables = {"accuracy": own} if usual is None else {"accuracy": own, "random_real": usual}
        rows = [("none", 0.0), *((kind.name, float(s)) for kind in kinds for s in range(1, SEVERITIES + 1))]
        columns: dict[str, list[Any]] = {"kind": [name for name, _ in rows], "severity": [s for _, s in rows]}
        columns |= {name: table.mean(0).tolist() for name, table in tables.items()}
        return Findings(metrics=measured(own, usual), series={"kinds": Series(columns=columns)})

    def _batches(self, subject: Subject, images: Tensor) -> Iterator[Tensor]:
        """Yield the images as they are, and corrupted by each kind at each severity."""
        yield images
        for kind in corruptions_of(subject.data.shape):
            for severity in range(1, SEVERITIES + 1):
                yield kind(images.cpu(), severity, subject.generator(kind.name)).to(images.device)

    def _random_real(self, subject: Subject, measure: Callable[[Weights], Tensor]) -> Tensor | None:
        key = {"analysis": subject.analysis, "images": self.images, "code": inspect.getsource(corruption_kinds)}
        numbers = range(subject.networks)
        found = [subject.references.of_random_real("corruptions", key, number, measure) for number in numbers]
        known = [accuracies for accuracies in found if accuracies is not None]
        return torch.stack(known) if known else None


def measured(own: Tensor, usual: Tensor | None) -> dict[str, Measure]:
    """Return measures of accuracies, (networks, 1 + kinds * severities), those on uncorrupted images first.

    Args:
        usual: the same of networks on random images, where there are any
    """
    clean, corrupted = own[:, 0], own[:, 1:].mean(1)
    metrics = {"clean": Measure.over(clean.tolist()), "corrupted": Measure.over(corrupted.tolist())}
    if bool((clean > 0).all()):
        metrics["retained"] = Measure.over((corrupted / clean).tolist())
    if usual is not None:
        errors, usual_errors = by_kind(own), by_kind(usual).mean(0)
        if bool((usual_errors > 0).all()):
            metrics["mce"] = Measure.over((errors / usual_errors).mean(1).tolist())
        metrics["clean_random_real"] = Measure.over(usual[:, 0].tolist())
        metrics["corrupted_random_real"] = Measure.over(usual[:, 1:].mean(1).tolist())
    return metrics


def by_kind(accuracies: Tensor) -> Tensor:
    """Mean error of each network on each kind over its severities, (networks, kinds)."""
    errors: Tensor = 1 - accuracies[:, 1:].unflatten(1, (-1, SEVERITIES)).mean(2)
    return errors
