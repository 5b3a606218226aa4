"""Where networks come from: turns, queues and replacements by hand, and the same ones after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from ddbench.compute.generators import Generators, seeded
from ddbench.families.network_sources import FreshNetworks, InterpolatedExperts, Queue, Source, TrainedUntilStable, View
from ddbench.families.training import OnSynthetic, Trained, Trainer
from ddbench.meter.checkpoint import State, capture, restore
from ddbench.networks.flatten import flatten
from ddbench.task.task import Task
from tasks import random_task


def walk(source: Source, task: Task, steps: int) -> list[View]:
    images = torch.randn(6, 1, 4, 4, generator=seeded(0))
    return [source.next(images, task.labels()) for _ in range(steps)]


def groups(views: list[View]) -> list[int]:
    """How many steps each network was given for, one after the other."""
    counts = [1]
    for before, after in pairwise(views):
        if torch.equal(flatten(before.weights), flatten(after.weights)):
            counts[-1] += 1
        else:
            counts.append(1)
    return counts


# -- fresh networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("uses", "turns"), [(1, [1] * 7), (3, [3, 3, 1]), (10, [7])])
def test_a_fresh_network_is_given_as_often_as_said(uses: int, turns: list[int]) -> None:
    task = random_task(30)
    views = walk(FreshNetworks(task, uses), task, 7)
    assert groups(views) == turns
    assert torch.equal(flatten(views[0].weights), flatten(random_task(30).initial()))
    assert {view.guide for view in views} == {view.strength for view in views} == {None}


# -- the queue --------------------------------------------------------------------------------------------------------


class Counting:
    """In place of a trainer: counts steps in the velocity; accuracy is a hundredth of the trainings there were."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.measurements = 0

    def step(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        self.batches.append(len(images))
        return replace(network, velocity={name: v + 1 for name, v in network.velocity.items()})

    def measured(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        self.measurements += 1
        return replace(network, accuracy=torch.tensor(self.measurements / 100))


def make_queue(task: Task, trainer: Any, **changes: Any) -> Queue:
    settings = {"begin": 2, "most": 4, "every": 3, "train": 1, "train_steps": 2, "batch": 5, "guidance": 0.5}
    return Queue(task, trainer, **{**settings, **changes})


def members(queue: Queue) -> list[tuple[list[float], int, float]]:
    """Of each, who it is, steps it has trained, and its accuracy."""
    return [
        (m["weights"]["classifier.bias"].tolist(), int(m["velocity"]["classifier.bias"][0]), m["accuracy"].item())
        for m in queue.state_dict()["members"]
    ]


def names(queue: Queue) -> list[list[float]]:
    return [name for name, _, _ in members(queue)]


def test_a_queue_grows_and_then_the_oldest_leaves() -> None:
    task = random_task(30)
    queue = make_queue(task, Counting())
    seen = [names(queue)]
    for _ in range(12):
        walk(queue, task, 1)
        seen.append(names(queue))
    # begins with two; one joins before steps 4, 7 and 10, and there is no room for the last
    assert [len(found) for found in seen] == [2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]
    assert seen[4][:2] == seen[0]
    assert seen[7][:3] == seen[4]
    assert seen[10][:3] == seen[7][1:]
    assert len({tuple(name) for found in seen for name in found}) == 5


def test_a_queue_that_begins_full_stays_full() -> None:
    task = random_task(30)
    queue = make_queue(task, Counting(), begin=3, most=3, every=1)
    first = names(queue)
    walk(queue, task, 2)
    assert names(queue)[:2] == first[1:]  # before the first step none joins


@pytest.mark.parametrize("train", [1, 2, 9])
def test_only_some_of_a_queue_train_at_a_step(train: int) -> None:
    task, trainer = random_task(30), Counting()
    queue = make_queue(task, trainer, begin=3, every=1000, train=train)
    total = [0, 0, 0]
    for _ in range(30):
        before = members(queue)
        walk(queue, task, 1)
        after = members(queue)
        trained = [new[1] - old[1] for old, new in zip(before, after, strict=True)]
        assert sorted(trained) == [0] * (3 - train) + [2] * min(train, 3)
        assert [new == old for old, new in zip(before, after, strict=True)] == [steps == 0 for steps in trained]
        total = [sum(pair) for pair in zip(total, trained, strict=True)]
    assert min(total) > 0
    assert set(trainer.batches) == {5}
    assert len(trainer.batches) == sum(total)


def test_the_chosen_network_guides_by_the_accuracy_it_had() -> None:
    task = random_task(30)
    queue = make_queue(task, Counting(), begin=3, every=1000)
    strengths, chosen = [], set()
    for _ in range(20):
        before = {tuple(name): accuracy for name, _, accuracy in members(queue)}
        (view,) = walk(queue, task, 1)
        name = tuple(view.weights["classifier.bias"].tolist())
        assert view.guide is view.weights
        assert view.strength is not None
        assert view.strength.item() == pytest.approx(100 * 0.5 * before[name])
        strengths.append(view.strength.item())
        chosen.add(name)
    assert strengths[0] == 0  # not yet measured
    assert max(strengths) > 0
    assert len(chosen) == 3


def test_members_of_a_queue_train_as_the_trainer_says() -> None:
    task, twin = random_task(30), random_task(30)
    queue = make_queue(task, Trainer(task, 0.1, 0.9, 5e-4), begin=1, most=1, every=1000, guidance=0.1)
    views = walk(queue, task, 3)
    trainer, member = Trainer(twin, 0.1, 0.9, 5e-4), Trained.begin(twin.initial())
    for view in views:
        assert torch.allclose(flatten(view.weights), flatten(member.weights))
        assert view.strength is not None
        assert view.strength.item() == pytest.approx(10 * member.accuracy.item())
        for _ in range(2):
            batch = twin.real.batch(5, twin.generator("queue/real"))
            member = trainer.step(member, *batch)
        member = trainer.measured(member, *batch)


# -- between two ends -------------------------------------------------------------------------------------------------


def test_a_point_lies_on_the_way_of_one_expert_whose_end_guides() -> None:
    task = random_task(30)
    trajectories = torch.randn(3, 4, flatten(task.initial()).numel(), generator=seeded(0))
    views = walk(InterpolatedExperts(task, trajectories, 0.25), task, 100)
    shares: list[list[float]] = [[], [], []]
    for view in views:
        assert view.guide is not None
        assert view.strength is not None
        assert view.strength.item() == 0.25
        guide, point = flatten(view.guide), flatten(view.weights)
        (expert,) = (number for number in range(3) if torch.equal(guide, trajectories[number, -1]))
        way = trajectories[expert, 0] - guide
        share = float((point - guide) @ way / way.square().sum())
        assert torch.allclose(point, guide + share * way, atol=1e-5)
        shares[expert].append(share)
    assert all(0 <= share <= 1 for found in shares for share in found)
    for found in shares:  # anywhere between the ends
        assert min(found) < 0.25
        assert max(found) > 0.75


# -- until it settles -------------------------------------------------------------------------------------------------


class Scripted:
    """In place of trainer and training: accuracies as told, and one step in the velocity for each epoch."""

    def __init__(self, accuracies: Iterator[float]) -> None:
        self.accuracies, self.epochs, self.probes = accuracies, 0, set[tuple[int, ...]]()

    def measured(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        self.probes.add(tuple(labels.tolist()))
        return replace(network, accuracy=torch.tensor(next(self.accuracies)))

    def __call__(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        self.epochs += 1
        return replace(network, weights={name: weight + 1 for name, weight in network.weights.items()})


CHANGE = [0.9, 0.1]
"""after which a training ends with the next epoch"""


def settle(accuracies: list[float], steps: int, **changes: Any) -> tuple[list[int], list[View], Scripted]:
    """Epochs before each step, its network, and the script that must end with the last step."""
    task, script = random_task(30), Scripted(iter(accuracies))
    settings: dict[str, Any] = {"settled": 0.04, "changed": 0.03, "window": 3, "epochs": 5, "probe": 2}
    source = TrainedUntilStable(task, script, script, **{**settings, **changes})  # type: ignore[arg-type]
    epochs, views = [], []
    for _ in range(steps):
        before = script.epochs
        views += walk(source, task, 1)
        epochs.append(script.epochs - before)
    assert next(script.accuracies, None) is None
    return epochs, views, script


def test_a_network_is_first_given_untrained_and_measured_on_every_class() -> None:
    epochs, (view,), script = settle([0.5], 1)
    assert epochs == [0]
    assert script.probes == {(0, 0, 1, 1, 2, 2)}
    assert torch.equal(flatten(view.weights), flatten(random_task(30).initial()))
    assert (view.guide, view.strength) == (None, None)


def test_a_training_ends_when_accuracies_have_changed() -> None:
    # spreads .02 after three epochs and .035 after the fourth
    epochs, views, _ = settle([0.1, 0.11, 0.12, 0.13, 0.155], 2)
    assert epochs == [0, 4]
    assert torch.allclose(flatten(views[1].weights), flatten(views[0].weights) + 4)


def test_a_training_ends_when_accuracies_fall_too() -> None:
    assert settle([0.5, 0.5, 0.5, 0.4], 2)[0] == [0, 3]


def test_a_training_lasts_as_many_epochs_as_are_compared() -> None:
    assert settle([0.5, 0.9, 0.1, 0.9], 2)[0] == [0, 3]


def test_a_training_ends_at_the_latest_after_all_epochs() -> None:
    assert settle([0.5] * (1 + 5 + 5), 3)[0] == [0, 5, 5]


def test_change_is_looked_for_within_the_window_alone() -> None:
    rising = [0.1 + 0.02 * step for step in range(6)]  # .02 from one epoch to the next, .1 in all
    assert settle(rising, 2, window=2)[0] == [0, 5]


def test_a_network_whose_accuracies_have_settled_is_replaced() -> None:
    # at steps .5, .53, .51: within .04; the fourth step has a fresh network that must settle by itself
    first = [0.5, *CHANGE, 0.53, *CHANGE, 0.51]
    second = [0.52, *CHANGE, 0.53, *CHANGE, 0.51]
    epochs, views, _ = settle([*first, *second, 0.1], 7)
    assert epochs == [0, 3, 3, 0, 3, 3, 0]
    twin = random_task(30)
    for start in (0, 3, 6):
        assert torch.equal(flatten(views[start].weights), flatten(twin.initial()))


def test_a_network_that_still_changes_is_kept() -> None:
    # no three steps in a row vary by less than .04, until the last three do
    steps = [0.5, 0.6, 0.5, 0.6, 0.62, 0.61, 0.3]
    script = [steps[0], *(value for step in steps[1:-1] for value in (*CHANGE, step)), steps[-1]]
    assert settle(script, 7)[0] == [0, 3, 3, 3, 3, 3, 0]


# -- going on after an interruption -----------------------------------------------------------------------------------


def make_between(task: Task) -> Source:
    return InterpolatedExperts(task, torch.randn(3, 2, flatten(task.initial()).numel(), generator=seeded(0)), 0.5)


def make_settling(task: Task) -> Source:
    trainer = Trainer(task, 0.05)
    train = OnSynthetic(task, trainer, 4, augment=True)
    return TrainedUntilStable(task, trainer, train, settled=0.3, changed=0.2, window=2, epochs=2, probe=2)


SOURCES: dict[str, Callable[[Task], Source]] = {
    "fresh": FreshNetworks,
    "fresh, several uses": lambda task: FreshNetworks(task, 3),
    "queue": lambda task: make_queue(task, Trainer(task, 0.1, 0.9), every=2, train=2),
    "between": make_between,
    "settling": make_settling,
}


@pytest.mark.parametrize("name", list(SOURCES))
@pytest.mark.parametrize("before", [0, 3, 4])
def test_a_source_goes_on_after_an_interruption(name: str, before: int) -> None:
    generators = Generators("tiny")
    task = random_task(30, generators)
    source = SOURCES[name](task)
    walk(source, task, before)
    saved, drawn = capture(State(source=source)), generators.get_state()
    expected = walk(source, task, 8)
    others = Generators("tiny")
    other = random_task(30, others)
    again = SOURCES[name](other)
    restore(State(source=again), saved)
    others.set_state(drawn)
    for ours, theirs in zip(walk(again, other, 8), expected, strict=True):
        assert torch.equal(flatten(ours.weights), flatten(theirs.weights))
        assert (ours.guide is None) == (theirs.guide is None)
        if ours.guide is not None and theirs.guide is not None:
            assert torch.equal(flatten(ours.guide), flatten(theirs.guide))
            assert torch.equal(torch.as_tensor(ours.strength), torch.as_tensor(theirs.strength))
    assert len(groups(expected)) > 2
