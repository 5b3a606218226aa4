"""Training beside a distillation, against torch.optim and counts by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.compute.generators import seeded
from ddbench.data.augmentation import cutmix
from ddbench.families.training import OnReal, OnSynthetic, Trained, Trainer
from ddbench.meter.checkpoint import State, capture, restore
from tasks import random_task

COUNT = 10


class Recorder:
    """In place of a trainer: notes its batches, and counts them in the velocity of the network."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, Tensor]] = []

    def step(self, network: Trained, images: Tensor, labels: Tensor) -> Trained:
        self.batches.append((images, labels))
        return Trained(network.weights, {name: v + 1 for name, v in network.velocity.items()}, network.accuracy)


# -- steps and accuracy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.9, 0.1)])
def test_steps_equal_those_of_torch(momentum: float, decay: float) -> None:
    task = random_task()
    trained = Trained.begin(task.initial())
    module = task.network
    module.load_state_dict(trained.weights)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=momentum, weight_decay=decay)
    trainer = Trainer(task, 0.1, momentum, decay)
    for step in range(5):
        images, labels = task.real.take(range(step, step + 5))
        trained = trainer.step(trained, images, labels)
        optimizer.zero_grad()
        F.cross_entropy(module(images), labels).backward()
        optimizer.step()
        for name, parameter in module.named_parameters():
            assert torch.allclose(trained.weights[name], parameter, atol=1e-6)
    if momentum:
        for name, parameter in module.named_parameters():
            assert torch.allclose(trained.velocity[name], optimizer.state[parameter]["momentum_buffer"], atol=1e-6)


def test_a_step_leaves_the_network_that_it_started_from() -> None:
    task = random_task()
    weights = task.initial()
    before = Trained(weights, {name: torch.ones_like(w) for name, w in weights.items()}, torch.tensor(0.5))
    kept = capture(State(network=before))["network"]
    after = Trainer(task, 0.1, 0.9).step(before, *task.real.take(range(4)))
    assert all(torch.equal(before.weights[name], kept["weights"][name]) for name in weights)
    assert all(torch.equal(before.velocity[name], kept["velocity"][name]) for name in weights)
    assert not torch.equal(after.weights["classifier.bias"], before.weights["classifier.bias"])
    assert after.accuracy == 0.5


def test_labels_may_be_probabilities() -> None:
    task = random_task()
    trainer, start = Trainer(task, 0.1), Trained.begin(task.initial())
    images, labels = task.real.take(range(6))
    certain = trainer.step(start, images, F.one_hot(labels, 3).float())
    for name, weight in trainer.step(start, images, labels).weights.items():
        assert torch.allclose(certain.weights[name], weight, atol=1e-6)
    shares = torch.rand(6, 3, generator=seeded(0)).softmax(1)
    module = task.network
    module.load_state_dict(start.weights)
    (-(shares * module(images).log_softmax(1)).sum() / 6).backward()
    for name, weight in trainer.step(start, images, shares).weights.items():
        gradient = module.get_parameter(name).grad
        assert gradient is not None
        assert torch.allclose(weight, start.weights[name] - 0.1 * gradient, atol=1e-6)


@pytest.mark.parametrize("chunk", [COUNT, 3])
def test_accuracy_is_the_share_of_right_answers(chunk: int) -> None:
    task = random_task()
    task.chunks.most = chunk
    weights = {name: torch.zeros_like(weight) for name, weight in task.initial().items()}
    images, labels = task.real.take(range(COUNT))
    for answer, share in ((0, 0.4), (1, 0.3), (2, 0.3)):
        weights["classifier.bias"] = F.one_hot(torch.tensor(answer), 3).float()
        network = Trainer(task, 0.1).measured(Trained.begin(weights), images, labels)
        assert network.accuracy.item() == pytest.approx(share)
    weights = task.initial()
    task.network.load_state_dict(weights)
    right = sum(int(task.network(image[None]).argmax()) == label for image, label in zip(images, labels, strict=True))
    measured = Trainer(task, 0.1).measured(Trained.begin(weights), images, labels)
    assert measured.accuracy.item() == pytest.approx(right / COUNT)
    assert measured.weights is weights


# -- a network's state ------------------------------------------------------------------------------------------------


def test_a_network_begins_at_rest_and_unmeasured() -> None:
    weights = random_task().initial()
    network = Trained.begin(weights)
    assert all(torch.equal(v, torch.zeros_like(weights[name])) for name, v in network.velocity.items())
    assert network.accuracy.shape == ()
    assert network.accuracy == 0


def test_a_network_comes_back_from_its_state() -> None:
    task = random_task()
    trainer, data = Trainer(task, 0.1, 0.9), task.real.take(range(COUNT))
    network = trainer.measured(trainer.step(Trained.begin(task.initial()), *data), *data)
    state = State(network=Trained.begin(task.initial()))
    restore(state, capture(State(network=network)))
    assert torch.equal(state.network.accuracy, network.accuracy)
    ours, theirs = trainer.step(state.network, *data), trainer.step(network, *data)
    for name, weight in theirs.weights.items():
        assert torch.equal(ours.weights[name], weight)
        assert torch.equal(ours.velocity[name], theirs.velocity[name])


# -- trainings --------------------------------------------------------------------------------------------------------


def numbered(count: int) -> tuple[Tensor, Tensor]:
    """Images whose pixels are their number, and labels ten times it."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 1, 4, 4), 10 * torch.arange(count)


@pytest.mark.parametrize("augment", [False, True])
def test_an_epoch_takes_every_synthetic_image_once(augment: bool) -> None:
    task, recorder = random_task(), Recorder()
    task.augmentation = lambda images, generator: images + 100  # type: ignore[assignment]
    train = OnSynthetic(task, recorder, 3, augment)  # type: ignore[arg-type]
    network = train(Trained.begin(task.initial()), *numbered(7))
    assert [len(images) for images, _ in recorder.batches] == [3, 3, 1]
    assert float(network.velocity["classifier.bias"][0]) == 3  # one step after the other
    train(network, *numbered(7))
    orders = []
    for epoch in (recorder.batches[:3], recorder.batches[3:]):
        order = torch.cat([images for images, _ in epoch])[:, 0, 0, 0] - 100 * augment
        assert sorted(order.tolist()) == list(range(7))
        assert torch.equal(torch.cat([labels for _, labels in epoch]), 10 * order.long())
        orders.append(order.tolist())
    assert orders[0] != orders[1]


def test_training_on_synthetic_images_equals_a_plain_loop() -> None:
    task, twin = random_task(), random_task()
    images, labels = task.real.take(range(COUNT))
    trained = OnSynthetic(task, Trainer(task, 0.1), 4, augment=False)(Trained.begin(task.initial()), images, labels)
    module: nn.Module = twin.network
    module.load_state_dict(twin.initial())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    order = torch.randperm(COUNT, generator=twin.generator("order"))
    for chosen in (order[:4], order[4:8], order[8:]):
        optimizer.zero_grad()
        F.cross_entropy(module(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    for name, parameter in module.named_parameters():
        assert torch.allclose(trained.weights[name], parameter, atol=1e-6)


@pytest.mark.parametrize("augment", [False, True])
def test_training_on_real_images_takes_the_steps_asked_for(augment: bool) -> None:
    task, twin, recorder = random_task(), random_task(), Recorder()
    train = OnReal(task, recorder, steps=12, batch=6, augment=augment, cut=augment)  # type: ignore[arg-type]
    network = train(Trained.begin(task.initial()))
    assert float(network.velocity["classifier.bias"][0]) == 12
    mixed = 0
    for images, shares in recorder.batches:
        real, labels = twin.real.batch(6, twin.generator("train/real"))
        certain = expected = F.one_hot(labels, 3).float()
        if augment:
            generator = twin.generator("train/augment", device="cpu")
            real, expected = cutmix(twin.augmentation(real, generator), expected, generator)
        assert torch.equal(images, real)
        assert torch.equal(shares, expected)
        mixed += not torch.equal(shares, certain)
    assert len(recorder.batches) == 12
    assert (0 < mixed < 12) == augment


def test_training_on_real_images_depends_on_the_task_alone() -> None:
    results = []
    for _ in range(2):
        task = random_task()
        train = OnReal(task, Trainer(task, 0.1), steps=2, batch=5, augment=True, cut=True)
        results.append(train(Trained.begin(task.initial())).weights["classifier.bias"])
        torch.manual_seed(123)
    assert torch.equal(*results)
