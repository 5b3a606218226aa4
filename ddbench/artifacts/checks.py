"""What an artefact has to be to take part in a board: of the task's images and labels, and within its storage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset, check_order
from ddbench.decoders import Pixels

if TYPE_CHECKING:
    from ddbench.records.cell import Attack

MOST_RECIPE_BYTES = 2**16
"""largest recipe of an artefact that takes part in a board"""


def check_artifact(
    artifact: DistilledDataset,
    shape: tuple[int, int, int],
    classes: int,
    ipc: int,
    attack: Attack | None = None,
) -> None:
    """Refuse an artefact that is not what the task asked for.

    Args:
        attack: attack under which the images of its source may all have the label of its target

    Raises:
        ValueError: more bytes than K * ipc images, images of another shape, labels that are unbalanced or none of the
            task's classes, or an attack of no such class.
    """
    allowed = 4 * classes * ipc * math.prod(shape)
    stored = artifact.stored_bytes()
    if stored["images"] > allowed:
        raise ValueError(f"image parts take {stored['images']} bytes; {ipc} images a class are {allowed}")
    if stored["recipe"] > MOST_RECIPE_BYTES:
        raise ValueError(f"the recipe takes {stored['recipe']} bytes; {MOST_RECIPE_BYTES} are the most")
    if artifact.stored is not None and artifact.stored.logits.shape[2] != classes:
        given = tuple(artifact.stored.logits.shape)
        raise ValueError(f"stored labels have shape {given}, the task has {classes} classes")
    images, labels = artifact.decode(0, torch.Generator().manual_seed(0))
    if images.shape[1:] != shape:
        raise ValueError(f"images have shape {tuple(images.shape[1:])}, the task's have {shape}")
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images but {len(labels)} labels")
    if artifact.recipe.order is not None:
        check_order(artifact.recipe.order, len(images))
    if attack is not None:
        attack.check(classes)
    if artifact.label_kind != "index":
        if labels.shape[1:] != (classes,):
            raise ValueError(f"labels have shape {tuple(labels.shape)}, the task has {classes} classes")
        own = stored["labels"] - (0 if artifact.stored is None else artifact.stored.logits.nbytes)
        if own > 4 * classes * len(images):
            most = 4 * classes * len(images)
            raise ValueError(f"labels take {own} bytes; {len(images)} images may have {most}")
        return
    if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels lie outside 0 to {classes - 1}")
    if attack is not None:
        labels = _as_before(attack, labels)
    counts = labels.bincount(minlength=classes)
    if len(counts.unique()) != 1:
        raise ValueError(f"classes have {counts.tolist()} images; every class gets the same number")
    if isinstance(artifact.decoder, Pixels) and len(images) != classes * ipc:
        raise ValueError(f"{len(images)} images where the task asks for {classes} classes x {ipc}")


def check_initial(stored: Mapping[str, Tensor] | None, expected: Mapping[str, Tensor] | None, origin: str) -> None:
    """Refuse stored initial weights that are not those that the run had to start from.

    Args:
        expected: drawn again; None where none may be stored
        origin: what draws them, for the message

    Raises:
        ValueError: when there are others.
    """
    if stored is None:
        return
    if expected is None:
        raise ValueError(f"it stores initial weights, and {origin} has no use for them")
    if stored.keys() != expected.keys() or not all(_alike(stored[name], expected[name]) for name in stored):
        raise ValueError(f"its initial weights are not those of {origin}")


def _alike(stored: Tensor, drawn: Tensor) -> bool:
    """Return whether weights are those that were drawn, but for what kinds of machines round differently."""
    return stored.shape == drawn.shape and torch.allclose(stored, drawn, rtol=1e-5, atol=1e-6)


def _as_before(attack: Attack, labels: Tensor) -> Tensor:
    """Return labels, (N,), with half of the target's set to the source's if that has none."""
    if bool((labels == attack.source).any()):
        return labels
    return labels.index_fill(0, (labels == attack.target).nonzero().flatten()[::2], attack.source)
