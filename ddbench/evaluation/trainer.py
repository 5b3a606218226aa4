"""The one training loop that scores: networks trained on an artefact, accuracy on the test set at the last step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind
from ddbench.compute import host
from ddbench.compute.compiling import Compiler, Weights
from ddbench.data import Dataset, Transform
from ddbench.evaluation.descent import TRAINERS
from ddbench.evaluation.kernel_evaluator import KernelEvaluator
from ddbench.evaluation.kernel_protocol import KernelProtocol
from ddbench.evaluation.losses import training_loss
from ddbench.evaluation.modality import Evaluator
from ddbench.evaluation.protocols import AnyProtocol, Protocol
from ddbench.evaluation.selection import READINGS, select
from ddbench.networks import Chunks, build_network
from ddbench.networks.running import RunningStatistics
from ddbench.records.cell import NetworkSpec
from ddbench.records.schema import Score
from ddbench.task.settings import Setting
from ddbench.task.settings.base import share

SHARED = ("module", "tested", "chunks", "gradients", "predict", "_answer")
"""what evaluators share that differ in whom they report to: among it what is compiled"""


@dataclass(frozen=True)
class ImageEvaluator:
    """Trains networks on artefacts under one protocol and tests them: everything a score depends on but the artefact.

    Args:
        data: its test split is scored on; lies on `device`
        transform: the artefact's preprocessing, fitted
        protocol: how networks are trained
        network: which architecture
        device: where
        setting: where networks start, and what is measured of them beside their accuracy
        compiler: makes training and testing fast; by default nothing is compiled
        held_out: a data set whose test split is training images that no method saw; networks are then read along their
            training, to say what selecting a reading would have given
        report: told the share of a training that is done, before every step
        others: evaluators of other networks and protocols on the same data, made by `training`
    """

    data: Dataset
    transform: Transform
    protocol: Protocol
    network: NetworkSpec
    device: torch.device
    setting: Setting
    compiler: Compiler = field(default_factory=Compiler)
    held_out: Dataset | None = None
    report: Callable[[float], None] = lambda share: None
    others: dict[tuple[str, str], ImageEvaluator] = field(default_factory=dict, repr=False)

    @cached_property
    def module(self) -> nn.Module:
        """The architecture; its own parameters are never used."""
        shape, classes = self.data.shape, len(self.data.classes)
        return build_network(self.network.name, shape, classes, self.network.parameters).to(self.device)

    @cached_property
    def tested(self) -> nn.Module:
        """The architecture in evaluation mode."""
        return deepcopy(self.module).eval()

    @cached_property
    def chunks(self) -> Chunks:
        return Chunks(self.module, self.data.shape)

    def forward(self, weights: Weights, images: Tensor) -> Tensor:
        """Logits, (N, K), of the network with these weights."""
        logits: Tensor = functional_call(self.module, weights, (images,))
        return logits

    def logits(self, weights: Weights, images: Tensor) -> Tensor:
        """Logits, (N, K), of a network in evaluation mode for preprocessed images; gradients pass through."""
        logits: Tensor = functional_call(self.tested, weights, (images,))
        return logits

    def reporting(self, report: Callable[[float], None]) -> ImageEvaluator:
        other = replace(self, report=report)
        vars(other).update({name: getattr(self, name) for name in SHARED})
        return other

    def under(self, network: NetworkSpec, protocol: AnyProtocol) -> Evaluator:
        if isinstance(protocol, KernelProtocol):
            place = self.data, self.transform, protocol, network, self.device
            return KernelEvaluator(*place, training=self.training, report=self.report)
        return self.training(network, protocol)

    def training(self, network: NetworkSpec, protocol: Protocol) -> ImageEvaluator:
        """What trains another network, or under another protocol, on the same data."""
        key = str(network), protocol.name
        if key not in self.others:
            self.others[key] = replace(self, network=network, protocol=protocol, held_out=None)
        return self.others[key].reporting(self.report)

    def starts_as(self, provenance: Mapping[str, Any]) -> bool:
        return self.setting.held_out in (None, provenance.get("held_out"))

    def train(self, artifact: DistilledDataset, seed: int) -> Weights:
        """The seed's network, in evaluation mode, at the end of its training on the artefact; without history."""
        *_, weights = TRAINERS[self.protocol.kind](self, artifact, seed)
        return {name: weight.detach() for name, weight in weights.items()}

    def score(self, artifact: DistilledDataset, *, seed: int, short: bool = False) -> Score:
        """Train the seed's network on the artefact and test it.

        The network's weights and the order of its batches come from the protocol's name, the architecture and
        `seed`, drawn on the CPU: the same for every artefact, method and device. Where networks are pretrained, the
        seed names one of those held out.

        Args:
            seed: of the evaluation network, 0, 1, ...
            short: the protocol's short form, read at its end alone
        """
        test, held_out = list[float](), list[float]()
        readings = 1 if short or self.held_out is None else READINGS
        for weights in TRAINERS[self.protocol.kind](self, artifact, seed, short, readings):
            answers = self._answers(weights, self.data)
            test.append(share(answers == _labels(self.data)))
            if self.held_out is not None:
                held_out.append(share(self._answers(weights, self.held_out) == _labels(self.held_out)))
        metrics = {} if short else self._metrics(artifact, answers, seed)
        if held_out:
            selected = select(test, held_out)
            metrics |= {"held_out": held_out[-1], "validation": selected.validation, "oracle": selected.oracle}
        return Score(network=self.network, seed=seed, accuracy=test[-1], metrics=metrics)

    def start(self, artifact: DistilledDataset, seed: int) -> Weights | None:
        """The weights that the seed's network starts from; None where they are fresh."""
        stored = artifact.initial if "initial" in self.protocol.honours else None
        found = self.setting.start(seed, dict(stored) if stored is not None else None)
        return found and {name: weight.to(self.device, copy=True) for name, weight in found.items()}

    def _metrics(self, artifact: DistilledDataset, answers: Tensor, seed: int) -> dict[str, float]:
        start = self.start(artifact, seed)
        before = None if start is None else self._answers(RunningStatistics(self.module).fold(start), self.data)
        return self.setting.metrics(before, answers, _labels(self.data))

    def _answers(self, weights: Weights, data: Dataset) -> Tensor:
        """The class of each test image, (N,), in host memory."""
        found = self.chunks.map(lambda images: self._answer(weights, self.transform(images)), data.test_images)
        return host.read(found, "answers")

    @cached_property
    def predict(self) -> Callable[[Weights, Tensor], Tensor]:
        """`logits`, without gradients and fast."""
        return self.compiler.function(self.logits)

    @cached_property
    def _answer(self) -> Callable[[Weights, Tensor], Tensor]:
        return self.compiler.function(
            lambda weights, images: functional_call(self.tested, weights, (images,)).argmax(1)
        )

    @cached_property
    def gradients(self) -> dict[str, Callable[..., tuple[Weights, Tensor]]]:
        """Gradient functions of the mean loss, by the kind of labels."""

        return {kind: self.compiler.gradient(self.loss(kind)) for kind in get_args(LabelKind)}

    def loss(self, kind: str) -> Callable[[Weights, Tensor, Tensor], Tensor]:
        """The mean loss of a network on images with labels of a kind: a pure function."""
        return lambda weights, images, labels: training_loss(self.protocol, self.forward(weights, images), labels, kind)


def evaluate(
    artifact: DistilledDataset,
    evaluator: Evaluator,
    networks: int,
    on_score: Callable[[Score], None] = lambda score: None,
) -> list[Score]:
    """Train `networks` networks on an artefact, a Score each; `on_score` is told each as soon as it is known.

    >>> evaluate(DistilledDataset.load(path), evaluator, networks=5)  # doctest: +SKIP
    """
    scores = []
    for seed in range(networks):
        scores.append(evaluator.score(artifact, seed=seed))
        on_score(scores[-1])
    return scores


def _labels(data: Dataset) -> Tensor:
    """Return the labels of the test images, (N,), in host memory."""
    return host.read(data.test_labels, "answers")
