"""Where networks come from: turns, queues and replacements by hand, and the same ones after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.compute.generators import Generators, seeded
from ddbench.families.network_sources import (
    FreshNetworks,
    InterpolatedExperts,
    NetworkQueue,
    Stability,
    TrainedUntilStable,
)
from ddbench.families.training import OnSynthetic, Trained, Trainer
from ddbench.meter.checkpoint import State, capture, restore
from ddbench.networks.flatten import flatten
from ddbench.task.task import Task
from tasks import random_task


def walk(source: FreshNetworks | TrainedUntilStable, task: Task, steps: int) -> list[Weights]:
    images = torch.randn(6, 1, 4, 4, generator=seeded(0))
    training = (images, task.labels()) if isinstance(source, TrainedUntilStable) else ()
    return [source.next(*training) for _ in range(steps)]


def groups(networks: list[Weights]) -> list[int]:
    """How many steps each network was given for, one after the other."""
    counts = [1]
    for before, after in pairwise(networks):
        if torch.equal(flatten(before), flatten(after)):
            counts[-1] += 1
        else:
            counts.append(1)
    return counts


# -- fresh networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("uses", "turns"), [(1, [1] * 7), (3, [3, 3, 1]), (10, [7])])
def test_a_fresh_network_is_given_as_often_as_said(uses: int, turns: list[int]) -> None:
    task = random_task(30)
    networks = walk(FreshNetworks(task, uses), task, 7)
    assert groups(networks) == turns
    assert torch.equal(flatten(networks[0]), flatten(random_task(30).initial()))


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


def make_queue(task: Task, initial_size: int = 2, max_size: int = 4, every: int = 3) -> NetworkQueue:
    return NetworkQueue(task, initial_size, max_size, every)


def use_queue(queue: NetworkQueue, trainer: Any, steps: int, networks: int = 1) -> list[Trained]:
    """The network of each step, after which some train."""
    given = []
    for _ in range(steps):
        given.append(queue.next())
        queue.train(trainer, networks, steps=2, batch=5)
    return given


def members(queue: NetworkQueue) -> list[tuple[list[float], int, float]]:
    """Of each, who it is, steps it has trained, and its accuracy."""
    return [
        (m["weights"]["classifier.bias"].tolist(), int(m["velocity"]["classifier.bias"][0]), m["accuracy"].item())
        for m in queue.state_dict()["members"]
    ]


def names(queue: NetworkQueue) -> list[list[float]]:
    return [name for name, _, _ in members(queue)]


def test_a_queue_grows_and_then_the_oldest_leaves() -> None:
    task = random_task(30)
    queue = make_queue(task)
    seen = [names(queue)]
    for _ in range(12):
        use_queue(queue, Counting(), 1)
        seen.append(names(queue))
    # begins with two; one joins before steps 4, 7 and 10, and there is no room for the last
    assert [len(found) for found in seen] == [2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]
    assert seen[4][:2] == seen[0]
    assert seen[7][:3] == seen[4]
    assert seen[10][:3] == seen[7][1:]
    assert len({tuple(name) for found in seen for name in found}) == 5


def test_a_queue_that_begins_full_stays_full() -> None:
    task = random_task(30)
    queue = make_queue(task, initial_size=3, max_size=3, every=1)
    first = names(queue)
    use_queue(queue, Counting(), 2)
    assert names(queue)[:2] == first[1:]  # before the first step none joins


@pytest.mark.parametrize("train", [1, 2, 9])
def test_only_some_of_a_queue_train_at_a_step(train: int) -> None:
    task, trainer = random_task(30), Counting()
    queue = make_queue(task, initial_size=3, every=1000)
    total = [0, 0, 0]
    for _ in range(30):
        before = members(queue)
        use_queue(queue, trainer, 1, train)
        after = members(queue)
        trained = [new[1] - old[1] for old, new in zip(before, after, strict=True)]
        assert sorted(trained) == [0] * (3 - train) + [2] * min(train, 3)
        assert [new == old for old, new in zip(before, after, strict=True)] == [steps == 0 for steps in trained]
        total = [sum(pair) for pair in zip(total, trained, strict=True)]
    assert min(total) > 0
    assert set(trainer.batches) == {5}
    assert len(trainer.batches) == sum(total)


def test_the_chosen_network_comes_with_the_accuracy_it_had() -> None:
    task, trainer = random_task(30), Counting()
    queue = make_queue(task, initial_size=3, every=1000)
    accuracies, chosen = [], set()
    for _ in range(20):
        before = {tuple(name): accuracy for name, _, accuracy in members(queue)}
        (network,) = use_queue(queue, trainer, 1)
        name = tuple(network.weights["classifier.bias"].tolist())
        assert network.accuracy.item() == before[name]
        accuracies.append(network.accuracy.item())
        chosen.add(name)
    assert accuracies[0] == 0  # not yet measured
    assert max(accuracies) > 0
    assert len(chosen) == 3


def test_members_of_a_queue_train_as_the_trainer_says() -> None:
    task, twin = random_task(30), random_task(30)
    queue = make_queue(task, initial_size=1, max_size=1, every=1000)
    networks = use_queue(queue, Trainer(task, 0.1, 0.9, 5e-4), 3)
    trainer, member = Trainer(twin, 0.1, 0.9, 5e-4), Trained.begin(twin.initial())
    for network in networks:
        assert torch.allclose(flatten(network.weights), flatten(member.weights))
        assert network.accuracy.item() == pytest.approx(member.accuracy.item())
        for _ in range(2):
            batch = twin.real.batch(5, twin.generator("queue/real"))
            member = trainer.step(member, *batch)
        member = trainer.measured(member, *batch)


# -- between two ends -------------------------------------------------------------------------------------------------


def test_a_point_lies_on_the_way_of_one_expert_and_comes_with_its_end() -> None:
    task = random_task(30)
    trajectories = list(torch.randn(3, 4, flatten(task.initial()).numel(), generator=seeded(0)))
    source = InterpolatedExperts(task, trajectories)
    shares: list[list[float]] = [[], [], []]
    for _ in range(100):
        point, end = map(flatten, source.next())
        (expert,) = (number for number in range(3) if torch.equal(end, trajectories[number][-1]))
        way = trajectories[expert][0] - end
        share = float((point - end) @ way / way.square().sum())
        assert torch.allclose(point, end + share * way, atol=1e-5)
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


def settle(accuracies: list[float], steps: int, window: int = 3) -> tuple[list[int], list[Weights], Scripted]:
    """Epochs before each step, its network, and the script that must end with the last step."""
    task, script = random_task(30), Scripted(iter(accuracies))
    stability = Stability(window, settled=0.04, changed=0.03)
    source = TrainedUntilStable(task, script, script, stability, epochs=5, probe=2)  # type: ignore[arg-type]
    epochs, networks = [], []
    for _ in range(steps):
        before = script.epochs
        networks += walk(source, task, 1)
        epochs.append(script.epochs - before)
    assert next(script.accuracies, None) is None
    return epochs, networks, script


def test_a_network_is_first_given_untrained_and_measured_on_every_class() -> None:
    epochs, (network,), script = settle([0.5], 1)
    assert epochs == [0]
    assert script.probes == {(0, 0, 1, 1, 2, 2)}
    assert torch.equal(flatten(network), flatten(random_task(30).initial()))


def test_a_training_ends_when_accuracies_have_changed() -> None:
    # spreads .02 after three epochs and .035 after the fourth
    epochs, networks, _ = settle([0.1, 0.11, 0.12, 0.13, 0.155], 2)
    assert epochs == [0, 4]
    assert torch.allclose(flatten(networks[1]), flatten(networks[0]) + 4)


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
    epochs, networks, _ = settle([*first, *second, 0.1], 7)
    assert epochs == [0, 3, 3, 0, 3, 3, 0]
    twin = random_task(30)
    for start in (0, 3, 6):
        assert torch.equal(flatten(networks[start]), flatten(twin.initial()))


def test_a_network_that_still_changes_is_kept() -> None:
    # no three steps in a row vary by less than .04, until the last three do
    steps = [0.5, 0.6, 0.5, 0.6, 0.62, 0.61, 0.3]
    script = [steps[0], *(value for step in steps[1:-1] for value in (*CHANGE, step)), steps[-1]]
    assert settle(script, 7)[0] == [0, 3, 3, 3, 3, 3, 0]


# -- going on after an interruption -----------------------------------------------------------------------------------


Used = tuple[Any, Callable[[int], list[Weights]]]
"""a source, and what uses it for some steps"""


def of_fresh(task: Task, uses: int) -> Used:
    source = FreshNetworks(task, uses)
    return source, lambda steps: walk(source, task, steps)


def of_queue(task: Task) -> Used:
    queue, trainer = make_queue(task, every=2), Trainer(task, 0.1, 0.9)

    def use(steps: int) -> list[Weights]:
        given = use_queue(queue, trainer, steps, networks=2)
        return [{**network.weights, "accuracy": network.accuracy} for network in given]

    return queue, use


def of_between(task: Task) -> Used:
    trajectories = list(torch.randn(3, 2, flatten(task.initial()).numel(), generator=seeded(0)))
    source = InterpolatedExperts(task, trajectories)
    return None, lambda steps: [weights for _ in range(steps) for weights in source.next()]


def of_settling(task: Task) -> Used:
    trainer, stability = Trainer(task, 0.05), Stability(2, settled=0.3, changed=0.2)
    train = OnSynthetic(task, trainer, 4, augment=True)
    source = TrainedUntilStable(task, trainer, train, stability, epochs=2, probe=2)
    return source, lambda steps: walk(source, task, steps)


SOURCES: dict[str, Callable[[Task], Used]] = {
    "fresh": lambda task: of_fresh(task, 1),
    "fresh, several uses": lambda task: of_fresh(task, 3),
    "queue": of_queue,
    "between": of_between,
    "settling": of_settling,
}


@pytest.mark.parametrize("name", list(SOURCES))
@pytest.mark.parametrize("before", [0, 3, 4])
def test_a_source_goes_on_after_an_interruption(name: str, before: int) -> None:
    generators = Generators("tiny")
    source, use = SOURCES[name](random_task(30, generators))
    use(before)
    saved, drawn = capture(State(source=source)), generators.get_state()
    expected = use(8)
    others = Generators("tiny")
    again, use_again = SOURCES[name](random_task(30, others))
    restore(State(source=again), saved)
    others.set_state(drawn)
    for ours, theirs in zip(use_again(8), expected, strict=True):
        assert torch.equal(flatten(ours), flatten(theirs))
    assert len(groups(expected)) > 2
