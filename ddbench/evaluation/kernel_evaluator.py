"""Kernel ridge regression on an artefact, and its accuracy on the test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute import host
from ddbench.compute.generators import seeded
from ddbench.data import Dataset, Transform
from ddbench.evaluation.kernel_protocol import KernelProtocol
from ddbench.evaluation.labelling import check_labels_of_images
from ddbench.evaluation.modality import Evaluator
from ddbench.evaluation.selection import select
from ddbench.families.kernels.named import KERNELS
from ddbench.families.kernels.regression import coefficients, exact, targets_of
from ddbench.families.kernels.tangent import TangentKernel
from ddbench.records.cell import NetworkSpec
from ddbench.records.schema import Score
from ddbench.task.settings.base import share

if TYPE_CHECKING:
    from ddbench.evaluation.protocols import AnyProtocol, Protocol

FEWEST, MOST = 32, 1000
"""test images that are predicted at a time"""


@dataclass(frozen=True)
class KernelPredictor:
    """A regression that is solved."""

    kernel: TangentKernel
    images: Tensor
    """(n, C, H, W) float64"""
    coefficients: Tensor
    """(n, K)"""

    def __call__(self, images: Tensor) -> Tensor:
        """Predict what preprocessed images, (N, C, H, W), are answered with, (N, K) float64."""
        return self.kernel(exact(images), self.images) @ self.coefficients

    @property
    def chunk(self) -> int:
        """How many images to predict at a time: a block of the kernel, but not so few that blocks repeat much."""
        return min(MOST, max(FEWEST, self.kernel.pairs(self.images) // len(self.images)))


@dataclass(frozen=True)
class KernelEvaluator:
    """Solves a regression on artefacts and tests it. No network is trained, and nothing depends on a seed.

    Args:
        data: its test split is scored on; lies on `device`
        transform: the artefact's preprocessing, fitted
        protocol: kernel and regulariser
        network: what the cell says, for the score; nothing depends on it
        device: where
        training: gives what scores by training a network under another protocol, on the same data
        held_out: a data set whose test split is training images that no method saw
        report: told the share of the test images that are predicted
    """

    data: Dataset
    transform: Transform
    protocol: KernelProtocol
    network: NetworkSpec
    device: torch.device
    training: Callable[[NetworkSpec, Protocol], Evaluator]
    held_out: Dataset | None = None
    report: Callable[[float], None] = lambda share: None

    def reporting(self, report: Callable[[float], None]) -> KernelEvaluator:
        return replace(self, report=report)

    def under(self, network: NetworkSpec, protocol: AnyProtocol) -> Evaluator:
        if isinstance(protocol, KernelProtocol):
            return replace(self, network=network, protocol=protocol, held_out=None)
        return self.training(network, protocol).reporting(self.report)

    def starts_as(self, provenance: Mapping[str, Any]) -> bool:
        return True

    def train(self, artifact: DistilledDataset, seed: int = 0) -> KernelPredictor:
        """Solve the regression on an artefact; the seed has no effect."""
        check_labels_of_images(artifact)
        parts = {name: part.to(self.device, non_blocking=True) for name, part in artifact.parts.items()}
        images, labels = artifact.decoder.decode(parts, 0, seeded(0))  # (n, C, H, W), (n,) or (n, K)
        kernel, images = KERNELS[self.protocol.kernel], exact(images)
        targets = targets_of(labels, len(self.data.classes))
        return KernelPredictor(kernel, images, coefficients(kernel(images, images), targets, self.protocol.regulariser))

    def score(self, artifact: DistilledDataset, *, seed: int, short: bool = False) -> Score:
        """Solve the regression on an artefact and test it."""
        with torch.no_grad():
            predictor = self.train(artifact, seed)
            accuracy = self._accuracy(predictor, self.data)
            metrics = {}
            if self.held_out is not None:
                held_out = self._accuracy(predictor, self.held_out)
                selected = select([accuracy], [held_out])
                metrics = {"held_out": held_out, "validation": selected.validation, "oracle": selected.oracle}
        return Score(network=self.network, seed=seed, accuracy=accuracy, metrics=metrics)

    def _accuracy(self, predictor: KernelPredictor, data: Dataset) -> float:
        answers = list[Tensor]()
        for chunk in data.test_images.split(predictor.chunk):
            self.report(sum(map(len, answers)) / len(data.test_images))
            answers.append(predictor(self.transform(chunk)).argmax(1))
        return share(host.read(torch.cat(answers), "answers") == host.read(data.test_labels, "answers"))
