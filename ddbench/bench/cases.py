"""The cases to time, ours and the textbook's: an outer step of each family, an expert's batch, an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.bench import textbook
from ddbench.bench.ensemble import gradients_of_each, train_together
from ddbench.compute.compiling import Compiler
from ddbench.compute.generators import Generators, seeded
from ddbench.data import Dataset, Preprocessing, RealData, make_dataset
from ddbench.data.augmentation import DSA
from ddbench.evaluation.descent import course_on
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator, evaluate
from ddbench.families.experts import Expert, train_expert
from ddbench.meter.checkpoint import State
from ddbench.meter.meter import Meter
from ddbench.networks import InitialWeights, build_network
from ddbench.records.cell import NetworkSpec
from ddbench.registry import METHODS
from ddbench.task.settings import RandomSetting, SettingInputs
from ddbench.task.task import Task

EPOCHS, TESTS = 20, 500
"""epochs and test images of the evaluation case: a fifteenth of DC's evaluation on CIFAR-10"""
REAL, BATCH = 256, 256
"""real images of a class in a matching step, and images of an expert's batch"""
BACKPROP_REAL, BACKPROP_EPOCHS = 1024, 3
LR = 0.02
NETWORKS = 20
"""evaluation networks of the cases that compare ways to train many"""
MANY = 10**6


@dataclass(frozen=True)
class Setup:
    """The size of a problem, CIFAR-10's by default, and the device."""

    ipc: int = 1
    width: int = 32
    classes: int = 10
    side: int = 32
    student_steps: int = 20
    networks: int = 1
    device: str = "cpu"

    def build(self) -> nn.Module:
        return build_network("convnet", (3, self.side, self.side), self.classes, {"width": self.width})

    def data(self) -> Dataset:
        """Return noise of the right shape, since the time does not depend on the content of images."""
        random = np.random.RandomState(0)
        labels = np.arange((REAL + 44) * self.classes) % self.classes
        images = random.randint(0, 256, (len(labels), self.side, self.side, 3)).astype(np.uint8)
        return make_dataset("bench", images, labels, images[:TESTS], labels[:TESTS])

    def task(self) -> Task:
        device, data = torch.device(self.device), self.data()
        network, generators = self.build().to(device), Generators("bench")
        return Task(
            RealData(data, Preprocessing.for_dataset(data).fit(data), device),
            network,
            shape=data.shape,
            classes=self.classes,
            ipc=self.ipc,
            setting=RandomSetting(SettingInputs(InitialWeights(network), generators, device)),
            augmentation=DSA(),
            generators=generators,
            device=device,
            compiler=Compiler(enabled=True),
        )


@dataclass(frozen=True)
class Plain:
    """Training data as the reference implementations keep it: normalised floats, and indices by class."""

    setup: Setup
    images: Tensor
    labels: Tensor
    rows: list[Any]
    """indices of each class"""

    @classmethod
    def of(cls, setup: Setup) -> Plain:
        data = setup.data()
        images = Preprocessing.for_dataset(data).fit(data)(data.train_images)
        rows = [np.flatnonzero(data.train_labels.numpy() == c) for c in range(setup.classes)]
        return cls(setup, images.to(setup.device), data.train_labels.to(setup.device), rows)

    def of_each(self, n: int) -> list[Tensor]:
        return [self.images[np.random.permutation(of_class)[:n]] for of_class in self.rows]

    def synthetic(self) -> tuple[Tensor, Tensor]:
        labels = torch.arange(self.setup.classes).repeat_interleave(self.setup.ipc)
        return torch.cat(self.of_each(self.setup.ipc)), labels.to(self.setup.device)

    def network(self) -> nn.Module:
        return self.setup.build().to(self.setup.device)

    def weights(self) -> dict[str, Tensor]:
        return {name: weight.detach() for name, weight in self.network().named_parameters()}


# -- the textbook's -------------------------------------------------------------------------------------------------


def _gradient_matching(setup: Setup) -> Iterator[None]:
    plain = Plain.of(setup)
    images, _ = plain.synthetic()
    while True:
        _, gradient = textbook.gradient_matching(plain.network(), plain.of_each(REAL), images)
        images = images - 0.1 * gradient
        yield


def _distribution_matching(setup: Setup) -> Iterator[None]:
    plain, augmentation, generator = Plain.of(setup), DSA(), seeded(0)
    images, _ = plain.synthetic()
    while True:
        draws = [augmentation.draw((), generator, shared=True) for _ in range(setup.classes)]
        _, gradient = textbook.distribution_matching(plain.network(), plain.of_each(REAL), images, augmentation, draws)
        images = images - gradient
        yield


def _trajectory_matching(setup: Setup) -> Iterator[None]:
    plain, augmentation, generator = Plain.of(setup), DSA(), seeded(0)
    (images, labels), lr = plain.synthetic(), torch.tensor(LR, device=setup.device)
    network, start, target = plain.network(), plain.weights(), plain.weights()
    while True:
        pieces = torch.randperm(len(images)).split(BATCH)
        walk = [pieces[step % len(pieces)] for step in range(setup.student_steps)]
        batches = [(augmentation(images[piece], generator), labels[piece]) for piece in walk]
        textbook.trajectory_matching(network, start, target, batches, lr)
        yield


def _backprop(setup: Setup) -> Iterator[None]:
    plain = Plain.of(setup)
    images, labels = plain.synthetic()
    order = torch.arange(len(images)).view(setup.classes, setup.ipc).T
    batches = [(images[chosen], labels[chosen]) for chosen in order] * BACKPROP_EPOCHS
    lrs = torch.full((len(batches),), LR, device=setup.device)
    network = plain.network()
    while True:
        chosen = torch.randperm(len(plain.images))[:BACKPROP_REAL]
        real = plain.images[chosen], plain.labels[chosen]
        textbook.backprop(network, plain.weights(), batches, lrs, real)
        yield


def _experts(setup: Setup) -> Iterator[None]:
    plain, augmentation, generator, network = Plain.of(setup), DSA(), seeded(0), setup.build().to(setup.device)
    while True:
        chosen = torch.randperm(len(plain.images))[:BATCH]
        images = augmentation(plain.images[chosen], generator)
        textbook.train(network, images, plain.labels[chosen], epochs=1, momentum=0.0, decay=0.0)
        yield


def _evaluation(setup: Setup) -> Iterator[None]:
    plain = Plain.of(setup)
    images, labels = plain.synthetic()
    while True:
        for _ in range(setup.networks):
            network = plain.network()
            textbook.train(network, images, labels, EPOCHS)
            textbook.accuracy(network, plain.images[:TESTS], plain.labels[:TESTS])
        yield


def _networks(setup: Setup) -> Iterator[None]:
    plain = Plain.of(setup)
    images, labels = plain.synthetic()
    while True:
        for _ in range(NETWORKS):
            textbook.train(plain.network(), images, labels, EPOCHS)
        yield


# -- ours -----------------------------------------------------------------------------------------------------------


def _method(name: str, **settings: Any) -> Callable[[Setup, Meter], None]:
    def run(setup: Setup, meter: Meter) -> None:
        METHODS.get(name)(**settings).distill(setup.task(), meter)

    return run


def _our_trajectory_matching(setup: Setup, meter: Meter) -> None:
    experts = {"experts": 1, "expert_epochs": 1, "epoch_batches": 1, "max_start": 1, "match_epochs": 1}
    settings = {"student_steps": setup.student_steps, "batch_synthetic": min(BATCH, setup.classes * setup.ipc)}
    METHODS.get("trajectory_matching")(**experts, **settings).distill(setup.task(), meter)


def _our_experts(setup: Setup, meter: Meter) -> None:
    task = setup.task()
    expert = Expert(1, 1, batch=BATCH, lr=0.01, epoch_batches=MANY, augment=True)
    train_expert(task, meter, seeded(0), expert, task.compiler.gradient(task.loss), "experts")


def _evaluator(setup: Setup, capture: bool = False) -> tuple[ImageEvaluator, DistilledDataset]:
    task, data = setup.task(), setup.data().to(setup.device)
    protocol = Protocol(name="bench", source="", epochs=EPOCHS)
    network = NetworkSpec(name="convnet", parameters={"width": setup.width})
    transform = Preprocessing.for_dataset(data).fit(data)
    compiler = Compiler(enabled=True, capture=capture)
    evaluator = ImageEvaluator(data, transform, protocol, network, task.device, task.setting, compiler)
    return evaluator, DistilledDataset.pixels(*task.real_init())


def _our_evaluation(setup: Setup, meter: Meter) -> None:
    evaluator, artifact = _evaluator(setup)
    for _ in meter.steps(MANY, State(), name="evaluation"):
        evaluate(artifact, evaluator, setup.networks)


def _in_turn(capture: bool) -> Callable[[Setup, Meter], None]:
    def run(setup: Setup, meter: Meter) -> None:
        evaluator, artifact = _evaluator(setup, capture and setup.device.startswith("cuda"))
        for _ in meter.steps(MANY, State(), name="evaluation"):
            for seed in range(NETWORKS):
                evaluator.train(artifact, seed)

    return run


def _together(setup: Setup, meter: Meter) -> None:
    evaluator, artifact = _evaluator(setup)
    gradients = gradients_of_each(evaluator, artifact.label_kind)
    for _ in meter.steps(MANY, State(), name="evaluation"):
        train_together(gradients, [course_on(evaluator, artifact, seed) for seed in range(NETWORKS)])


@dataclass(frozen=True)
class Case:
    textbook: Callable[[Setup], Iterator[None]]
    ours: Callable[[Setup, Meter], None]
    usual: bool = True
    """false leaves it out where no case is named"""


CASES = {
    "gradient_matching": Case(_gradient_matching, _method("gradient_matching", matchings=1, epochs=0, init="real")),
    "distribution_matching": Case(_distribution_matching, _method("distribution_matching")),
    "trajectory_matching": Case(_trajectory_matching, _our_trajectory_matching),
    "backprop": Case(_backprop, _method("backprop", batch_real=BACKPROP_REAL, epochs=BACKPROP_EPOCHS, init="real")),
    "experts": Case(_experts, _our_experts),
    "evaluation": Case(_evaluation, _our_evaluation),
    "networks_in_turn": Case(_networks, _in_turn(capture=False), usual=False),
    "networks_captured": Case(_networks, _in_turn(capture=True), usual=False),
    "networks_together": Case(_networks, _together, usual=False),
}
