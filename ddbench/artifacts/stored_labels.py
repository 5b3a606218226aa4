"""Labels that an artefact stores for its augmented images, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ddbench.artifacts.recipe import freeze, kind_of
from ddbench.compute.generators import derive_seed, seeded

MOST_EPOCHS = 10**5
VIEWS = ("none", "dsa")
"""augmentations whose results can be labelled beforehand"""
MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class StoredLabels:
    """A network's answers for augmented images, with what makes the same augmented images again.

    Shen & Xing, "A Fast Knowledge Distillation Framework for Visual Recognition", ECCV 2022, arXiv 2112.01528. Here an
    epoch's images are augmented together, by one generator, and epochs begin anew after the last one.

    Args:
        logits: (E, N, K) float16, for each epoch and image
        augmentation: `dsa` or `none`, in place of that of a protocol
        seed: of the augmentation
    """

    logits: Tensor
    augmentation: str
    seed: int

    def images(self, augment: Callable[[Tensor, torch.Generator], Tensor], images: Tensor, epoch: int) -> Tensor:
        """Return the augmented images that the labels of an epoch are of, (N, C, H, W).

        Args:
            augment: the augmentation, (images, generator) -> images
            images: (N, C, H, W), decoded
        """
        return augmented(augment, images, self.seed, epoch % len(self.logits))

    def labels(self, epoch: int) -> Tensor:
        """Return the logits of an epoch, (N, K) float32."""
        return self.logits[epoch % len(self.logits)].float()

    def header(self) -> dict[str, Any]:
        """Return what a file's header says of them."""
        return {"augmentation": self.augmentation, "seed": self.seed}


def augmented(augment: Callable[[Tensor, torch.Generator], Tensor], images: Tensor, seed: int, epoch: int) -> Tensor:
    """Return the augmented images of an epoch, (N, C, H, W), which a seed decides."""
    return augment(images, seeded(derive_seed("stored labels", seed, epoch)))


def frozen_labels(stored: StoredLabels) -> StoredLabels:
    """Return checked labels in memory of the CPU.

    Raises:
        ValueError: when a part is not what it should be.
    """
    logits = freeze("stored", {"logits": stored.logits})["logits"]
    if logits.dtype != torch.float16 or logits.ndim != 3 or not 0 < len(logits) <= MOST_EPOCHS:
        wanted = f"(E, N, K) float16, of {MOST_EPOCHS} epochs at most"
        raise ValueError(f"stored labels are {kind_of(logits)}; they must be {wanted}")
    if stored.augmentation not in VIEWS:
        raise ValueError(f"stored labels are of augmentation {stored.augmentation!r}; known are {', '.join(VIEWS)}")
    if type(stored.seed) is not int or not 0 <= stored.seed <= MOST_SEED:
        raise ValueError(f"stored labels have the seed {stored.seed!r}; it must be a whole number from 0 to 2**63 - 1")
    return replace(stored, logits=logits)


def labels_of(header: Mapping[str, Any] | None, logits: Tensor | None) -> StoredLabels | None:
    """Return the stored labels of a file from its header's part and its tensor; None where it has none.

    Raises:
        ValueError: where it has one of the two.
    """
    if (header is None) != (logits is None):
        raise ValueError("it has labels of epochs without a header of theirs, or the other way round")
    if header is None or logits is None:
        return None
    return StoredLabels(logits, header["augmentation"], header["seed"])
