"""What an analysis gets: an artefact, its data, the networks that learn from it, and generators that all share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ddbench.analyses.references import References
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import Weights
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data import Dataset, Transform
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.networks import InitialWeights
from ddbench.networks.part import Part
from ddbench.records.cell import NetworkSpec
from ddbench.task.settings.base import share

MOST_IMAGES = 10_000
"""images of an artefact that are looked at, at most"""


@dataclass(frozen=True)
class Subject:
    """An artefact to be analysed.

    Args:
        artifact: the distilled set
        evaluator: trains networks on it, as its protocol says; its data's test split is what is measured on
        networks: how many networks the protocol trains
        references: networks trained on real data in its place
        analysis: name of the analysis that asks, of which generators depend
        report: told the share of the work that is done
        known: networks that are trained already, by number; analyses of one artefact share them
    """

    artifact: DistilledDataset
    evaluator: ImageEvaluator
    networks: int
    references: References
    analysis: str = ""
    report: Callable[[float], None] = lambda share: None
    known: dict[int, Weights] = field(default_factory=dict, repr=False)

    @property
    def data(self) -> Dataset:
        return self.evaluator.data

    @property
    def transform(self) -> Transform:
        """The artefact's preprocessing, of uint8 images; its `of_pixels` is differentiable."""
        return self.evaluator.transform

    @property
    def device(self) -> torch.device:
        return self.evaluator.device

    @property
    def protocol(self) -> Protocol:
        return self.evaluator.protocol

    @property
    def network(self) -> NetworkSpec:
        return self.evaluator.network

    def asked_by(self, analysis: str, report: Callable[[float], None]) -> Subject:
        return replace(self, analysis=analysis, report=report)

    def generator(self, name: str, replicate: int = 0) -> torch.Generator:
        """A generator on the CPU that is the same for every artefact of these data and this network.

        Methods are no part of its key, so that all artefacts meet the same probes and differences are paired.
        """
        return seeded(derive_seed("analysis", self.analysis, self.data.digest, self.network, replicate, name))

    def decoded(self) -> tuple[Tensor, Tensor]:
        """Images of one epoch as networks see them, (M, C, H, W), and labels; of more than `MOST_IMAGES`, some."""
        images, labels = self.artifact.decode(0, self.generator("decode"))
        if len(labels) > MOST_IMAGES:
            chosen = torch.randperm(len(labels), generator=self.generator("chosen"))[:MOST_IMAGES].sort().values
            images, labels = images[chosen], labels[chosen]
        return images.to(self.device), labels.to(self.device)

    def fresh(self, number: int) -> Weights:
        """Weights of a network that has learned nothing, without history."""
        drawn = InitialWeights(self.evaluator.module)(self.generator("fresh", number))
        return {name: weight.to(self.device) for name, weight in drawn.items()}

    def trained_on_real(self, number: int) -> Weights:
        """Weights at the end of a trajectory on real images; all artefacts and analyses share them."""
        return list(self.references.trajectory(number).values())[-1]

    def features(self, weights: Weights, images: Tensor) -> Tensor:
        """What the classifier of a network reads, (N, F), without history, for preprocessed images."""
        part = Part(self.evaluator.module, "embed")
        return self.evaluator.chunks.map(lambda chunk: part(weights, chunk), images)

    def trained(self) -> Iterator[Weights]:
        """Yield the protocol's networks, trained on the artefact as scoring does; each is trained once."""
        for number in range(self.networks):
            if number not in self.known:
                self.known[number] = self._train(number)
            self.report(number / self.networks)
            yield self.known[number]

    def _train(self, number: int) -> Weights:
        def progress(share: float) -> None:
            self.report((number + share) / self.networks)

        return self.evaluator.reporting(progress).train(self.artifact, number)

    def test_logits(self, weights: Weights) -> Tensor:
        """Logits of a network for all test images, (N, K) float64."""
        return self.logits(weights, self.data.test_images)

    def test_accuracy(self, weights: Weights) -> float:
        return share(self.test_logits(weights).argmax(1) == self.data.test_labels)

    def logits(self, weights: Weights, images: Tensor) -> Tensor:
        """Logits, (N, K) float64 without history, of a network for images (N, C, H, W) uint8."""

        def of(chunk: Tensor) -> Tensor:
            return self.evaluator.logits(weights, self.transform(chunk))

        return self.evaluator.chunks.map(of, images).double()

    def logits_of(self, weights: Weights, images: Tensor) -> Tensor:
        """Logits, as `logits`, for images (N, C, H, W) that went through `transform`."""
        return self.evaluator.chunks.map(lambda chunk: self.evaluator.logits(weights, chunk), images).double()
