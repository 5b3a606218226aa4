"""The one training loop that scores: networks trained on an artefact, accuracy on the test set at the last step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind
from ddbench.artifacts.recipe import Recipe
from ddbench.compute.compiling import Compiler, Weights
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data import Dataset, Transform
from ddbench.data.augmentation import AUGMENTATIONS, Augmentation, cutmix
from ddbench.errors import UserError
from ddbench.evaluation.modality import Evaluator
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.selection import READINGS, moments, select
from ddbench.networks import Chunks, InitialWeights, build_network
from ddbench.records.cell import NetworkSpec
from ddbench.records.schema import Score
from ddbench.task.settings import Setting
from ddbench.task.settings.base import share

SHARED = ("module", "chunks", "gradients", "_answer")
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
        others: evaluators of other networks and protocols on the same data, made by `under`
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
    def chunks(self) -> Chunks:
        return Chunks(self.module, self.data.shape)

    def forward(self, weights: Weights, images: Tensor) -> Tensor:
        """Logits, (N, K), of the network with these weights."""
        logits: Tensor = functional_call(self.module, weights, (images,))
        return logits

    def reporting(self, report: Callable[[float], None]) -> ImageEvaluator:
        other = replace(self, report=report)
        vars(other).update({name: getattr(self, name) for name in SHARED})
        return other

    def under(self, network: NetworkSpec, protocol: Protocol) -> ImageEvaluator:
        key = str(network), protocol.name
        if key not in self.others:
            self.others[key] = replace(self, network=network, protocol=protocol, held_out=None)
        return self.others[key].reporting(self.report)

    def starts_as(self, provenance: Mapping[str, Any]) -> bool:
        return self.setting.held_out in (None, provenance.get("held_out"))

    def train(self, artifact: DistilledDataset, seed: int) -> Weights:
        """The seed's network at the end of its training on the artefact."""
        *_, weights = TRAINERS[self.protocol.kind](self, artifact, seed)
        return weights

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
            test.append(share(answers == self.data.test_labels))
            if self.held_out is not None:
                held_out.append(share(self._answers(weights, self.held_out) == self.held_out.test_labels))
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
        before = None if start is None else self._answers(start, self.data)
        return self.setting.metrics(before, answers, self.data.test_labels)

    def _answers(self, weights: Weights, data: Dataset) -> Tensor:
        """The class of each test image, (N,)."""
        return self.chunks.map(lambda images: self._answer(weights, self.transform(images)), data.test_images)

    @cached_property
    def _answer(self) -> Callable[[Weights, Tensor], Tensor]:
        return self.compiler.function(lambda weights, images: self.forward(weights, images).argmax(1))

    @cached_property
    def gradients(self) -> dict[str, Callable[..., tuple[Weights, Tensor]]]:
        """Gradient functions of the mean loss, by the kind of labels."""

        def of(kind: str) -> Callable[..., tuple[Weights, Tensor]]:
            return self.compiler.gradient(
                lambda weights, images, labels: _loss(self.forward(weights, images), labels, kind)
            )

        return {kind: of(kind) for kind in get_args(LabelKind)}


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


@dataclass(frozen=True)
class Schedule:
    """A training, resolved from a protocol and what it honours of a recipe.

    Args:
        lrs: one step size a step
        drop: the step at which the step size falls and the momentum starts anew; None where it does not
        order: (batches, batch_size) indices walked every epoch; None shuffles
    """

    lrs: list[float]
    drop: int | None
    momentum: float
    weight_decay: float
    order: Tensor | None


def schedule_of(protocol: Protocol, recipe: Recipe, count: int, short: bool = False) -> Schedule:
    """The training that `protocol` gives an artefact of `count` images with this recipe."""
    if recipe.order is not None and "order" in protocol.honours:
        return _learned_plan(protocol, recipe, recipe.order)
    batches = -(-count // protocol.batch_size)
    steps = protocol.steps or (protocol.epochs or 0) * batches
    if short:
        steps = protocol.short * (1 if protocol.steps else batches)
    lr = float(recipe.lr.mean()) if recipe.lr is not None and "lr" in protocol.honours else protocol.lr
    shares = protocol.decay_at if isinstance(protocol.decay_at, tuple) else (protocol.decay_at,)
    falls = [round(share * steps) for share in shares]
    lrs = [lr * protocol.decay ** sum(step >= fall for fall in falls) for step in range(steps)]
    return Schedule(lrs, falls[0] if protocol.restart else None, protocol.momentum, protocol.weight_decay, None)


def _learned_plan(protocol: Protocol, recipe: Recipe, order: Tensor) -> Schedule:
    """Plain gradient descent along the learned order; one learned step size serves every step."""
    epochs = recipe.epochs if recipe.epochs is not None and "epochs" in protocol.honours else 1
    steps = epochs * len(order)
    lrs = recipe.lr.flatten().tolist() if recipe.lr is not None and "lr" in protocol.honours else [protocol.lr]
    if len(lrs) not in (1, steps):
        raise UserError(f"recipe.lr has {len(lrs)} step sizes for {steps} steps; store one, or one a step")
    momentum = recipe.momentum if recipe.momentum is not None and "momentum" in protocol.honours else 0.0
    return Schedule(lrs if len(lrs) == steps else lrs * steps, None, momentum, 0.0, order)


def train_by_descent(
    evaluator: ImageEvaluator, artifact: DistilledDataset, seed: int, short: bool = False, readings: int = 1
) -> Iterator[Weights]:
    """The seed's network, trained step by step: its weights at evenly spaced moments, the last at the end.

    What is yielded changes in place as the training goes on.
    """
    protocol = evaluator.protocol
    generator = seeded(derive_seed("evaluate", protocol.name, evaluator.network, seed))
    weights = _initial(evaluator, artifact, seed, generator)
    count = len(artifact.decode(0, seeded(0))[1])
    schedule = schedule_of(protocol, artifact.recipe, count, short)
    augmentation = AUGMENTATIONS[protocol.augmentation](evaluator.data.name)
    kind = _trained_kind(augmentation, artifact.label_kind)
    batches = _batches(evaluator, artifact, schedule, augmentation, generator)
    optimizer, gradient = _sgd(weights, schedule), evaluator.gradients[kind]
    read = moments(len(schedule.lrs), readings)
    for step, lr in enumerate(schedule.lrs):
        evaluator.report(step / len(schedule.lrs))
        if step == schedule.drop:
            optimizer = _sgd(weights, schedule)
        optimizer.param_groups[0]["lr"] = lr
        found, _ = evaluator.chunks.gradient(gradient, weights, *next(batches))
        for name, weight in weights.items():
            weight.grad = found[name]
        optimizer.step()
        if step + 1 in read:
            yield weights


TRAINERS = {"train": train_by_descent}
"""how a network comes of an artefact, by the protocol's kind"""


def _initial(evaluator: ImageEvaluator, artifact: DistilledDataset, seed: int, generator: torch.Generator) -> Weights:
    fresh = InitialWeights(evaluator.module)(generator)
    start = evaluator.start(artifact, seed)
    if start is None:
        return {name: weight.to(evaluator.device, copy=True) for name, weight in fresh.items()}
    ours, theirs = ({name: (w.shape, w.dtype) for name, w in own.items()} for own in (fresh, start))
    if ours != theirs:
        raise UserError("the artefact's initial weights are of another network; score it with the one it names")
    return start


def _sgd(weights: Weights, training: Schedule) -> torch.optim.SGD:
    return torch.optim.SGD(
        weights.values(), lr=training.lrs[0], momentum=training.momentum, weight_decay=training.weight_decay
    )


def _batches(
    evaluator: ImageEvaluator,
    artifact: DistilledDataset,
    schedule: Schedule,
    augmentation: Augmentation,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch without end, in the learned order or shuffled; decoded anew only where that matters."""
    kind, device = _trained_kind(augmentation, artifact.label_kind), evaluator.device
    fresh, epoch = artifact.decoder.fresh, 0
    images, labels = (part.to(device) for part in artifact.decode(epoch, generator))
    while True:
        if fresh and epoch:
            images, labels = (part.to(device) for part in artifact.decode(epoch, generator))
        for chosen in _indices(schedule.order, len(labels), evaluator.protocol.batch_size, generator):
            positions = chosen.to(device, non_blocking=True)
            batch, own = images[positions], labels[positions]
            batch = augmentation.apply(batch, generator)
            if kind != artifact.label_kind:
                own = own.softmax(1) if own.ndim == 2 else F.one_hot(own, len(evaluator.data.classes)).to(batch.dtype)
            yield cutmix(batch, own, generator) if augmentation.mixes else (batch, own)
        epoch += 1


def _indices(order: Tensor | None, count: int, batch_size: int, generator: torch.Generator) -> Iterable[Tensor]:
    return order if order is not None else torch.randperm(count, generator=generator).split(batch_size)


def _trained_kind(augmentation: Augmentation, kind: LabelKind) -> LabelKind:
    """What labels are while training: mixed classes are probabilities."""
    return "probabilities" if augmentation.mixes and kind in ("index", "logits") else kind


def _loss(logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    if kind == "targets":
        return F.mse_loss(logits, labels)
    return F.cross_entropy(logits, labels.softmax(1) if kind == "logits" else labels)
