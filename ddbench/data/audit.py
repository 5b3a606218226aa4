"""Training images whose membership is audited: each is in a half of several splits of the training set, by chance.

Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022, arXiv 2112.03570, draw their splits so.
Zhao & Zhang, ICLR 2025, arXiv 2502.12976, audit distilled data with mislabelled canaries, too: images that a network
has no reason to answer as they are labelled but for having seen them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddbench.compute.generators import derive_seed, seeded
from ddbench.data.balanced import stratified
from ddbench.data.dataset import Dataset
from ddbench.errors import UserError

NAMED = re.compile(
    r"audited\((?P<split>\d{1,4}) of (?P<splits>\d{1,4}), images=(?P<images>\d{1,6}), "
    r"canaries=(?P<canaries>\d{1,6}), seed=(?P<seed>\d{1,9})\)"
)


@dataclass(frozen=True)
class Design:
    """How an audit is laid out; with the data set it decides the audit.

    Args:
        splits: how many, an even number
        images: audited images with their own labels
        canaries: audited images with labels of other classes
        seed: of all draws
    """

    splits: int
    images: int
    canaries: int
    seed: int

    def name(self, split: int) -> str:
        """Return the name of a split's training set, as digests end in it."""
        rest = f"images={self.images}, canaries={self.canaries}, seed={self.seed}"
        return f"audited({split} of {self.splits}, {rest})"

    def check(self, data: Dataset) -> None:
        """Raise UserError, which names the value and the fix, where the data set does not hold the audit."""
        audited, held = self.images + self.canaries, len(data.train_labels)
        if self.splits < 4 or self.splits % 2:
            raise UserError(
                f"{self.splits} splits do not have each image in a half of them; set splits to 4, 6, 8, ..."
            )
        if 2 * audited > held:
            raise UserError(
                f"{audited} audited images are more than half of the {held} training images of {data.name}; set "
                "images and canaries to less"
            )


@dataclass(frozen=True)
class Audit:
    """What is audited, A images: first those with their own labels, then canaries.

    Args:
        positions: among the training images, (A,)
        labels: with which they are in the training sets, (A,)
        canary: true where that is a wrong one, (A,)
        member: true where an image is in a split's training set, (S, A); each image is in half of the splits
    """

    positions: Tensor
    labels: Tensor
    canary: Tensor
    member: Tensor

    @classmethod
    def of(cls, data: Dataset, design: Design) -> Audit:
        """Lay out an audit, on the CPU.

        Raises:
            UserError: where the data set does not hold it.
        """
        design.check(data)
        generator = seeded(derive_seed("audit", data.digest, design.images, design.canaries, design.seed))
        labels, count = data.train_labels.cpu(), design.images + design.canaries
        positions = stratified(labels, count, generator)
        canary = torch.arange(count) >= design.images
        away = torch.randint(1, len(data.classes), (count,), generator=generator)
        given = torch.where(canary, (labels[positions] + away) % len(data.classes), labels[positions])
        place = torch.rand(design.splits, count, generator=generator).argsort(0).argsort(0)  # of each split, by image
        return cls(positions, given, canary, place < design.splits // 2)

    def training_set(self, data: Dataset, split: int) -> Dataset:
        """Return the data set as a split has it: audited images that are no members left out, canaries mislabelled."""
        device = data.train_labels.device
        kept, labels = torch.ones(len(data.train_labels), dtype=torch.bool), data.train_labels.clone()
        kept[self.positions[~self.member[split]]] = False
        labels[self.positions.to(device)] = self.labels.to(device)
        kept = kept.to(device)
        return replace(data, train_images=data.train_images[kept], train_labels=labels[kept])


def audited(data: Dataset, named: re.Match[str]) -> Dataset:
    """Return the training set of a split, as `Design.name` names it.

    Raises:
        UserError: where there is no such split, or the data set does not hold the audit.
    """
    said = {name: int(value) for name, value in named.groupdict().items()}
    split = said.pop("split")
    if split >= said["splits"]:
        raise UserError(f"no split {split} of {said['splits']}; splits are 0 to {said['splits'] - 1}")
    return Audit.of(data, Design(**said)).training_set(data, split)
