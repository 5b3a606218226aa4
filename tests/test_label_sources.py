"""Soft labels of controls: an expert's answers in place of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.generators import Generators
from ddbench.data import Preprocessing
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.families import label_sources
from ddbench.families.label_sources import ExpertLabels, SoftLabels, expert_weights, parse_labels
from ddbench.leaderboard.columns import groups
from ddbench.leaderboard.readme import overview
from ddbench.leaderboard.rows import rows
from ddbench.meter.cache import Cache
from ddbench.meter.meter import Meter
from ddbench.networks.flatten import flatten, unflatten
from ddbench.records.cell import Budget
from ddbench.task.hyperparameters import make_method
from ddbench.testing import NETWORK, check_method, tiny_dataset, tiny_task
from factories import make_record
from meta_device import distil_on_meta
from methods.herding import Herding
from methods.k_means import KMeansCentroids
from methods.random_real import RandomReal
from tasks import random_task, setting_of

SHORT = "expert,epochs=2,epoch_batches=2,batch=16,lr=0.1"
SETTINGS = ExpertLabels(epochs=2, epoch_batches=2, batch=16, lr=0.1)
CONTROLS: dict[type[Any], dict[str, Any]] = {
    RandomReal: {},
    Herding: {"space": "pixels"},
    KMeansCentroids: {"space": "pixels"},
}


def meter(steps: int | None = None, cache: Cache | None = None) -> Meter:
    return Meter(Budget(steps=steps), snapshots=(), cache=cache)


@pytest.mark.parametrize("cls", CONTROLS, ids=lambda cls: cls.name)
def test_a_control_keeps_its_images_and_has_an_experts_answers(cls: type[Any]) -> None:
    hard, soft = (cls(**CONTROLS[cls], labels=labels).distill(tiny_task(), meter()) for labels in ("hard", SHORT))
    assert cls(**CONTROLS[cls]).distill(tiny_task(), meter()).holds_what(hard)
    task = tiny_task()
    weights = unflatten(expert_weights(task, meter(), SETTINGS), task.like)
    assert torch.equal(soft.parts["images"], hard.parts["images"])
    torch.testing.assert_close(soft.parts["labels"], task.forward(weights, hard.parts["images"]).softmax(1))
    assert (hard.label_source, soft.label_source, soft.label_kind) == ("hard", "static", "probabilities")


def test_the_contract_is_kept_with_an_expert() -> None:
    members = {"tiny": {"labels": SHORT}, "settings": ("random", "attack"), "name": "soft"}
    assert check_method(dataclass(frozen=True)(type("Soft", (RandomReal,), members))) == []


@pytest.mark.parametrize("cls", CONTROLS, ids=lambda cls: cls.name)
def test_an_expert_never_waits_for_the_device(cls: type[Any]) -> None:
    reads = distil_on_meta(cls, {**CONTROLS[cls], "labels": SHORT})
    assert {wait for wait, _ in reads} <= {"artefact", "clusters"}


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> DistilledDataset:
    """Random images with the labels of an expert that answers so."""
    task = tiny_task()
    monkeypatch.setattr(task, "forward", lambda weights, images: answer(task, images))
    monkeypatch.setattr(label_sources, "expert_weights", lambda task, meter, settings: flatten(task.like))
    return RandomReal(labels=SHORT).distill(task, meter())


def score(artifact: DistilledDataset) -> ImageEvaluator:
    data, protocol = tiny_dataset(), Protocol("short@1", "test", steps=15, batch_size=6, lr=0.1, decay_at=1.0)
    transform = Preprocessing.for_dataset(data).fit(data)
    return ImageEvaluator(data, transform, protocol, NETWORK, torch.device("cpu"), setting_of(NETWORK, data))


def test_a_certain_expert_gives_the_labels_of_random_real(monkeypatch: pytest.MonkeyPatch) -> None:
    def certain(task: Any, images: Tensor) -> Tensor:
        return 1000.0 * F.one_hot(task.labels(), task.classes)

    soft, hard = answering(monkeypatch, certain), RandomReal().distill(tiny_task(), meter())
    assert torch.equal(soft.parts["labels"], F.one_hot(hard.parts["labels"], 3).float())
    evaluator = score(soft)
    ours, theirs = evaluator.train(soft, 0), evaluator.train(hard, 0)
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight)


def test_an_expert_that_knows_nothing_gives_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    soft = answering(monkeypatch, lambda task, images: torch.zeros(len(images), task.classes))
    assert torch.equal(soft.parts["labels"], torch.full((6, 3), 1 / 3))
    evaluator = score(soft)
    means = [evaluator.score(soft, seed=seed).accuracy for seed in range(2)]
    assert abs(sum(means) / 2 - 1 / 3) < 0.2
    assert evaluator.score(RandomReal().distill(tiny_task(), meter()), seed=0).accuracy == 1.0


def test_several_training_images_of_a_part_share_the_mean_of_their_answers() -> None:
    task = tiny_task(ipc=4)
    soft = RandomReal(decoder="multi_formation", labels=SHORT).distill(task, meter())
    images, labels = soft.decode()
    weights = unflatten(expert_weights(tiny_task(ipc=4), meter(), SETTINGS), task.like)
    answers = task.forward(weights, images).softmax(1)
    torch.testing.assert_close(labels[:4], answers[:4].mean(0).expand(4, -1))
    assert soft.parts["labels"].shape == (len(images) // 4, 3)


def test_the_epoch_is_the_best_on_images_that_are_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, read = iter([5.0, 3.0, 1.0, 2.0]), list[Tensor]()

    def reading(task: Any, weights: Any, positions: Tensor) -> Tensor:
        read.append(flatten(weights))
        return torch.tensor(next(losses))

    monkeypatch.setattr(label_sources, "_mean_loss", reading)
    chosen = expert_weights(random_task(40), meter(), ExpertLabels(epochs=4, batch=8, lr=0.1))
    assert torch.equal(chosen, read[2])
    assert not torch.equal(chosen, read[3])


def test_held_out_images_are_not_trained_on() -> None:
    task = tiny_task()
    kept, held = label_sources._split(task, task.generator("split"))
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(60))
    assert len(held) == 6
    assert {int(label) for label in task.real.take(held)[1]} == {0, 1, 2}


def test_a_budget_that_ends_within_the_first_epoch_leaves_the_last_weights() -> None:
    task = tiny_task()
    long = ExpertLabels(epochs=2, epoch_batches=5, batch=16, lr=0.1)
    cut = expert_weights(task, meter(steps=3), long)
    again = tiny_task()
    shorter = expert_weights(again, meter(steps=2), long)
    assert not torch.equal(cut, shorter)


def test_an_expert_is_trained_once_and_charged_to_every_run(tmp_path: Any) -> None:
    cache = Cache(tmp_path, {})
    first, second = meter(cache=cache), meter(cache=cache)
    weights = expert_weights(tiny_task(), first, SETTINGS)
    assert torch.equal(expert_weights(tiny_task(), second, SETTINGS), weights)
    assert first.done == second.done == {"teacher": 4}
    assert second.seconds["teacher"] == pytest.approx(first.seconds["teacher"], rel=0.5, abs=0.05)


def test_one_image_of_each_class_cannot_be_held_out() -> None:
    with pytest.raises(UserError, match="labels of an expert need 6 images of a class, to hold one out"):
        expert_weights(random_task(3), meter(), SETTINGS)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (
            "soft",
            "labels 'soft' are not known; write hard, or expert, stored or teacher with settings as in expert,epo",
        ),
        ("stored,passes=0", "passes of an expert's labels is '0'; it must be a whole number of at least 1"),
        ("teacher,passes=2", "labels of an expert have no setting 'passes'"),
        ("hard,epochs=2", "labels 'hard,epochs=2' are not known"),
        ("expert,epoch=2", "labels of an expert have no setting 'epoch'; did you mean 'epochs'"),
        ("expert,epochs=0", "epochs of an expert's labels is '0'; it must be a whole number of at least 1"),
        ("expert,epochs=2.5", "epochs of an expert's labels is '2.5'; it must be a whole number of at least 1"),
        ("expert,lr=nan", "lr of an expert's labels is 'nan'; it must be a number above 0"),
        ("expert,batch", "batch of an expert's labels is ''; it must be a whole number"),
    ],
)
def test_labels_that_cannot_be_are_refused_with_the_fix(labels: str, complaint: str) -> None:
    with pytest.raises(UserError) as refusal:
        make_method(RandomReal, {"labels": labels})
    assert complaint in str(refusal.value)


def test_settings_of_an_expert_are_read() -> None:
    assert parse_labels("hard") is None
    assert parse_labels("expert") == SoftLabels("expert", ExpertLabels())
    given = ExpertLabels(epochs=20, lr=0.1)
    assert parse_labels("expert, epochs=20, epoch_batches=0, lr=0.1") == SoftLabels("expert", given)
    assert parse_labels("stored,passes=7,epochs=20, lr=0.1") == SoftLabels("stored", given, 7)


# -- tables -----------------------------------------------------------------------------------------------------------

STATIC: dict[str, Any] = {"label_source": "static", "hyperparameters": {"labels": "expert"}}


def test_soft_rows_stand_beside_random_images_with_soft_labels_and_never_rank_with_hard_ones() -> None:
    hard = [make_record("random_real", seed, (0.50 + seed / 100,), label_source="hard") for seed in range(3)]
    soft = [make_record("random_real", seed, (0.70 + seed / 100,), **STATIC) for seed in range(3)]
    learned = [make_record("learned", seed, (0.75 + seed / 100,), label_source="static") for seed in range(3)]
    plain = [make_record("plain", seed, (0.55 + seed / 100,), label_source="hard") for seed in range(3)]
    found = {(row.method, row.labels): row for row in rows([*hard, *soft, *learned, *plain])}
    assert {key: row.rank for key, row in found.items()} == {
        ("random_real", "hard"): 2, ("plain", "hard"): 1, ("random_real", "static"): 2, ("learned", "static"): 1,
    }  # fmt: skip
    beyond = {
        method: found[method, source].versus_random for method, source in (("learned", "static"), ("plain", "hard"))
    }
    assert {method: round(each.mean, 6) for method, each in beyond.items() if each} == {"learned": 0.05, "plain": 0.05}
    alone = {row.method: row for row in rows([*hard, *learned])}["learned"].versus_random
    assert alone is not None
    assert alone.mean == pytest.approx(0.25)  # without a control of its own source, that with classes
    lines = overview(groups(rows([*hard, *soft])))
    assert [row.labels for row, _ in lines] == ["hard"]
    methods = [row.method for row, _ in overview(groups(rows([*hard, *soft, *learned, *plain])))]
    assert methods == ["plain", "learned", "random_real"]  # both of rank 1, each among its own


def test_records_from_before_are_of_one_cell_with_hard_labels() -> None:
    old = make_record("random_real", hyperparameters={"decoder": "pixels"})
    new = make_record("random_real", hyperparameters={"decoder": "pixels", "labels": "hard"})
    assert old.result.cell.distinguishing == new.result.cell.distinguishing
    assert len(rows([old, new])) == 1


def test_generators_of_an_expert_are_its_own() -> None:
    """A control with soft labels draws the same images as with classes, whatever else is drawn."""
    one = RandomReal(labels=SHORT).distill(tiny_task(generators=Generators("another")), meter())
    other = RandomReal().distill(tiny_task(generators=Generators("another")), meter())
    assert torch.equal(one.parts["images"], other.parts["images"])
