"""Networks from a file: read, adapted, scored with, refused where they do not fit; and those of torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from ddbench.boards.board import make_board
from ddbench.boards.jobs import resolve
from ddbench.compute.generators import seeded
from ddbench.data import Preprocessing, load_dataset
from ddbench.errors import UserError
from ddbench.evaluation.score_file import score
from ddbench.networks import InitialWeights, build_network
from ddbench.networks.flatten import flatten, unflatten
from ddbench.networks.imagenet import save_network, save_pretrained
from ddbench.registry import discover
from ddbench.task.weight_files import describe, read
from factories import run

CPU = torch.device("cpu")
SHAPE, CLASSES = (1, 8, 8), 10


def network(seed: int) -> dict[str, Tensor]:
    module = build_network("convnet", SHAPE, CLASSES, {"depth": 1, "width": 8})
    return InitialWeights(module)(seeded(seed))


def save(file: Path, *networks: dict[str, Tensor]) -> str:
    several = len(networks) > 1
    named = {
        f"{number}/{name}" if several else name: weight.contiguous()
        for number, own in enumerate(networks)
        for name, weight in own.items()
    }
    save_file(named, file)
    return str(file)


def board(file: str, network: str = "convnet,depth=1,width=8", **pool: Any) -> Any:
    discover()
    content = {
        "board": "b", "datasets": ["digits"], "ipc": 1, "network": network, "networks": 1,
        "protocol": "own-recipe@1", "setting": "pretrained",
        "entries": [{
            "methods": ["backprop"], "set": {"iterations": 10, "batch_real": 60, "epochs": 1, "init": "real"},
            "pool": {"weights": file, **pool},
        }],
    }  # fmt: skip
    return make_board(content)


def test_of_several_networks_the_last_are_held_out_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    networks = [network(seed) for seed in range(11)]  # "10" is after "9", not after "1"
    file = save(tmp_path / "several.safetensors", *networks)
    described = describe(file, 4)
    assert (described.train, described.held_out) == (7, 4)
    assert torch.equal(read(described, networks[0]), torch.stack([flatten(own) for own in networks]))
    assert (describe(file).train, describe(file).held_out) == (6, 5)


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_a_single_network_is_learned_with_and_scored_with(tmp_path: Path) -> None:
    file = save(tmp_path / "one.safetensors", network(3))
    (job,) = resolve(board(file), "cpu")
    assert (job.cell.pool.train, job.cell.pool.held_out) == (1, 1)  # type: ignore[union-attr]
    record = run(job, tmp_path / "run", tmp_path / "cache", CPU, lambda stage, share: None)
    (found,) = record.result.scores
    data = load_dataset(job.dataset)
    images = Preprocessing.for_dataset(data).fit(data)(data.test_images)
    module = build_network("convnet", SHAPE, CLASSES, {"depth": 1, "width": 8})
    right = functional_call(module, network(3), (images,)).argmax(1) == data.test_labels
    assert found.metrics["before"] == pytest.approx(float(right.float().mean()))
    assert score(tmp_path / "run" / "artifact.safetensors") == [found]


@pytest.mark.parametrize(
    ("content", "pool", "sentence"),
    [
        ([0, 1], {"held_out": 2}, "has 2 networks and held_out is 2; leave some to learn with"),
        ([0, 1, 2], {"train": 2}, "train cannot be set for networks that a file gives"),
        ([0], {"dataset": "digits"}, "name a dataset to train networks on, or a file of weights"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, content: list[int], pool: dict[str, Any], sentence: str) -> None:
    file = save(tmp_path / "w.safetensors", *(network(seed) for seed in content))
    with pytest.raises(UserError, match=sentence):
        resolve(board(file, **pool), "cpu")


def test_files_of_other_networks_changed_files_and_no_files_are_refused(tmp_path: Path) -> None:
    file, like = save(tmp_path / "w.safetensors", network(0)), network(0)
    described = describe(file)
    with pytest.raises(UserError, match=r"w.safetensors is of another network, see 'classifier.bias'"):
        read(described, {name: weight for name, weight in like.items() if name != "classifier.bias"})
    save(tmp_path / "w.safetensors", network(1))
    with pytest.raises(UserError, match=r"w.safetensors is not the file that was named \(sha256"):
        read(described, like)
    (tmp_path / "w.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match=r"cannot read weights from .*; name a .safetensors file"):
        describe(file)
    with pytest.raises(UserError, match=r"cannot read weights from .*no.safetensors"):
        describe(str(tmp_path / "no.safetensors"))


class Small(nn.Module):
    """Laid out as torchvision's AlexNet."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True))
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(16, 6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(6, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return logits


def test_weights_for_imagenet_keep_all_but_the_last_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    theirs = Small().eval()

    def model(name: str, weights: str | None = None, num_classes: int = 5, dropout: float = 0.5) -> Small:
        assert name == "alexnet"
        return theirs if weights == "DEFAULT" else Small(num_classes)

    monkeypatch.setattr(torchvision.models, "get_model", model)
    file = tmp_path / "pretrained.safetensors"
    save_pretrained("alexnet", 3, file)
    ours = build_network("torchvision", SHAPE, 3, {"model": "alexnet"})
    like = InitialWeights(ours)(seeded(0))
    vector = read(describe(str(file)), like)[0]
    weights, images = unflatten(vector, like), torch.randn(4, *SHAPE)
    assert functional_call(ours, weights, (images,)).tolist() == [[1.0] * 3] * 4
    hidden = theirs.classifier[:-1](theirs.avgpool(theirs.features(images)).flatten(1))
    ours.load_state_dict(weights)
    torch.testing.assert_close(ours.embed(images), hidden)


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_a_network_of_ones_own_keeps_its_last_layer_and_is_adapted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    theirs = Small(CLASSES).eval()
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, **options: Small(options["num_classes"]))
    file = tmp_path / "mine.safetensors"
    save_network(theirs, file)
    (job,) = resolve(board(str(file), network="torchvision,model=alexnet"), "cpu")
    record = run(job, tmp_path / "run", tmp_path / "cache", CPU, lambda stage, share: None)
    (found,) = record.result.scores
    data = load_dataset(job.dataset)
    images = Preprocessing.for_dataset(data).fit(data)(data.test_images)
    right = theirs(images).argmax(1) == data.test_labels
    assert found.metrics["before"] == pytest.approx(float(right.float().mean()))
    losses = [loss for _, loss in record.measured.log["loss"]]
    assert losses[-1] < losses[0]


def test_a_model_that_is_not_a_row_of_layers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown model 'resnet18'"):
        save_pretrained("resnet18", 3, tmp_path / "no.safetensors")


def test_torchvisions_alexnet_is_whole() -> None:
    network = build_network("torchvision", (3, 64, 64), 4, {"model": "alexnet"})
    theirs = torchvision.models.alexnet(num_classes=4)
    assert [p.shape for p in network.parameters()] == [p.shape for p in theirs.parameters()]
    with pytest.raises(UserError, match="unknown model 'alexnt'; did you mean 'alexnet'"):
        build_network("torchvision", (3, 64, 64), 4, {"model": "alexnt"})
