"""Plain gradient descent from fresh weights, the same for distilled and for real images, as Yang et al. train.

Yang, Zhu, Deng & Russakovsky, "What is Dataset Distillation Learning?", ICML 2024, arXiv 2406.04284: SGD at 0.01 with
momentum 0.9, neither decay nor augmentation, 300 steps. Batches here have at most 256 images.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import Weights
from ddbench.compute.generators import derive_seed, seeded
from ddbench.networks import InitialWeights
from ddbench.networks.running import RunningStatistics
from ddbench.task.settings import SETTINGS

if TYPE_CHECKING:
    from ddbench.analyses.subject import Subject
    from ddbench.evaluation.trainer import ImageEvaluator

STEPS, BATCH, LR, MOMENTUM = 300, 256, 0.01, 0.9
Batches = Iterator[tuple[Tensor, Tensor]]
"""images (B, C, H, W), preprocessed, and their labels, step after step without end"""
Draw = Callable[[int], tuple[Tensor, Tensor]]
"""function from an epoch to its images (N, C, H, W) and labels (N, ...)"""


def descend(
    evaluator: ImageEvaluator,
    number: int,
    batches: Callable[[torch.Generator], Batches],
    kind: str,
    kept: Collection[int],
) -> list[Weights]:
    """The weights, in evaluation mode, of one network after each of the steps `kept`, ascending.

    Its start and the order of its batches follow from the data, the architecture and its number alone.

    Args:
        evaluator: its architecture is trained
        number: which start
        batches: makes the batches, from a generator on the CPU
        kind: of the labels, see `LabelKind`
    """
    generator = seeded(derive_seed("reference", evaluator.data.digest, evaluator.network, number))
    fresh = InitialWeights(evaluator.module)(generator)
    weights = {name: weight.to(evaluator.device, copy=True) for name, weight in fresh.items()}
    optimizer = torch.optim.SGD(weights.values(), lr=LR, momentum=MOMENTUM)
    statistics, drawn, found = RunningStatistics(evaluator.module), batches(generator), list[Weights]()
    for step in range(max(kept) + 1):
        if step in kept:
            found.append({name: weight.detach().clone() for name, weight in statistics.fold(weights).items()})
        if step == max(kept):
            break
        images, labels = next(drawn)
        statistics.update(weights, images)
        slope, _ = evaluator.chunks.gradient(evaluator.gradients[kind], weights, images, labels)
        for name, weight in weights.items():
            weight.grad = slope[name]
        optimizer.step()
    return found


def shuffled(draw: Draw, generator: torch.Generator, left_out: range = range(0)) -> Batches:
    """Epoch after epoch in random order; images left out change nothing of the order of the others."""
    epoch = 0
    while True:
        images, labels = draw(epoch)
        order = torch.randperm(len(labels), generator=generator)
        order = order[(order < left_out.start) | (order >= left_out.stop)]
        for chosen in order.split(BATCH):
            positions = chosen.to(images.device, non_blocking=True)
            yield images[positions], labels[positions]
        epoch += 1


def draw_of(artifact: DistilledDataset, device: torch.device, generator: torch.Generator) -> Draw:
    """What an artefact gives each epoch, on the device; decoded anew only where its decoder is `fresh`."""
    first = [part.to(device) for part in artifact.decode(0, generator)]

    def draw(epoch: int) -> tuple[Tensor, Tensor]:
        found = [part.to(device) for part in artifact.decode(epoch, generator)] if epoch and fresh else first
        return found[0], found[1]

    fresh = artifact.decoder.fresh
    return draw


def refusal(subject: Subject) -> str | None:
    """Return why an artefact cannot be trained on plainly with images added or left out; None where it can."""
    setting = subject.references.origin.setting
    if not SETTINGS[setting].starts_fresh:
        return f"setting {setting}: its images are for networks that do not start from fresh weights"
    if subject.artifact.recipe.order is not None:
        return "its recipe names the images of each step, which has no place for others"
    if subject.artifact.label_kind == "targets":
        return "its labels are numbers of a regression, which real images do not have"
    return None
