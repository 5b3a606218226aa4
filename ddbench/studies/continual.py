"""Class-incremental continual learning on a memory of distilled images.

The protocol is that of Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, arXiv 2110.04181,
as their published script has it: the classes come in equal steps, in the order that NumPy's legacy generator gives for
the seed; each step distils its own classes, and never sees those before; at each stage networks are trained from
scratch on the whole memory, answer one of all classes, and are tested on the classes seen so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset, LabelKind
from ddbench.data import Dataset
from ddbench.data.builtin import Size
from ddbench.data.derived import only
from ddbench.errors import UserError
from ddbench.records.cell import Cell
from ddbench.records.findings import Figure, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_study
from ddbench.studies.bench import Bench
from ddbench.studies.study import Part, Replicate, Training

Memory = list[tuple[Tensor, Tensor]]
"""images, (M, C, H, W), and labels among all classes, (M,) or (M, K), of each step"""


@register_study("continual@1")
@dataclass(frozen=True)
class Continual:
    """How accurate are networks when classes come in steps, and each step leaves its distilled images alone?"""

    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("final", "accuracy on all classes, after the last step"),
        Metric("average", "accuracy on the classes seen so far, averaged over stages"),
        Metric("learned", "accuracy on the classes of a step right after it, averaged over steps"),
        Metric(
            "forgetting",
            "how far the accuracy on a step's classes has fallen from its best before the last stage, averaged over "
            "all steps but the last",
            -1,
            1,
            "lower",
        ),
        Metric("stored_bytes", "bytes of all artefacts of the memory at the end", 0, 1e15, "lower"),
    )
    headline: ClassVar[tuple[str, ...]] = ("final", "average", "forgetting", "stored_bytes")
    caption: ClassVar[str] = (
        "Networks start afresh at every stage, so that forgetting is the confusion that more classes bring, and not "
        "what training overwrites. Every step has an equal share of the seconds; a joint row has seen all classes at "
        "once, and full_data keeps all images, which no memory of this size can."
    )
    variants: ClassVar[tuple[str, ...]] = ("joint",)
    references: ClassVar[tuple[str, ...]] = ("random_real", "herding", "joint:{first}", "full_data")
    protocol: ClassVar[str] = "dsa-1000@1"
    networks: ClassVar[int] = 3
    seeds: ClassVar[int] = 5
    figure: ClassVar[Figure] = Figure("stages", "stage", "accuracy", "step", "accuracy on the classes seen so far")

    steps: PositiveInt = 5
    """steps in which the classes come, equally many in each"""
    orders: PositiveInt = 5
    """orders of the classes; seed s has order s modulo this number"""

    def check(self, data: Dataset) -> None:
        classes = len(data.classes)
        if self.steps < 2 or classes % self.steps or classes // self.steps < 2:
            fits = [n for n in range(2, classes // 2 + 1) if classes % n == 0]
            fix = f"set steps to {' or '.join(map(str, fits))}" if fits else "choose a data set with more"
            raise UserError(
                f"{classes} classes of {data.name} do not come in {self.steps} equal steps of two or more; {fix}"
            )
        tested = torch.bincount(data.test_labels, minlength=classes)
        if not tested.all():
            name = data.classes[int(tested.argmin())]
            raise UserError(f"class {name!r} of {data.name} has no test images; leave it out, or add some")

    def tasks(self, classes: int, seed: int) -> list[list[int]]:
        """The classes of each step at a seed."""
        order = np.random.RandomState(seed % self.orders).permutation(classes).tolist()
        width = classes // self.steps
        return [order[start : start + width] for start in range(0, classes, width)]

    def parts(self, data: Dataset, variant: str | None, seed: int) -> list[Part]:
        if variant == "joint":
            return [Part("test")]
        return [Part(only(task), 1 / self.steps) for task in self.tasks(len(data.classes), seed)]

    def trainings(self, size: Size, cell: Cell, variant: str | None) -> list[Training]:
        def stage(seen: int) -> Training:
            train, test, classes = (number * seen // self.steps for number in (size.train, size.test, size.classes))
            return Training(Size(train, test, classes, size.shape))

        return [stage(seen) for seen in range(1, self.steps + 1)]

    def refusal(self, made: Sequence[DistilledDataset]) -> str | None:
        if any(artifact.label_kind == "targets" for artifact in made):
            return "its labels are numbers of a regression on the classes of a step, which say nothing of the others"
        return None

    def measure(self, bench: Bench, made: Sequence[DistilledDataset], seed: int) -> Replicate:
        tasks = self.tasks(len(bench.data.classes), seed)
        memory = [] if bench.on_real else memory_of(bench, made, tasks)
        tests = bench.data.test_labels.cpu()
        positions = [torch.isin(tests, torch.tensor(task)) for task in tasks]
        answers = bench.data.test_images, tests
        count, accuracies = bench.cell.networks, list[float]()
        for number in range(count):
            for stage in range(len(tasks)):
                bench.report((number * len(tasks) + stage) / (count * len(tasks)))
                network = (seed * len(tasks) + stage) * count + number
                found = _correct(bench, memory[: stage + 1], tasks[: stage + 1], network, answers)
                accuracies += [float(found[own].double().mean()) for own in positions]
        stored = sum(sum(artifact.stored_bytes().values()) for artifact in made)
        counts = [float(own.sum()) for own in positions]
        return {"accuracies": accuracies, "tests": counts, "stored_bytes": [float(stored)]}

    def findings(self, replicates: Sequence[Replicate]) -> Findings:
        summaries = [Summary.of(replicate) for replicate in replicates]
        metrics = {
            name: _over([summary.measures[name] for summary in summaries])
            for name in ("final", "average", "learned", "forgetting")
        }
        stored = [replicate["stored_bytes"][0] for replicate in replicates]
        if any(stored):
            metrics["stored_bytes"] = Measure(values=stored, of="seeds")
        return Findings(metrics=metrics, series={"stages": _stages(summaries), "matrix": _matrix(summaries)})


@dataclass(frozen=True)
class Summary:
    """The accuracies of a seed.

    Args:
        matrix: (networks, stages, steps), on the classes of each step at each stage
        seen: (networks, stages), on all classes seen so far
    """

    matrix: Tensor
    seen: Tensor

    @classmethod
    def of(cls, replicate: Replicate) -> Summary:
        tests = torch.tensor(replicate["tests"], dtype=torch.float64)  # (T,)
        steps = len(tests)
        matrix = torch.tensor(replicate["accuracies"], dtype=torch.float64).reshape(-1, steps, steps)
        weights = torch.tril(tests.expand(steps, steps))  # test images of the steps until each stage
        return cls(matrix, (matrix * weights).sum(2) / weights.sum(1))

    @property
    def measures(self) -> dict[str, list[float]]:
        """Each measure by network."""
        return {
            "final": self.seen[:, -1].tolist(),
            "average": self.seen.mean(1).tolist(),
            "learned": self.matrix.diagonal(dim1=1, dim2=2).mean(1).tolist(),
            "forgetting": (_best_before(self.matrix) - self.matrix[:, -1, :-1]).mean(1).tolist(),
        }


def memory_of(bench: Bench, made: Sequence[DistilledDataset], tasks: Sequence[Sequence[int]]) -> Memory:
    """What each step leaves: its artefact with labels among all classes, or its classes' share of a joint artefact."""
    classes = len(bench.data.classes)
    if bench.variant == "joint":
        images, labels = bench.images_of(made[0])
        own = labels if labels.ndim == 1 else labels.argmax(1)
        held = [torch.isin(own, torch.tensor(task)) for task in tasks]
        return [(images[chosen], labels[chosen]) for chosen in held]
    memory = Memory()
    for artifact, task in zip(made, tasks, strict=True):
        images, labels = bench.images_of(artifact)
        known = torch.tensor(sorted(task))  # the classes of a part are numbered in ascending order
        if labels.ndim == 1:
            memory.append((images, known[labels]))
        else:
            memory.append((images, labels @ F.one_hot(known, classes).to(labels.dtype)))
    return memory


def _correct(
    bench: Bench, memory: Memory, seen: Sequence[Sequence[int]], number: int, test: tuple[Tensor, Tensor]
) -> Tensor:
    """Which test images, (N,), a network answers correctly that is trained on the memory of the classes seen."""
    if bench.on_real:
        weights = bench.trained_on(_with_classes(bench.data, [c for task in seen for c in task]), number)
    else:
        images, labels = (torch.cat(parts) for parts in zip(*memory, strict=True))
        kind: LabelKind = "index" if labels.ndim == 1 else "probabilities"
        weights = bench.trained(DistilledDataset.pixels(images, labels, label_kind=kind), number)
    return bench.logits(weights, test[0]).argmax(1).cpu() == test[1]


def _with_classes(data: Dataset, classes: Sequence[int]) -> Dataset:
    """Return the data set with the training images of some classes alone, whose numbers stay."""
    own = torch.isin(data.train_labels, torch.tensor(classes, device=data.train_labels.device))
    return replace(data, train_images=data.train_images[own], train_labels=data.train_labels[own])


def _best_before(matrix: Tensor) -> Tensor:
    """The best accuracy before the last stage on the classes of each step but the last, (networks, T - 1)."""
    steps = matrix.shape[1]
    return torch.stack([matrix[:, step:-1, step].amax(1) for step in range(steps - 1)], 1)


def _over(values: Sequence[Sequence[float]]) -> Measure:
    """A measure over seeds, each the mean of its networks; over the networks of a single one."""
    if len(values) == 1:
        return Measure.over(list(values[0]))
    return Measure.over([sum(own) / len(own) for own in values], "seeds")


def _stages(summaries: Sequence[Summary]) -> Series:
    means = torch.stack([summary.seen.mean(0) for summary in summaries])  # (seeds, T)
    seeds, stages = means.shape
    return Series(
        columns={
            "seed": [float(seed) for seed in range(seeds) for _ in range(stages)],
            "stage": [float(stage + 1) for _ in range(seeds) for stage in range(stages)],
            "accuracy": means.flatten().tolist(),
        }
    )


def _matrix(summaries: Sequence[Summary]) -> Series:
    mean = torch.stack([summary.matrix.mean(0) for summary in summaries]).mean(0)  # (T, T)
    places = [(stage, step) for stage in range(len(mean)) for step in range(stage + 1)]
    return Series(
        columns={
            "stage": [float(stage + 1) for stage, _ in places],
            "step": [float(step + 1) for _, step in places],
            "accuracy": [float(mean[stage, step]) for stage, step in places],
        }
    )
