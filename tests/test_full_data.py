"""The ceiling: networks trained on all training images, whatever is distilled; it goes with one method alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.boards.board import make_board
from ddbench.boards.jobs import Job, resolve
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data import Dataset, Preprocessing, Transform
from ddbench.data.augmentation import AUGMENTATIONS
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.networks import InitialWeights, build_network
from ddbench.records.cell import Scoring
from ddbench.records.schema import FurtherScore
from ddbench.registry import METHODS, PROTOCOLS, discover
from ddbench.submissions.checks import complaints
from ddbench.submissions.claim import Claim
from ddbench.testing import NETWORK, tiny_dataset
from factories import make_record, run_here
from tasks import setting_of

FULL = "full-data-10@1"
CUT = Protocol(
    "cut@1", "test", epochs=4, short=2, batch_size=25, lr=0.05, decay_at=(0.5, 0.75), restart=False, kind="full_data"
)
"""60 images in batches of 25, 25 and 10"""
AUGMENTED = dataclasses.replace(CUT, name="augmented@1", augmentation="dsa")
discover()


def judge(data: Dataset, protocol: Protocol) -> ImageEvaluator:
    transform = Preprocessing.for_dataset(data).fit(data)
    return ImageEvaluator(data, transform, protocol, NETWORK, torch.device("cpu"), setting_of(NETWORK, data))


def artifact_of(data: Dataset, seed: int = 0, **values: Any) -> DistilledDataset:
    """Noise that nothing can be learnt from, and labels that are wrong."""
    images = torch.randn(6, *data.shape, generator=seeded(seed))
    return DistilledDataset.pixels(images, torch.tensor([2, 2, 1, 1, 0, 0]), **values)


def trained(data: Dataset, protocol: Protocol, transform: Transform, seed: int, epochs: int) -> nn.Module:
    """A textbook's loop over all training images."""
    generator = seeded(derive_seed("evaluate", protocol.name, NETWORK, seed))
    network = build_network(NETWORK.name, data.shape, len(data.classes), NETWORK.parameters)
    network.load_state_dict(InitialWeights(network)(generator))
    augment = AUGMENTATIONS[protocol.augmentation](data.name)
    optimizer = torch.optim.SGD(network.parameters(), lr=protocol.lr, momentum=0.9, weight_decay=5e-4)
    for epoch in range(epochs):
        falls = (epoch >= epochs / 2) + (epoch >= 3 * epochs / 4)
        for group in optimizer.param_groups:
            group["lr"] = protocol.lr / 10**falls
        for batch in torch.randperm(len(data.train_labels), generator=generator).split(protocol.batch_size):
            images = augment.apply(transform(data.train_images[batch]), generator)
            optimizer.zero_grad()
            F.cross_entropy(network(images), data.train_labels[batch]).backward()
            optimizer.step()
    return network


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("protocol", [CUT, AUGMENTED], ids=lambda protocol: protocol.name)
def test_a_network_is_trained_on_all_training_images_as_in_a_textbook(protocol: Protocol, seed: int) -> None:
    data = tiny_dataset()
    evaluator = judge(data, protocol)
    network = trained(data, protocol, evaluator.transform, seed, epochs=4)
    weights = evaluator.train(artifact_of(data), seed)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weights[name], weight.detach(), atol=1e-5, rtol=0)
    with torch.no_grad():
        answers = network(evaluator.transform(data.test_images)).argmax(1)
    score = evaluator.score(artifact_of(data), seed=seed)
    assert score.accuracy == int((answers == data.test_labels).sum()) / 15
    assert (score.network, score.seed, score.metrics) == (NETWORK, seed, {})


def test_the_short_form_is_a_training_of_its_own_length() -> None:
    data = tiny_dataset()
    evaluator = judge(data, CUT)
    network = trained(data, CUT, evaluator.transform, 0, epochs=2)
    with torch.no_grad():
        answers = network(evaluator.transform(data.test_images)).argmax(1)
    right = int((answers == data.test_labels).sum())
    assert evaluator.score(artifact_of(data), seed=0, short=True).accuracy == right / 15


def test_the_shipped_protocol_makes_ten_passes_with_two_falls() -> None:
    data = tiny_dataset()
    evaluator, shares = judge(data, PROTOCOLS.get(FULL)), list[float]()
    network = trained(data, evaluator.protocol, evaluator.transform, 2, epochs=10)
    reporting = evaluator.reporting(shares.append)
    weights = reporting.train(artifact_of(data), 2)
    assert shares == [step / 10 for step in range(10)]  # all 60 images are one batch
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weights[name], weight.detach(), atol=1e-5, rtol=0)


def test_the_artefact_does_not_matter() -> None:
    data = tiny_dataset()
    evaluator = judge(data, dataclasses.replace(CUT, honours=("lr", "order", "epochs", "momentum")))
    recipe = Recipe(lr=torch.tensor(0.5), order=torch.arange(6).view(2, 3), epochs=2, momentum=0.1)
    artifacts = [artifact_of(data), artifact_of(data, seed=1), artifact_of(data, recipe=recipe)]
    first, *others = (evaluator.train(artifact, 0) for artifact in artifacts)
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)
    assert len({evaluator.score(artifact, seed=0).accuracy for artifact in artifacts}) == 1


def test_all_training_images_teach_more_than_an_artefact_of_noise() -> None:
    data = tiny_dataset()
    full, distilled = (judge(data, dataclasses.replace(CUT, epochs=20, kind=kind)) for kind in ("full_data", "train"))
    assert full.score(artifact_of(data), seed=0).accuracy > 0.9
    assert distilled.score(artifact_of(data), seed=0).accuracy < 0.7


def test_every_image_is_taken_once_a_pass() -> None:
    data, seen = tiny_dataset(), list[Tensor]()
    evaluator = judge(data, CUT)
    gradient = evaluator.gradients["index"]

    def watched(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        seen.append(images)
        return gradient(weights, images, labels)

    evaluator.gradients["index"] = watched
    evaluator.train(artifact_of(data), 0)
    assert [len(images) for images in seen] == [25, 25, 10] * 4
    whole = sorted(image.numpy().tobytes() for image in evaluator.transform(data.train_images))
    for first in range(0, 12, 3):
        found = torch.cat(seen[first : first + 3])
        assert sorted(image.numpy().tobytes() for image in found) == whole


# -- boards -----------------------------------------------------------------------------------------------------------


def resolved(method: str, protocol: str, **values: Any) -> list[Job]:
    content = {"board": "b", "datasets": "digits", "ipc": 1, "network": "convnet,depth=1,width=8"}
    return resolve(make_board({**content, "protocol": protocol, "entries": [{"methods": [method]}], **values}), "cpu")


def test_all_data_go_with_the_control_of_all_data() -> None:
    (job,) = resolved("whole_dataset", FULL, networks=None)
    assert (job.cell.method, job.cell.protocol, job.cell.networks) == ("full_data", FULL, 3)
    (also,) = resolved("full_data", FULL, also=[{"protocol": "full-data-dsa-200@1"}])
    assert [way.protocol for way in also.cell.also or []] == ["full-data-dsa-200@1"]
    assert METHODS.get("full_data").family == "control"


@pytest.mark.parametrize(
    ("method", "protocol", "also", "named"),
    [
        ("full_data", "dc-300@1", [], "dc-300@1"),
        ("whole_dataset", "dc-300@1", [], "dc-300@1"),
        ("full_data", FULL, [{"protocol": "dc-300@1"}], "dc-300@1"),
        ("random_real", FULL, [], FULL),
        ("random_real", "dc-300@1", [{"protocol": FULL}], FULL),
    ],
)
def test_boards_mix_the_two_up_in_no_way(method: str, protocol: str, also: list[Any], named: str) -> None:
    with pytest.raises(UserError) as caught:
        resolved(method, protocol, also=also)
    asked = "random_real" if method == "random_real" else "full_data"
    assert str(caught.value) == (
        f"protocol {named} with method {asked}: full_data and protocols that train on all data "
        "(full-data-10@1, full-data-dsa-200@1, gcn-full-200@1) go together; change one of the two"
    )


def test_a_run_of_all_data_leaves_a_record(
    register: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register(PROTOCOLS, "once@1", dataclasses.replace(CUT, name="once@1", epochs=1, short=1, batch_size=256))
    (job,) = resolved("full_data", "once@1", networks=2, compile=False)
    record = run_here(job, tmp_path / "run")
    assert record.result.status == "ok"
    assert record.protocol["kind"] == "full_data"
    assert len({score.accuracy for score in record.result.scores}) == 2
    assert complaints(Claim(tmp_path / "r", b"", record, None), None) == []  # type: ignore[arg-type]


# -- records ----------------------------------------------------------------------------------------------------------


def claimed(method: str, protocol: str, also: str | None = None) -> list[str]:
    """What is wrong with the record of a run that was scored so, in two ways where `also` names the other."""
    network = make_record().result.cell.network
    others = [] if also is None else [also]
    record = make_record(
        method,
        protocol=protocol,
        networks=1,
        also=[Scoring(network=network, protocol=name, networks=1) for name in others] or None,
        further=[FurtherScore(network=network, protocol=name, seed=0, accuracy=0.5) for name in others],
        resolved=PROTOCOLS.get(protocol).describe(),
        also_protocols={name: PROTOCOLS.get(name).describe() for name in others},
        artifact="sha256:" + "a" * 64,
    )
    return complaints(Claim(Path("r.json"), b"", record, None), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("also", [None, "full-data-dsa-200@1"])
def test_a_record_of_the_control_under_its_protocol_is_sound(also: str | None) -> None:
    assert claimed("full_data", FULL, also) == []
    assert claimed("good", "dc-300@1", None) == []


@pytest.mark.parametrize(
    ("method", "protocol", "also", "sentence"),
    [
        ("full_data", "dc-300@1", None, "method full_data under protocol dc-300@1"),
        ("full_data", FULL, "dc-300@1", "method full_data under protocol dc-300@1"),
        ("random_real", FULL, None, "method random_real under protocol full-data-10@1"),
        ("random_real", "dc-300@1", FULL, "method random_real under protocol full-data-10@1"),
        ("mine", "full-data-dsa-200@1", None, "method mine under protocol full-data-dsa-200@1"),
    ],
)
def test_a_record_that_mixes_the_two_up_is_refused(method: str, protocol: str, also: str | None, sentence: str) -> None:
    assert claimed(method, protocol, also) == [f"r.json: {sentence}; full_data alone trains on all data"]
