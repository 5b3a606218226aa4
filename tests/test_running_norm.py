"""Batch norm with running statistics against PyTorch's own, against numbers by hand, and where it is scored."""

from __future__ import annotations

import dataclasses
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import Weights
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data import Dataset, Preprocessing
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.networks import Chunks, InitialWeights, build_network
from ddbench.networks.chunks import WHOLE
from ddbench.networks.running import RunningBatchNorm, RunningStatistics
from ddbench.records.cell import NetworkSpec
from ddbench.testing import tiny_dataset
from tasks import setting_of

SHAPE = (2, 8, 8)
SIZES = {"depth": 2, "width": 4}
RUNNING = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8, "norm": "running_batch"})
FEW = Protocol("few-12@1", "test", steps=12, batch_size=6, lr=0.1)


def convnet(norm: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network("convnet", SHAPE, 3, {**SIZES, "norm": norm})


def with_torchs_own(network: nn.Module) -> nn.Module:
    """A copy whose batch norms are those of PyTorch, with running statistics in buffers."""
    copy = deepcopy(network)
    for index, layer in enumerate(copy.features):
        if isinstance(layer, nn.BatchNorm2d):
            own = nn.BatchNorm2d(layer.num_features)
            own.load_state_dict(layer.state_dict(), strict=False)
            copy.features[index] = own
    return copy


def weights_of(network: nn.Module) -> Weights:
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def slopes(network: nn.Module, weights: Weights, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    loss = F.cross_entropy(functional_call(network, leaves, (images,)), labels)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def batches(count: int, size: int = 6, scale: float = 2.0) -> list[tuple[Tensor, Tensor]]:
    generator = seeded(5)
    return [
        (
            scale * torch.randn(size, *SHAPE, generator=generator) + 0.5,
            torch.randint(3, (size,), generator=generator),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("steps", [1, 12])
def test_folded_averages_are_those_of_pytorch_trained_on_the_same_batches(steps: int) -> None:
    network = convnet("running_batch")
    theirs = with_torchs_own(network)
    assert sum(isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats for layer in theirs.modules()) == 2
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    weights, statistics = weights_of(network), RunningStatistics(network)
    for images, labels in batches(steps):
        statistics.update(weights, images)
        for name, slope in slopes(network, weights, images, labels).items():
            weights[name] = weights[name] - 0.1 * slope
        optimizer.zero_grad()
        F.cross_entropy(theirs(images), labels).backward()
        optimizer.step()
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(weights[name], weight.detach(), atol=1e-5, rtol=0)
    (images, _), *_ = batches(1, size=9, scale=1.0)
    with torch.no_grad():
        ours = functional_call(deepcopy(network).eval(), statistics.fold(weights), (images,))
        torch.testing.assert_close(ours, theirs.eval()(images), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, functional_call(network, weights, (images,)), atol=1e-2), "the batch's own differ"


def test_averages_by_hand() -> None:
    network = convnet("running_batch")
    weights, statistics = weights_of(network), RunningStatistics(network)
    weights["features.1.weight"], weights["features.1.bias"] = torch.full((4,), 2.0), torch.full((4,), 3.0)
    images = batches(2)
    means, variances = torch.zeros(4), torch.ones(4)
    for batch, _ in images:
        maps = F.conv2d(batch, weights["features.0.weight"], weights["features.0.bias"], padding=1)
        channels = maps.transpose(0, 1).flatten(1)  # (4, 6 * 8 * 8)
        mean = channels.mean(1)
        means = 0.9 * means + 0.1 * mean
        variances = 0.9 * variances + 0.1 * ((channels - mean[:, None]) ** 2).sum(1) / (6 * 8 * 8 - 1)
        statistics.update(weights, batch)
    folded = statistics.fold(weights)
    scale = 2 / (variances + 1e-5).sqrt()
    torch.testing.assert_close(folded["features.1.weight"], scale)
    torch.testing.assert_close(folded["features.1.bias"], 3 - means * scale)


def test_before_any_batch_the_mean_is_0_and_the_variance_1() -> None:
    network = convnet("running_batch")
    folded = RunningStatistics(network).fold(weights_of(network))
    assert list(folded) == [name for name, _ in network.named_parameters()]
    torch.testing.assert_close(folded["features.5.weight"], torch.full((4,), (1 + 1e-5) ** -0.5))
    assert not folded["features.5.bias"].any()


def test_folding_and_updating_change_no_weights() -> None:
    network = convnet("running_batch")
    weights = weights_of(network)
    before, statistics = {name: weight.clone() for name, weight in weights.items()}, RunningStatistics(network)
    statistics.update(weights, batches(1)[0][0])
    once, twice = statistics.fold(weights), statistics.fold(weights)
    assert all(torch.equal(once[name], twice[name]) for name in once)
    assert all(torch.equal(weights[name], before[name]) for name in weights)
    assert not any(layer._forward_pre_hooks for layer in network.modules())
    assert not any(weight.requires_grad for weight in once.values())


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_other_norms_are_left_alone(norm: str) -> None:
    network = convnet(norm)
    weights, statistics = weights_of(network), RunningStatistics(network)
    statistics.update({}, torch.empty(0))  # not even looked at
    folded = statistics.fold(weights)
    assert all(folded[name] is weights[name] for name in weights)


def test_gradients_in_training_are_those_of_batch_norm() -> None:
    running, batch = convnet("running_batch", seed=1), convnet("batch", seed=1)
    (images, labels), *_ = batches(1)
    weights = weights_of(batch)
    assert torch.equal(running(images), batch(images))
    ours, theirs = (slopes(network, weights, images, labels) for network in (running, batch))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "running_batch"])
def test_no_training_batch_is_split_where_its_statistics_count(norm: str) -> None:
    assert Chunks(convnet(norm), SHAPE).most == WHOLE


# -- answers --------------------------------------------------------------------------------------------------------

EDGE = {
    "features.0.weight": F.pad(torch.ones(1, 1, 1, 1), (1, 1, 1, 1)),  # what it reads is what it gives
    "features.0.bias": torch.zeros(1),
    "features.1.weight": torch.ones(1),
    "features.1.bias": torch.zeros(1),
    "classifier.weight": torch.tensor([[0.0], [1.0]]),
    "classifier.bias": torch.tensor([0.0, -0.4]),
}
"""answers 1 for a feature above 0.4"""
DARK_AND_BRIGHT = torch.tensor([0.2, 0.8]).view(2, 1, 1, 1).expand(2, 1, 2, 2)


def one_channel(norm: str) -> nn.Module:
    return build_network("convnet", (1, 2, 2), 2, {"depth": 1, "width": 1, "norm": norm})


def logits(network: nn.Module, weights: Weights, images: Tensor) -> Tensor:
    return functional_call(network, weights, (images,))


def test_answers_of_batch_norm_depend_on_the_chunk_by_hand() -> None:
    network = one_channel("batch").eval()
    together = logits(network, EDGE, DARK_AND_BRIGHT)
    alone = torch.cat([logits(network, EDGE, image) for image in DARK_AND_BRIGHT.split(1)])
    # mean 0.5 and deviation 0.3, so features of 0 and 1; an even image is its own mean
    torch.testing.assert_close(together[:, 1], torch.tensor([-0.4, 0.6]), atol=1e-3, rtol=0)
    torch.testing.assert_close(alone[:, 1], torch.tensor([-0.4, -0.4]), atol=1e-3, rtol=0)
    assert (together.argmax(1).tolist(), alone.argmax(1).tolist()) == ([0, 1], [0, 0])


def test_answers_of_running_statistics_do_not_by_hand() -> None:
    network = one_channel("running_batch")
    statistics = RunningStatistics(network)
    statistics.update(EDGE, DARK_AND_BRIGHT)
    folded, network = statistics.fold(EDGE), network.eval()
    mean, deviation = 0.1 * 0.5, (0.9 + 0.1 * 8 * 0.3**2 / 7 + 1e-5) ** 0.5  # eight pixels, 0.3 from their mean
    together = logits(network, folded, DARK_AND_BRIGHT)
    features = torch.tensor([(0.2 - mean) / deviation, (0.8 - mean) / deviation])
    torch.testing.assert_close(together[:, 1], features - 0.4)
    assert together.argmax(1).tolist() == [0, 1]
    for order in ([0], [1], [1, 0], [0, 0, 1]):
        torch.testing.assert_close(logits(network, folded, DARK_AND_BRIGHT[order]), together[order])


# -- scoring --------------------------------------------------------------------------------------------------------


def judge(data: Dataset, network: NetworkSpec = RUNNING) -> ImageEvaluator:
    transform = Preprocessing.for_dataset(data).fit(data)
    return ImageEvaluator(data, transform, FEW, network, torch.device("cpu"), setting_of(network, data))


def artifact_of(data: Dataset) -> DistilledDataset:
    images = Preprocessing.for_dataset(data).fit(data)(data.train_images[:20])
    return DistilledDataset.pixels(images, data.train_labels[:20])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_scored_network_is_one_that_plain_pytorch_trained(seed: int) -> None:
    data = tiny_dataset()
    evaluator, artifact = judge(data), artifact_of(data)
    generator = seeded(derive_seed("evaluate", "few-12@1", RUNNING, seed))
    fresh = build_network(RUNNING.name, data.shape, 3, RUNNING.parameters)
    fresh.load_state_dict(InitialWeights(fresh)(generator))
    theirs, order = with_torchs_own(fresh), list[Tensor]()
    images, labels = artifact.decode()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for step in range(12):
        if step == 6:
            optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        order = order or list(torch.randperm(20, generator=generator).split(6))
        chosen = order.pop(0)
        optimizer.zero_grad()
        F.cross_entropy(theirs(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    tests = evaluator.transform(data.test_images)
    with torch.no_grad():
        expected = theirs.eval()(tests)
        found = functional_call(evaluator.tested, evaluator.train(artifact, seed), (tests,))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    right = int((expected.argmax(1) == data.test_labels).sum())
    assert evaluator.score(artifact, seed=seed).accuracy == right / 15
    assert any(isinstance(layer, RunningBatchNorm) for layer in evaluator.module.modules())
    assert evaluator.module.training


def test_a_score_depends_neither_on_the_order_nor_on_the_chunks_of_the_test_set() -> None:
    data = tiny_dataset()
    artifact = artifact_of(data)
    order = torch.randperm(15, generator=seeded(3))
    shuffled = dataclasses.replace(data, test_images=data.test_images[order], test_labels=data.test_labels[order])
    one, other, cut = judge(data), judge(shuffled), judge(data)
    cut.chunks.most = 4  # the test set in threes; training batches of 6 stay whole
    assert cut.chunks.size(15) == 3
    assert cut.chunks.size(6) == 6
    expected = one.score(artifact, seed=0)
    assert other.score(artifact, seed=0) == expected
    assert cut.score(artifact, seed=0) == expected
    weights = one.train(artifact, 0)
    answers = one._answers(weights, data)
    assert len(set(answers.tolist())) > 1
    assert torch.equal(other._answers(weights, shuffled), answers[order])
    assert torch.equal(cut._answers(weights, data), answers)


def test_under_batch_norm_the_chunks_of_the_test_set_change_answers() -> None:
    data = tiny_dataset()
    data = dataclasses.replace(data, test_images=data.test_images[data.test_labels.argsort(stable=True)])
    batch = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8, "norm": "batch"})
    whole, cut = judge(data, batch), judge(data, batch)
    cut.chunks.most = 4
    weights, tests = whole.train(artifact_of(data), 0), whole.transform(data.test_images)
    with torch.no_grad():
        together = functional_call(whole.tested, weights, (tests,))
        apart = torch.cat([functional_call(whole.tested, weights, (chunk,)) for chunk in tests.split(3)])
    assert (together - apart).abs().max() > 0.1
    assert torch.equal(whole._answers(weights, data), together.argmax(1))
    assert torch.equal(cut._answers(weights, data), apart.argmax(1))
