"""How a network comes of an artefact, or of all training data: gradient descent under a protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind
from ddbench.artifacts.recipe import Recipe
from ddbench.compute.compiling import Weights
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data.augmentation import Augmentation, cutmix
from ddbench.errors import UserError
from ddbench.evaluation.augmentations import AUGMENTATIONS
from ddbench.evaluation.averaging import WeightAverage
from ddbench.evaluation.labelling import epochs, given_kind, teacher_of
from ddbench.evaluation.losses import check_labels
from ddbench.evaluation.mixing import mixup
from ddbench.evaluation.schedule import Schedule, schedule_of
from ddbench.evaluation.selection import moments
from ddbench.networks import InitialWeights
from ddbench.networks.running import RunningStatistics

if TYPE_CHECKING:
    from ddbench.evaluation.trainer import ImageEvaluator


@dataclass(frozen=True)
class Course:
    """What the training of one network consists of: where it starts, its step sizes and its batches."""

    weights: Weights
    schedule: Schedule
    batches: Iterator[tuple[Tensor, Tensor]]
    """images (N, C, H, W) and labels of each step, without end"""
    kind: str
    """kind of the labels"""


def train_by_descent(
    evaluator: ImageEvaluator, artifact: DistilledDataset, seed: int, short: bool = False, readings: int = 1
) -> Iterator[Weights]:
    """The seed's network, trained step by step: its weights at evenly spaced moments, the last at the end.

    They are those of the network in evaluation mode.

    What is yielded changes in place as the training goes on.
    """
    yield from descend(evaluator, course_on(evaluator, artifact, seed, short), readings)


def course_on(evaluator: ImageEvaluator, artifact: DistilledDataset, seed: int, short: bool = False) -> Course:
    """The training of the seed's network on an artefact."""
    protocol, taught = evaluator.protocol, artifact.teacher is not None
    check_labels(protocol, "logits" if taught else given_kind(artifact))
    generator = seeded(derive_seed("evaluate", protocol.name, evaluator.network, seed))
    weights = _initial(evaluator, artifact, seed, generator)
    count = len(artifact.decode(0, seeded(0))[1])
    schedule = schedule_of(protocol, artifact.recipe, count, short)
    # Images that labels are stored of are augmented already.
    augmentation = AUGMENTATIONS["none" if artifact.stored else protocol.augmentation](evaluator.data.name)
    mixes = augmentation.mixes or protocol.mixup > 0 or protocol.cutmix > 0
    kind = _trained_kind(mixes, given_kind(artifact))
    batches = _batches(evaluator, artifact, schedule, augmentation, kind, generator)
    return Course(weights, schedule, batches, "logits" if taught else kind)


def train_on_all_data(
    evaluator: ImageEvaluator, artifact: DistilledDataset, seed: int, short: bool = False, readings: int = 1
) -> Iterator[Weights]:
    """The seed's network, trained on the training images themselves, whatever the artefact."""
    protocol, data = evaluator.protocol, evaluator.data
    generator = seeded(derive_seed("evaluate", protocol.name, evaluator.network, seed))
    weights = _initial(evaluator, artifact, seed, generator)
    schedule = schedule_of(protocol, Recipe(), len(data.train_labels), short)
    augmentation = AUGMENTATIONS[protocol.augmentation](data.name)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for chosen in torch.randperm(len(data.train_labels), generator=generator).split(protocol.batch_size):
                positions = chosen.to(evaluator.device, non_blocking=True)
                images = evaluator.transform(data.train_images[positions])
                yield augmentation.apply(images, generator), data.train_labels[positions]

    yield from descend(evaluator, Course(weights, schedule, batches(), "index"), readings)


TRAINERS = {"train": train_by_descent, "full_data": train_on_all_data}
"""how a network comes of an artefact, by the protocol's kind"""


def descend(evaluator: ImageEvaluator, course: Course, readings: int = 1) -> Iterator[Weights]:
    """Train in place; yield the weights of evaluation mode at evenly spaced moments, the last at the end."""
    weights, schedule = course.weights, course.schedule
    optimizer, gradient = optimizer_of(weights, schedule), evaluator.gradients[course.kind]
    statistics, average = RunningStatistics(evaluator.module), WeightAverage(schedule.average)
    read = moments(len(schedule.lrs), readings)
    for step, lr in enumerate(schedule.lrs):
        evaluator.report(step / len(schedule.lrs))
        if step == schedule.drop:
            optimizer = optimizer_of(weights, schedule)
        optimizer.param_groups[0]["lr"] = lr
        images, labels = next(course.batches)
        statistics.update(weights, images)
        found, _ = evaluator.chunks.gradient(gradient, weights, images, labels)
        for name, weight in weights.items():
            weight.grad = found[name]
        optimizer.step()
        average.update(weights)
        if step + 1 in read:
            yield statistics.fold(average.of(weights))


def _initial(evaluator: ImageEvaluator, artifact: DistilledDataset, seed: int, generator: torch.Generator) -> Weights:
    fresh = InitialWeights(evaluator.module)(generator)
    start = evaluator.start(artifact, seed)
    if start is None:
        return {name: weight.to(evaluator.device, copy=True) for name, weight in fresh.items()}
    ours, theirs = ({name: (w.shape, w.dtype) for name, w in own.items()} for own in (fresh, start))
    if ours != theirs:
        raise UserError("the artefact's initial weights are of another network; score it with the one it names")
    return start


def optimizer_of(weights: Weights, training: Schedule) -> torch.optim.Optimizer:
    """The optimiser of a training, before its first step; networks that are stacked in a tensor share one."""
    lr, decay = training.lrs[0], training.weight_decay
    if training.optimizer == "adam":
        return torch.optim.Adam(weights.values(), lr=lr, weight_decay=decay)
    if training.optimizer == "adamw":
        return torch.optim.AdamW(weights.values(), lr=lr, weight_decay=decay)
    return torch.optim.SGD(weights.values(), lr=lr, momentum=training.momentum, weight_decay=decay)


def _batches(
    evaluator: ImageEvaluator,
    artifact: DistilledDataset,
    schedule: Schedule,
    augmentation: Augmentation,
    kind: LabelKind,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch without end, in the learned order or shuffled; a teacher labels what is augmented and mixed.

    Args:
        kind: what labels are while training, before a teacher's
    """
    protocol, given, teacher = evaluator.protocol, given_kind(artifact), teacher_of(evaluator, artifact)
    for images, labels in epochs(evaluator, artifact, generator):
        for chosen in _indices(schedule.order, len(labels), protocol.batch_size, generator):
            positions = chosen.to(evaluator.device, non_blocking=True)
            batch, own = images[positions], labels[positions]
            batch = augmentation.apply(batch, generator)
            if kind != given:
                own = own.softmax(1) if own.ndim == 2 else F.one_hot(own, len(evaluator.data.classes)).to(batch.dtype)
            if augmentation.mixes:
                batch, own = cutmix(batch, own, generator)
            if protocol.mixup:
                batch, own = mixup(batch, own, protocol.mixup, generator)
            if protocol.cutmix:
                batch, own = cutmix(batch, own, generator, protocol.cutmix)
            yield batch, own if teacher is None else teacher(batch)


def _indices(order: Tensor | None, count: int, batch_size: int, generator: torch.Generator) -> Iterable[Tensor]:
    return order if order is not None else torch.randperm(count, generator=generator).split(batch_size)


def _trained_kind(mixes: bool, kind: LabelKind) -> LabelKind:
    """What labels are while training: mixed classes are probabilities."""
    return "probabilities" if mixes and kind in ("index", "logits") else kind
