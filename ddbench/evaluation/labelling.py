"""Labels of a training for a score that are no part of the image: a teacher's answers, or those stored of epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind
from ddbench.data.augmentation import AUGMENTATIONS
from ddbench.errors import UserError
from ddbench.records.cell import NetworkSpec

if TYPE_CHECKING:
    from ddbench.evaluation.trainer import ImageEvaluator


def given_kind(artifact: DistilledDataset) -> LabelKind:
    """Return the kind of labels that an artefact's images come with."""
    return "logits" if artifact.stored is not None else artifact.label_kind


def check_labels_of_images(artifact: DistilledDataset) -> None:
    """Raise UserError where the images are labelled by something else than what is stored with each of them."""
    if artifact.label_source in ("stored", "teacher"):
        raise UserError(
            f"the artefact's label source is {artifact.label_source!r}, and this protocol reads the one label of each "
            "image or node; score it under a protocol that trains networks on images"
        )


def epochs(
    evaluator: ImageEvaluator, artifact: DistilledDataset, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images, (N, C, H, W), and labels of each epoch, without end; decoded anew only where that matters.

    Where labels of epochs are stored, the images are the augmented ones that they are of.
    """
    device, stored, epoch = evaluator.device, artifact.stored, 0
    parts = {name: part.to(device, non_blocking=True) for name, part in artifact.parts.items()}
    images, labels = artifact.decoder.decode(parts, epoch, generator)
    augment = None if stored is None else AUGMENTATIONS[stored.augmentation](evaluator.data.name).apply
    while True:
        if stored is None or augment is None:
            yield images, labels
        else:
            yield stored.images(augment, images, epoch), stored.labels(epoch).to(device, non_blocking=True)
        epoch += 1
        if artifact.decoder.fresh:
            images, labels = artifact.decoder.decode(parts, epoch, generator)


def teacher_of(evaluator: ImageEvaluator, artifact: DistilledDataset) -> Callable[[Tensor], Tensor] | None:
    """Return the function from a batch, (N, C, H, W), to the logits of the artefact's teacher, (N, K), if it has one.

    Raises:
        UserError: where the teacher's weights are of another network than the header names.
    """
    if artifact.teacher is None:
        return None
    named = artifact.provenance.get("network")
    network = evaluator.network if named is None else NetworkSpec.model_validate(named)
    teacher = evaluator.training(network, evaluator.protocol)
    wanted = {name: (own.shape, own.dtype) for name, own in teacher.module.named_parameters()}
    if wanted != {name: (own.shape, own.dtype) for name, own in artifact.teacher.items()}:
        raise UserError(f"the artefact's teacher is no {network}, which its header names; write it again")
    weights = {name: own.to(evaluator.device) for name, own in artifact.teacher.items()}
    return partial(teacher.chunks.map, partial(teacher.predict, weights))
