"""The scoring loop against plain PyTorch, textbook gradient descent, and cases counted by hand."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data import Dataset, Preprocessing, load_dataset
from ddbench.errors import UserError
from ddbench.evaluation import trainer as evaluation
from ddbench.evaluation.descent import train_by_descent
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator, evaluate
from ddbench.networks import InitialWeights, build_network
from ddbench.records.cell import NetworkSpec
from ddbench.registry import METHODS, discover
from ddbench.testing import tiny_dataset
from tasks import setting_of

CPU = torch.device("cpu")
TINY = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8})
FEW = Protocol("few-12@1", "test", steps=12, short=5, batch_size=6, lr=0.1)
OWN = Protocol("own@1", "test", steps=12, honours=("lr", "order", "epochs", "momentum", "initial"))
STILL = Protocol("still@1", "test", steps=1, lr=0.0, weight_decay=0.0, honours=("initial",))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits")


def judge(
    data: Dataset, protocol: Protocol = FEW, network: NetworkSpec = TINY, setting: str = "fixed"
) -> ImageEvaluator:
    """An evaluator; in the setting `fixed` networks start from stored weights where the protocol honours them."""
    transform = Preprocessing.for_dataset(data).fit(data)
    return ImageEvaluator(data, transform, protocol, network, CPU, setting_of(network, data, setting))


def real_artifact(data: Dataset, first: int = 0, count: int = 20, **values: Any) -> DistilledDataset:
    chosen = slice(first, first + count)
    images = Preprocessing.for_dataset(data).fit(data)(data.train_images[chosen])
    return DistilledDataset.pixels(images, data.train_labels[chosen], **values)


def trained(judge: ImageEvaluator, artifact: DistilledDataset, seed: int = 0, short: bool = False) -> dict[str, Tensor]:
    (weights,) = train_by_descent(judge, artifact, seed, short, readings=1)
    return weights


def loaded(data: Dataset, weights: dict[str, Tensor]) -> nn.Module:
    network = build_network(TINY.name, data.shape, len(data.classes), TINY.parameters)
    network.load_state_dict(weights)
    return network


def fresh(data: Dataset, generator: torch.Generator) -> nn.Module:
    network = build_network(TINY.name, data.shape, len(data.classes), TINY.parameters)
    network.load_state_dict(InitialWeights(network)(generator))
    return network


def accuracy(data: Dataset, network: nn.Module) -> float:
    with torch.no_grad():
        logits = network(Preprocessing.for_dataset(data).fit(data)(data.test_images))
    return float((logits.argmax(1) == data.test_labels).float().mean())


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_score_equals_plain_pytorch(data: Dataset, seed: int, short: bool) -> None:
    artifact = real_artifact(data)
    images, labels = artifact.decode()
    generator = seeded(derive_seed("evaluate", "few-12@1", TINY, seed))
    network = fresh(data, generator)
    steps, order = 5 if short else 12, list[Tensor]()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for step in range(steps):
        if step == round(steps / 2):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        if not order:
            order = list(torch.randperm(20, generator=generator).split(6))  # 6, 6, 6 and 2 images
        chosen = order.pop(0)
        optimizer.zero_grad()
        F.cross_entropy(network(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    weights = trained(judge(data), artifact, seed, short)
    for name, weight in network.named_parameters():
        assert torch.allclose(weights[name], weight, atol=1e-6), name
    score = judge(data).score(artifact, seed=seed, short=short)
    assert score.accuracy == pytest.approx(accuracy(data, network), abs=1.5 / len(data.test_labels))
    assert (score.network, score.seed) == (TINY, seed)


def test_training_helps(data: Dataset) -> None:
    learned = judge(data, Protocol("p@1", "test", steps=100, batch_size=25, lr=0.05)).score(
        real_artifact(data, count=100), seed=0
    )
    assert learned.accuracy > 0.6


@pytest.mark.parametrize("per_step", [True, False])
def test_the_own_recipe_is_textbook_gradient_descent(data: Dataset, per_step: bool) -> None:
    order = torch.tensor([[0, 3, 6], [1, 4, 7], [2, 5, 8]])
    lrs = [0.3, 0.1, 0.2, 0.05, 0.15, 0.25] if per_step else [0.2] * 6
    lr = torch.tensor(lrs) if per_step else torch.tensor(0.2)
    network = fresh(data, seeded(77))
    initial = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    artifact = real_artifact(data, count=9, recipe=Recipe(lr=lr, order=order, epochs=2), initial=initial)
    images, labels = artifact.decode()
    for step, size in enumerate(lrs):
        chosen = order[step % 3]
        loss = F.cross_entropy(network(images[chosen]), labels[chosen])
        slopes = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for weight, slope in zip(network.parameters(), slopes, strict=True):
                weight.sub_(size * slope)
    weights = trained(judge(data, OWN), artifact, seed=5)
    for name, weight in network.named_parameters():
        assert (weights[name] - weight).abs().max() < 1e-6, name
    scores = evaluate(artifact, judge(data, OWN), networks=2)
    assert scores[0].accuracy == scores[1].accuracy, "the initial weights and the order are the artefact's"


def test_initial_weights_are_not_changed_by_scoring(data: Dataset) -> None:
    initial = {name: weight.detach() for name, weight in fresh(data, seeded(3)).named_parameters()}
    artifact = real_artifact(data, initial=initial)
    before = artifact.to_bytes()
    judge(data, OWN).score(artifact, seed=0)
    judge(data).score(artifact, seed=0)
    assert artifact.to_bytes() == before


def test_initial_weights_of_another_network_are_refused(data: Dataset) -> None:
    initial = {name: weight.detach() for name, weight in fresh(data, seeded(3)).named_parameters()}
    wider = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 9})
    with pytest.raises(UserError, match="initial weights are of another network; score it with the one it names"):
        judge(data, OWN, wider).score(real_artifact(data, initial=initial), seed=0)
    judge(data, FEW, wider).score(real_artifact(data, initial=initial), seed=0)  # not honoured, so not looked at
    judge(data, OWN, wider, "random").score(real_artifact(data, initial=initial), seed=0)  # nor where all are fresh


@pytest.mark.parametrize("augmentation", ["none", "dsa", "shift_scale_rotate"])
def test_a_seed_gives_one_score_whatever_was_drawn_before(data: Dataset, augmentation: Any) -> None:
    rules = judge(data, Protocol("p@1", "test", steps=4, augmentation=augmentation))
    artifact = real_artifact(data)
    torch.manual_seed(1)
    one, score = trained(rules, artifact), rules.score(artifact, seed=0)
    torch.manual_seed(2)
    two, again = trained(rules, artifact), rules.score(artifact, seed=0)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert score == again
    other = trained(rules, artifact, seed=1)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_every_artefact_meets_the_same_networks(data: Dataset) -> None:
    one, two = real_artifact(data), real_artifact(data, first=50, count=30)
    for seed in range(2):
        network = fresh(data, seeded(derive_seed("evaluate", "still@1", TINY, seed)))
        for artifact in (one, two):
            weights = trained(judge(data, STILL), artifact, seed)
            assert all(torch.equal(weights[name], weight) for name, weight in network.named_parameters())
            score = judge(data, STILL).score(artifact, seed=seed)
            assert score.accuracy == pytest.approx(accuracy(data, network))


def test_evaluate_scores_one_network_after_the_other(data: Dataset) -> None:
    artifact = real_artifact(data)
    assert evaluate(artifact, judge(data), 3) == [judge(data).score(artifact, seed=seed) for seed in range(3)]


@pytest.mark.parametrize("augmentation", ["dsa", "shift_scale_rotate"])
def test_augmentation_changes_the_training(data: Dataset, augmentation: Any) -> None:
    augmented = judge(data, Protocol("p@1", "test", steps=3, augmentation=augmentation))
    plain = judge(data, Protocol("p@1", "test", steps=3))
    one, two = (trained(rules, real_artifact(data)) for rules in (augmented, plain))
    assert not torch.equal(one["classifier.weight"], two["classifier.weight"])


@pytest.mark.parametrize("favourite", [0, 2])
def test_accuracy_is_counted_on_the_test_images(data: Dataset, favourite: int) -> None:
    small = Dataset(
        "small",
        data.train_images[:20],
        data.train_labels[:20],
        data.test_images[:7],
        torch.tensor([0, 2, 2, 1, 2, 9, 0]),
        data.classes,
    )
    weights = {name: torch.zeros_like(weight) for name, weight in fresh(data, seeded(0)).named_parameters()}
    weights["classifier.bias"][favourite] = 1.0  # answers the same class for every image
    artifact = real_artifact(small, initial=weights)
    assert judge(small, STILL).score(artifact, seed=0).accuracy == {0: 2 / 7, 2: 3 / 7}[favourite]


def test_the_last_step_is_scored_and_not_the_best(data: Dataset) -> None:
    good = fresh(data, seeded(1))
    initial = {name: weight.detach() for name, weight in good.named_parameters()}
    order = torch.arange(100).view(4, 25)
    wrong = (data.train_labels[:100] + 1) % 10
    images = real_artifact(data, count=100).decode()[0]
    labels = data.train_labels[:100]

    def score(labels: Tensor, initial: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        recipe = Recipe(lr=torch.tensor(0.1), order=order, epochs=25)
        artifact = DistilledDataset.pixels(images, labels, recipe=recipe, initial=initial)
        weights = {name: weight.detach() for name, weight in trained(judge(data, OWN), artifact).items()}
        return judge(data, OWN).score(artifact, seed=0).accuracy, weights

    right, weights = score(labels, initial)
    unlearned, _ = score(wrong, weights)  # begins where the good one ended
    assert right > 0.7
    assert unlearned < 0.3


# -- losses ---------------------------------------------------------------------------------------------------------

LOGITS = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])


def cross_entropy(shares: Tensor) -> Tensor:
    logarithms = LOGITS - LOGITS.exp().sum(1, keepdim=True).log()
    return -(shares * logarithms).sum() / len(LOGITS)


def loss(labels: Tensor, kind: str) -> Tensor:
    """The mean loss of two networks, each of which answers a row of LOGITS for every image."""
    small, losses = tiny_dataset(), []
    rules = judge(small)
    for row, label in zip(LOGITS, labels.split(1), strict=True):
        weights = {name: torch.zeros_like(weight) for name, weight in rules.module.named_parameters()}
        weights["classifier.bias"] = row
        losses.append(rules.gradients[kind](weights, torch.zeros(1, *small.shape), label)[1])
    return torch.stack(losses).mean()


def test_the_loss_of_class_indices() -> None:
    shares = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert torch.allclose(loss(torch.tensor([1, 0]), "index"), cross_entropy(shares))


def test_the_loss_of_probabilities() -> None:
    shares = torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.0, 0.1]])
    assert torch.allclose(loss(shares, "probabilities"), cross_entropy(shares))


def test_the_loss_of_logits_is_that_of_their_probabilities() -> None:
    soft = torch.tensor([[0.0, 1.0, 2.0], [-1.0, 0.5, 0.0]])
    shares = soft.exp() / soft.exp().sum(1, keepdim=True)
    assert torch.allclose(loss(soft, "logits"), cross_entropy(shares))


def test_the_loss_of_targets_is_the_mean_square() -> None:
    targets = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 1.0]])
    assert loss(targets, "targets").item() == pytest.approx((0 + 4 + 0 + 0 + 4 + 4) / 6)


def test_certain_probabilities_train_as_class_indices_do(data: Dataset) -> None:
    artifact = real_artifact(data)
    images, labels = artifact.decode()
    soft = DistilledDataset.pixels(images, F.one_hot(labels, 10).float(), label_kind="probabilities")
    one, two = trained(judge(data), artifact), trained(judge(data), soft)
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_the_evaluator_names_no_method() -> None:
    discover()
    source = Path(evaluation.__file__).read_text()
    shipped = [name for name in METHODS if METHODS.get(name).__module__.startswith("methods.")]
    assert len(shipped) >= 8
    assert not [name for name in shipped if re.search(rf"\b{name}\b", source)]


@pytest.mark.parametrize("kind", ["index", "logits", "probabilities"])
def test_mixed_batches_are_trained_on_as_probabilities(data: Dataset, kind: str) -> None:
    mixing = Protocol("mix@1", "test", steps=30, batch_size=6, augmentation="always_color_cutmix")
    photos = dataclasses.replace(data, name="photos")  # digits are not mixed
    artifact = real_artifact(data)
    if kind != "index":
        rows = F.one_hot(artifact.parts["labels"], 10).float()
        artifact = DistilledDataset.pixels(artifact.parts["images"], rows, label_kind=cast(Any, kind))
    rules, found = judge(photos, mixing), list[Tensor]()
    gradient = rules.gradients["probabilities"]

    def watched(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        found.append(labels)
        return gradient(weights, images, labels)

    rules.gradients["probabilities"] = watched
    one = rules.score(artifact, seed=0)
    assert len(found) == 30
    assert all(torch.allclose(labels.sum(1), torch.ones(len(labels))) for labels in found)
    whole = 1.0 if kind != "logits" else float(torch.tensor([1.0] + [0.0] * 9).softmax(0)[0])
    mixed = [bool((labels.max(1).values < whole - 1e-6).any()) for labels in found]
    assert any(mixed)
    assert not all(mixed)
    assert judge(photos, mixing).score(artifact, seed=0) == one
