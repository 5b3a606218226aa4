"""Test images that analyses try what takes long on: as many of each class as of any other."""

from __future__ import annotations

from torch import Tensor

from ddbench.analyses.subject import Subject
from ddbench.data.balanced import stratified


def balanced_sample(subject: Subject, count: int) -> tuple[Tensor, Tensor]:
    """Return test images, (N, C, H, W) uint8, and their labels; the first n of them are such a sample, too."""
    labels = subject.data.test_labels
    chosen = stratified(labels.cpu(), count, subject.generator("images")).to(labels.device)
    return subject.data.test_images[chosen], labels[chosen]
