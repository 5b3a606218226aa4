"""Robustness: how much accuracy is left when pixels are changed on purpose, by so little that hardly anyone sees it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ddbench.analyses.attacks import Attacked, Pgd, auto, auto_attack, cross_entropy, fgsm, margin
from ddbench.analyses.samples import balanced_sample
from ddbench.analyses.subject import Subject
from ddbench.records.findings import Figure, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_analysis
from ddbench.task.settings.base import share

GREY, COLOUR = 0.1, 2 / 255
"""headline eps of grey images, as MNIST, and of coloured ones, as CIFAR-10"""
GREY_CURVE, COLOUR_CURVE = (0.0, 0.5, 1.0, 2.0, 3.0), (0.0, 0.5, 1.0, 2.0, 4.0)
"""bounds of the curves in units of the headline eps"""
HEADLINE = 2
"""place of the headline eps among them"""
PGD, MARGIN = Pgd(cross_entropy, steps=20), Pgd(margin, steps=50)


@register_analysis("robustness@1")
@dataclass(frozen=True)
class Robustness:
    """How much accuracy is left when each pixel may change by eps: 0.1 of grey images, 2/255 of coloured ones.

    The error that attacks find is a lower bound of what an adversary can cause: the accuracy that is left is no
    certificate, and a stronger attack may take it. Flat logits look robust: read `robust` against `clean`.
    """

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("clean", "accuracy on the same images unchanged"),
        Metric("fgsm", "accuracy under one step along the sign of the gradient"),
        Metric("pgd", "accuracy under 20 steps of projected gradient descent on the cross-entropy from a random start"),
        Metric("margin", "accuracy under 50 such steps on the margin of the largest other logit over the label's"),
        Metric(
            "robust", "accuracy under the worst of these attacks on each image: no certificate, others may find more"
        ),
        Metric("retained", "robust over clean"),
        Metric("area", "mean over eps from 0 to the largest of the curve of the accuracy under attack, over clean"),
        Metric("auto", "accuracy under AutoAttack on the first of these images"),
    )
    headline: ClassVar[tuple[str, ...]] = ("clean", "fgsm", "pgd", "robust", "retained", "area", "auto")
    figure: ClassVar[Figure] = Figure("curve", "eps", "accuracy", "largest change of a pixel", "robust accuracy")

    images: PositiveInt = 500
    """test images, as many of each class"""
    eps: Annotated[float, Field(gt=0, le=1)] | None = None
    """largest change of a pixel in [0, 1]; None takes 0.1 for grey images and 2/255 for coloured ones"""
    attacks: Literal["pgd", "auto"] = "pgd"
    """`auto` adds AutoAttack, which takes about a core-second an image and network"""
    auto_images: PositiveInt = 100
    """images that AutoAttack is tried on"""

    def analyse(self, subject: Subject) -> Findings:
        if self.attacks == "auto":
            auto_attack()
        images, labels = balanced_sample(subject, self.images)
        pixels, measured, curves = images.float() / 255, list[dict[str, float]](), list[Tensor]()
        eps, factors = (GREY, GREY_CURVE) if pixels.shape[1] == 1 else (COLOUR, COLOUR_CURVE)
        bounds = [(self.eps or eps) * factor for factor in factors]
        for number, weights in enumerate(subject.trained()):
            start = 2 * torch.rand(pixels.shape, generator=subject.generator("start", number)) - 1
            network = Attacked(subject, weights)
            found, curve = attacked(network, pixels, labels, bounds, start.to(pixels.device))
            if self.attacks == "auto":
                few, own = pixels[: self.auto_images], labels[: self.auto_images]
                found["auto"] = share(network.right(auto(network, few, own, bounds[HEADLINE]), own))
            measured.append(found)
            curves.append(curve)
        known = [name for name in measured[0] if all(name in found for found in measured)]
        columns = dict(zip(("accuracy", "fgsm", "pgd"), torch.stack(curves).mean(0).T.tolist(), strict=True))
        return Findings(
            metrics={name: Measure.over([found[name] for found in measured]) for name in known},
            series={"curve": Series(columns={"eps": bounds, **columns})},
        )


def attacked(
    network: Attacked, pixels: Tensor, labels: Tensor, bounds: Sequence[float], start: Tensor
) -> tuple[dict[str, float], Tensor]:
    """Attack within each of the bounds, of which the first is 0.

    Returns:
        The measures of the network, and its accuracy under the worst attack, fgsm and pgd by bound, (bounds, 3).
    """
    clean, rows = network.right(pixels, labels), list[list[float]]()
    for place, eps in enumerate(bounds):
        one = clean & network.right(fgsm(network, pixels, labels, eps), labels) if eps else clean
        many = clean & network.right(PGD(network, pixels, labels, eps, start), labels) if eps else clean
        worst = one & many
        if place == HEADLINE:
            aimed = clean & network.right(MARGIN(network, pixels, labels, eps, start), labels)
            worst &= aimed
        rows.append([share(worst), share(one), share(many)])
    robust, *others = rows[HEADLINE]
    found = {"clean": share(clean), **dict(zip(("fgsm", "pgd"), others, strict=True))}
    found |= {"margin": share(aimed), "robust": robust}
    curve = torch.tensor(rows, dtype=torch.float64)
    if found["clean"] > 0:
        widths = torch.tensor(bounds, dtype=torch.float64) / bounds[-1]
        found["retained"] = robust / found["clean"]
        found["area"] = float(torch.trapezoid(curve[:, 0] / found["clean"], widths))
    return found, curve
