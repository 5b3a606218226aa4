"""Differentiable siamese augmentation: real and synthetic images of a class under one draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.data.augmentation import Draw

if TYPE_CHECKING:
    from ddbench.task.task import Task

MIXES_CHANNELS = ("color",)
"""operations that do not treat each channel alike"""
ROUNDS_OTHERWISE = ("rotate",)
"""operations whose matrix product rounds otherwise for several classes; a CPU gives the same bytes as ever"""


def siamese_by_class(task: Task, real: list[Tensor], synthetic: Tensor) -> tuple[list[Tensor], Tensor]:
    """Augment both batches, each class by an operation of its own; classes of one operation are augmented together.

    Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, arXiv 2102.08259.

    Args:
        real: images of each class, (n_c, C, H, W)
        synthetic: (K * m, C, H, W), class by class
    """
    generator = task.generator("augment", device="cpu")
    draws = [task.augmentation.draw(own.shape, generator, shared=True) for own in real]
    own_real, own_synthetic = dict[int, Tensor](), dict[int, Tensor]()
    chunks = synthetic.chunk(task.classes)
    for operation in dict.fromkeys(draw.operation for draw in draws):
        classes = [c for c, draw in enumerate(draws) if draw.operation == operation]
        uniforms = [draws[c].uniforms for c in classes]
        own_real |= zip(classes, _together(task, operation, uniforms, [real[c] for c in classes]), strict=True)
        own_synthetic |= zip(classes, _together(task, operation, uniforms, [chunks[c] for c in classes]), strict=True)
    return [own_real[c] for c in range(len(real))], torch.cat([own_synthetic[c] for c in range(len(chunks))])


def _together(task: Task, operation: str, uniforms: list[Tensor], images: list[Tensor]) -> list[Tensor]:
    """Augment the images of several classes, each class with its own numbers, (1, 3), in one call where that may be."""
    counts = [len(own) for own in images]
    if operation in ROUNDS_OTHERWISE and images[0].device.type == "cpu":
        pairs = zip(images, uniforms, strict=True)
        return [task.augmentation.apply(own, Draw(operation, numbers)) for own, numbers in pairs]
    if min(counts) < max(counts) or operation in MIXES_CHANNELS:
        numbers = torch.cat([own.expand(count, -1) for own, count in zip(uniforms, counts, strict=True)])
        return list(task.augmentation.apply(torch.cat(images), Draw(operation, numbers)).split(counts))
    folded = torch.stack(images).flatten(1, 2)  # (classes, n * C, H, W): one place of every pixel for a class
    made = task.augmentation.apply(folded, Draw(operation, torch.cat(uniforms)))
    return list(made.unflatten(1, (counts[0], -1)).unbind())


def siamese(task: Task, real: Tensor, synthetic: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment both batches, of any sizes, by the same operation with the same strength.

    Args:
        real: (N, C, H, W)
        synthetic: (M, C, H, W)
        generator: on the CPU
    """
    draw = task.augmentation.draw(real.shape, generator, shared=True)
    return task.augmentation.apply(real, draw), task.augmentation.apply(synthetic, draw)
