"""Continual learning: the orders, the memory, and the measures of two steps by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.data import Dataset, Preprocessing, make_dataset
from ddbench.data.builtin import Size
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.records.findings import Measure
from ddbench.registry import PROTOCOLS
from ddbench.studies.bench import Bench
from ddbench.studies.continual import Continual, memory_of
from ddbench.studies.study import Part, Training
from factories import make_cell
from test_analyses import evaluator_on

TWO = Continual(steps=2, orders=5)


def four() -> Dataset:
    """Twelve training images and eight test images of four classes."""
    images = np.random.RandomState(0).randint(0, 256, (20, 8, 8), dtype=np.uint8)
    labels = np.arange(20) % 4
    return make_dataset("digits", images[:12], labels[:12], images[12:], labels[12:])


def bench_on(data: Dataset, networks: int = 2, variant: str | None = None, **changes: Any) -> Bench:
    evaluator = evaluator_on(data)
    return Bench(make_cell(networks=networks), variant, ImageEvaluator(**{**_fields(evaluator), **changes}))


def _fields(evaluator: ImageEvaluator) -> dict[str, Any]:
    return {
        name: getattr(evaluator, name) for name in ("data", "transform", "protocol", "network", "device", "setting")
    }


def test_the_orders_are_those_of_the_authors() -> None:
    study = Continual()
    for seed in range(5):
        np.random.seed(seed)  # as the authors' script draws them
        order = np.random.permutation(100).tolist()
        assert study.tasks(100, seed) == [order[start : start + 20] for start in range(0, 100, 20)]
    assert study.tasks(100, 5) == study.tasks(100, 0)
    data = four()
    assert TWO.parts(data, None, 0) == [Part("only(2,3)", 0.5), Part("only(0,1)", 0.5)]
    assert TWO.parts(data, "joint", 0) == [Part("test")]
    assert TWO.trainings(Size(12, 8, 4, (1, 8, 8)), make_cell(), None) == [
        Training(Size(6, 4, 2, (1, 8, 8))),
        Training(Size(12, 8, 4, (1, 8, 8))),
    ]


def test_measures_of_two_steps_by_hand() -> None:
    """Step 1 is right in 8 of 10, then in 4, step 2 in 15 of 30; a second network in 6, then in 6, and in 30."""
    first = [0.8, 0.0, 0.4, 0.5]
    second = [0.6, 0.0, 0.6, 1.0]
    found = TWO.findings([{"accuracies": first + second, "tests": [10.0, 30.0], "stored_bytes": [99.0]}])
    final = [(4 + 15) / 40, (6 + 30) / 40]
    assert found.metrics["final"].values == pytest.approx(final)
    assert found.metrics["average"].values == pytest.approx([(0.8 + final[0]) / 2, (0.6 + final[1]) / 2])
    assert found.metrics["learned"].values == pytest.approx([0.65, 0.8])
    assert found.metrics["forgetting"].values == pytest.approx([0.4, 0.0])
    assert found.metrics["stored_bytes"] == Measure(values=[99.0], of="seeds")
    assert found.metrics["final"].of == "networks"
    assert found.series["stages"].columns["accuracy"] == pytest.approx([0.7, (final[0] + final[1]) / 2])
    assert found.series["matrix"].columns == {
        "stage": [1.0, 2.0, 2.0],
        "step": [1.0, 1.0, 2.0],
        "accuracy": pytest.approx([0.7, 0.5, 0.75]),
    }


def test_several_seeds_are_replicates_and_the_best_before_counts() -> None:
    """With three steps, what the first has lost counts from its best, which here is the second stage."""
    study = Continual(steps=3)
    one = [0.5, 0, 0, 0.9, 0.7, 0, 0.3, 0.6, 1.0]
    found = study.findings([{"accuracies": one, "tests": [1.0] * 3, "stored_bytes": [0.0]}] * 2)
    assert found.metrics["forgetting"].values == pytest.approx([(0.6 + 0.1) / 2] * 2)
    assert found.metrics["forgetting"].of == "seeds"
    assert "stored_bytes" not in found.metrics


def test_the_memory_has_labels_among_all_classes() -> None:
    bench, tasks = bench_on(four()), [[3, 1], [2, 0]]
    images = torch.rand(3, 1, 8, 8)
    hard = DistilledDataset.pixels(images, torch.tensor([1, 0, 1]))
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    soft = DistilledDataset.pixels(images, logits, label_kind="logits")
    (first, labels), (_, others) = memory_of(bench, [hard, hard], tasks)
    assert torch.equal(first, images)
    assert labels.tolist() == [3, 1, 3]
    assert others.tolist() == [2, 0, 2]
    (_, found), _ = memory_of(bench, [soft, soft], tasks)
    assert torch.equal(found[:, [1, 3]], logits.softmax(1))
    assert not found[:, [0, 2]].any()
    joint = DistilledDataset.pixels(torch.rand(4, 1, 8, 8), torch.arange(4))
    parts = memory_of(bench_on(four(), variant="joint"), [joint], tasks)
    assert [own.tolist() for _, own in parts] == [[1, 3], [0, 2]]


def test_images_of_another_preprocessing_are_converted() -> None:
    bench = bench_on(four())
    other = Preprocessing("normalize", (0.5,), (0.25,)).without_data()
    pixels = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    artifact = DistilledDataset.pixels(other(pixels), torch.tensor([0, 1]))
    made = artifact.with_provenance({"preprocessing": other.describe()})
    torch.testing.assert_close(bench.images_of(made)[0], bench.evaluator.transform(pixels))
    torch.testing.assert_close(bench.images_of(artifact)[0], other(pixels))


def test_networks_are_trained_from_scratch_on_all_that_was_seen() -> None:
    """An independent loop gives the same accuracies: SGD on the memory, whole, three steps, tested by step."""
    data, generator = four(), torch.Generator().manual_seed(0)
    bench = bench_on(data, networks=1)
    made = [DistilledDataset.pixels(torch.randn(2, 1, 8, 8, generator=generator), torch.arange(2)) for _ in range(2)]
    made[0] = DistilledDataset.pixels(made[0].decode()[0], torch.arange(2), recipe=Recipe(lr=torch.tensor(9.0)))
    tasks = TWO.tasks(4, 0)
    found = TWO.measure(bench, made, 0)
    expected = list[float]()
    for stage in range(2):
        images = torch.cat([artifact.decode()[0] for artifact in made[: stage + 1]])
        labels = torch.tensor([c for task in tasks[: stage + 1] for c in sorted(task)])
        weights = bench.evaluator.train(DistilledDataset.pixels(images, labels), stage)
        logits = functional_call(bench.evaluator.module.eval(), weights, (bench.evaluator.transform(data.test_images),))
        right = logits.argmax(1) == data.test_labels
        expected += [float(right[(data.test_labels == a) | (data.test_labels == b)].float().mean()) for a, b in tasks]
    assert found["accuracies"] == pytest.approx(expected)
    assert found["tests"] == [4.0, 4.0]
    assert found["stored_bytes"] == [2 * (2 * 64 * 4 + 2 * 8) + 4.0]


def test_all_real_images_of_the_classes_seen_are_the_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    data = four()
    bench = bench_on(data, networks=1, protocol=PROTOCOLS.get("full-data-10@1"))
    seen = list[list[int]]()

    def train(self: ImageEvaluator, artifact: DistilledDataset, seed: int) -> Any:
        seen.append(sorted(self.data.train_labels.tolist()))
        return {name: torch.zeros_like(p) for name, p in self.module.named_parameters()}

    monkeypatch.setattr(ImageEvaluator, "train", train)
    found = TWO.measure(bench, [], 0)
    assert seen == [[2] * 3 + [3] * 3, [c for c in range(4) for _ in range(3)]]
    assert found["stored_bytes"] == [0.0]
    assert len(found["accuracies"]) == 4


def test_labels_of_a_regression_are_refused() -> None:
    targets = DistilledDataset.pixels(torch.rand(2, 1, 8, 8), F.one_hot(torch.arange(2)).float(), label_kind="targets")
    reason = TWO.refusal([targets])
    assert reason is not None
    assert reason.startswith("its labels are numbers of a regression")
    assert TWO.refusal([]) is None
