"""Networks of one's own: a class of a file, an entry point, models of torchvision and timm."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from copy import deepcopy
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ddbench import registry
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.compiling import gradient
from ddbench.compute.generators import seeded
from ddbench.data import load_dataset
from ddbench.errors import UserError
from ddbench.networks import Chunks, InitialWeights, Network, build_network
from ddbench.networks.running import RunningBatchNorm, RunningStatistics
from ddbench.records import network_files, packages
from ddbench.records.cell import NetworkSpec
from ddbench.records.files import read_record, write_record
from ddbench.records.network_files import files_of, remember_files
from ddbench.records.notation import make_network
from ddbench.records.run_folder import record_beside
from ddbench.registry import (
    ANALYSES,
    DATASETS,
    DECODERS,
    METHODS,
    MODALITIES,
    NETWORK_GROUP,
    NETWORKS,
    PROTOCOLS,
    discover,
    discover_all_but_methods,
)
from ddbench.site.reproduce import _network
from ddbench.submissions.verify import examine
from factories import Call, jobs_of, make_record

GREY, COLOUR = (1, 8, 8), (3, 32, 32)
HERE = packages.package_version("torchvision")
FILE = '''
import torch
from torch import nn


class Small(nn.Module):
    """Attention over patches, and a token of its own."""

    def __init__(self, channels, num_classes, width: int = 8):
        super().__init__()
        self.cut = nn.Conv2d(channels, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.mix = nn.TransformerEncoderLayer(width, 2, 16, dropout=0.3, batch_first=True)
        self.register_buffer("positions", torch.arange(4.0).view(1, 4, 1) / 10)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        z = self.cut(x).flatten(2).transpose(1, 2) + self.positions
        z = torch.cat([self.token.expand(len(z), -1, -1), z], 1)
        return self.head(self.mix(z)[:, 0])


class Cnn(nn.Module):
    """Batch norm and dropout, for colour and a thousand classes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4, momentum=0.3)
        self.hidden = nn.Sequential(nn.Linear(16, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(6, 1000)
        nn.init.constant_(self.conv.bias, 0.25)

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.norm(self.conv(x)).relu(), 2)
        return self.fc(self.hidden(x.flatten(1)))


class Row(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Conv2d(shape[0], 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                         nn.Linear(16, classes))


class Frozen(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 5), requires_grad=False)
        self.head = nn.Linear(5, classes)

    def forward(self, x):
        return self.head(x.flatten(1) @ self.weight)
'''
REFUSED = {
    "no nn.Linear; a network ends in one": "self.a = nn.Conv2d(1, 3, 3)|self.a(x).mean((2, 3))",
    "returns what another layer gives, and not what its last nn.Linear gives":
        "self.a = nn.Linear(64, 3)|self.a(x.flatten(1)).log_softmax(1)",
    "returns a tuple, and not what": "self.a = nn.Linear(64, 3)|(self.a(x.flatten(1)), x)",
    "reads (2, 1, 8, 8) for two images; pool or flatten them": "self.a = nn.Linear(8, 3)|self.a(x)",
    "uses its last linear layer 'a' for more than its logits":
        "self.a = nn.Linear(64, 64)|self.a(self.a(x.flatten(1)))",
    "draws random numbers as it computes":
        "self.a = nn.Linear(64, 3)|self.a(nn.functional.dropout(x.flatten(1)))",
    "buffer 'seen' of odd.Odd changes as it computes":
        "self.a = nn.Linear(64, 3); self.register_buffer('seen', torch.zeros(()))|"
        "self.a(x.flatten(1) + 0 * self.seen.add_(1))",
    "the initial 'b' of odd.Odd is drawn elsewhere than from torch's generator":
        "self.a = nn.Linear(64, 3); import random; self.b = nn.Parameter(torch.tensor(random.random()))|"
        "self.a(x.flatten(1)) if self.b.ndim else self.a(x.flatten(1))",
    "has batch norm without an affine part":
        "self.a = nn.Linear(64, 3); self.b = nn.BatchNorm2d(1, affine=False)|self.a(self.b(x).flatten(1))",
    "has lazy layers": "self.a = nn.LazyLinear(3)|self.a(x.flatten(1))",
    "cannot take images of 1 channels and 8x8 pixels (RuntimeError: mat1 and mat2":
        "self.a = nn.Linear(60, 3)|self.a(x.flatten(1))",
    "odd.Odd cannot be made (ZeroDivisionError: ": "self.a = nn.Linear(64, 1 // 0)|x",
}  # fmt: skip


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., NetworkSpec]:
    """The network of a class of a file in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(network_files, "_PATHS", {})

    def write(cls: str, settings: str = "", content: str = FILE, stem: str = "net") -> NetworkSpec:
        Path(f"{stem}.py").write_text(content)
        return make_network(f"./{stem}.py:{cls}{settings}")

    return write


def built(spec: NetworkSpec, shape: tuple[int, int, int] = GREY, classes: int = 3) -> Network:
    return build_network(spec.name, shape, classes, spec.parameters)


def images_of(shape: tuple[int, int, int], count: int = 4) -> Tensor:
    return torch.randn(count, *shape, generator=seeded(0))


def check(network: Network, shape: tuple[int, int, int], classes: int) -> None:
    """It is a function of its weights, which equal generators draw equally, with an embedding before its classifier."""
    images, draw = images_of(shape), InitialWeights(network)
    before = torch.random.get_rng_state()
    first, second, other = draw(seeded(1)), draw(seeded(1)), draw(seeded(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert list(first) == [name for name, _ in network.named_parameters()]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert not any(weight.requires_grad for weight in first.values())
    with torch.no_grad():
        logits = functional_call(network, first, (images,))
        assert torch.equal(functional_call(network, first, (images,)), logits)
        network.load_state_dict(first, strict=False)
        embedding = network.embed(images)
        assert (logits.shape, embedding.ndim) == ((len(images), classes), 2)
        assert torch.equal(network.classifier(embedding), logits)


@pytest.mark.parametrize(
    ("cls", "shape"), [("Small", GREY), ("Cnn", GREY), ("Cnn", COLOUR), ("Row", GREY), ("Frozen", GREY)]
)
def test_a_class_of_a_file_is_a_network(
    named: Callable[..., NetworkSpec], cls: str, shape: tuple[int, int, int]
) -> None:
    spec = named(cls)
    assert spec.name == f"net.{cls}"
    assert list(spec.parameters) == ["code"]
    check(built(spec, shape), shape, 3)


def test_its_arguments_are_parameters(named: Callable[..., NetworkSpec]) -> None:
    spec = named("Small", ",width=4")
    assert spec.parameters["width"] == 4
    assert built(spec).classifier.weight.shape == (3, 4)
    assert make_network("./net.py:Small,width=4") == spec
    assert _network(spec) == "./net.py:Small,width=4"


def test_the_weights_are_those_that_its_own_code_gives(named: Callable[..., NetworkSpec]) -> None:
    network = built(named("Cnn"))
    weights = InitialWeights(network)(seeded(5))
    assert weights["features.conv.bias"].tolist() == [0.25] * 4 or weights["features.conv.weight"].shape[1] == 1
    colour = InitialWeights(built(named("Cnn"), COLOUR))(seeded(5))
    assert colour["features.conv.bias"].tolist() == [0.25] * 4
    assert weights["classifier.weight"].shape == (3, 6)


def test_what_is_not_trained_is_the_same_in_every_process(named: Callable[..., NetworkSpec]) -> None:
    torch.manual_seed(1)
    one = built(named("Frozen"))
    torch.manual_seed(2)
    two = built(named("Frozen"))
    assert [name for name, _ in one.named_parameters()] == ["classifier.weight", "classifier.bias"]
    assert torch.equal(one.features.weight, two.features.weight)  # type: ignore[arg-type]


def test_attention_is_stacked_and_differentiated_twice(named: Callable[..., NetworkSpec]) -> None:
    network = built(named("Small"))
    draw, images, labels = InitialWeights(network), images_of(GREY), torch.arange(4) % 3
    drawn = [draw(seeded(seed)) for seed in range(2)]
    stacked = {name: torch.stack([weights[name] for weights in drawn]) for name in drawn[0]}
    together = vmap(lambda weights: functional_call(network, weights, (images,)))(stacked)
    alone = torch.stack([functional_call(network, weights, (images,)) for weights in drawn])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)

    def loss(weights: dict[str, Tensor], images: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, weights, (images,)), labels)

    asked = images.requires_grad_()
    distance = sum(part.square().sum() for part in gradient(loss, drawn[0], asked).values())
    (slope,) = torch.autograd.grad(distance, asked)  # type: ignore[arg-type]
    assert slope.isfinite().all()
    assert slope.any()


def test_batch_norm_is_tested_with_running_averages_as_torchs_own(named: Callable[..., NetworkSpec]) -> None:
    network = built(named("Cnn"), COLOUR)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert [type(norm) for norm in norms] == [RunningBatchNorm, RunningBatchNorm]
    assert not list(network.buffers())
    weights, images = InitialWeights(network)(seeded(0)), images_of(COLOUR, 16)
    scope: dict[str, Any] = {}
    exec(FILE, scope)
    theirs = scope["Cnn"]()
    theirs.fc, theirs.hidden[3].p = nn.Linear(6, 3), 0.0
    theirs.load_state_dict({name.removeprefix("features.").replace("classifier", "fc"): weight
                            for name, weight in weights.items()}, strict=False)  # fmt: skip
    statistics = RunningStatistics(network)
    with torch.no_grad():
        for batch in images.split(8):
            torch.testing.assert_close(functional_call(network, weights, (batch,)), theirs(batch))
            statistics.update(weights, batch)
        tested = functional_call(deepcopy(network).eval(), statistics.fold(weights), (images,))
        torch.testing.assert_close(tested, theirs.eval()(images), rtol=1e-4, atol=1e-5)


def test_only_rows_of_layers_have_activations(named: Callable[..., NetworkSpec]) -> None:
    maps = built(named("Row")).activations(images_of(GREY))
    assert [tuple(found.shape) for found in maps] == [(4, 4, 6, 6), (4, 16)]
    with pytest.raises(UserError, match=r"net\.Small is no nn\.Sequential of layers to look into"):
        built(named("Small")).activations(images_of(GREY))


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_function_with_a_classifier_is_refused(named: Callable[..., NetworkSpec], message: str) -> None:
    start, _, returned = REFUSED[message].partition("|")
    content = (
        "import torch\nfrom torch import nn\nclass Odd(nn.Module):\n"
        f"    def __init__(self):\n        super().__init__(); {start}\n"
        f"    def forward(self, x):\n        return {returned}\n"
    )
    with pytest.raises(UserError) as caught:
        built(named("Odd", content=content, stem="odd"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("./none.py:Small", "none.py; write ./FILE.py:CLASS"),
        ("./net.py", "./net.py names a file and no class; write ./net.py:CLASS (it has Small, Cnn, Row, Frozen)"),
        ("./net.py:Smal", "net.py has no class 'Smal'; did you mean 'Small'?"),
        ("./net.py:Small,widht=3", "network 'net.Small' has no parameter 'widht'; did you mean 'width'?"),
        ("./net.py:Small,width=x", "width of network 'net.Small' is 'x'; it must be of type int"),
        ("./net.py:Small,width=5000", "width of network 'net.Small' is 5000; 4096 is the most"),
        ("./net.py:Small,channels=2", "channels of net.Small is 1, which the data set decides; leave it out"),
        ("./net.py:Small,code=1", "code is the digest of the file, and not to be set; leave it out"),
        ("./net.py:torch", "net.py has no class 'torch'"),
        ("./bad.py:Small", "bad.py does not import: ZeroDivisionError: division by zero; mend it"),
        ("./odd.py:Small", "odd.py is no Python"),
        ("./need.py:Need", "network need.Need needs 'depth'; set it, depth=VALUE, or give it a default"),
        ("./need.py:text", "need.text makes str, and no nn.Module"),
        ("net:Small", "a class of a file is written ./net.py:Small, a model of a package timm:NAME"),
        ("torchvision:resnt18", "unknown model 'resnt18'; did you mean 'resnet18'?"),
        ("torchvision:vit_b_16", "cuts square images into patches of 16 pixels, these are 8x8"),
        ("torchvision:inception_v3", "torchvision:inception_v3 cannot take images of 1 channels and 8x8 pixels"),
        ("torchvision:alexnet", "torchvision:alexnet cannot take images of 1 channels and 8x8 pixels"),
    ],
)
def test_messages(named: Callable[..., NetworkSpec], text: str, message: str) -> None:
    named("Small")
    Path("bad.py").write_text("class Small: ...\n1 / 0\n")
    Path("odd.py").write_text("class class\n")
    Path("need.py").write_text(
        "from torch import nn\nclass Need(nn.Module):\n    def __init__(self, depth): ...\ndef text(): return ''\n"
    )
    with pytest.raises(UserError) as caught:
        built(make_network(text))
    assert message in str(caught.value)


# -- cells, processes and strangers ---------------------------------------------------------------------------------


def test_a_changed_file_is_another_cell_and_a_comment_is_not(named: Callable[..., NetworkSpec]) -> None:
    discover()

    def key() -> str:
        return jobs_of("random_real", network="./net.py:Small", protocol="quick-300@1")[0].key

    named("Small")
    first = key()
    named("Small", content=FILE + "# more\n")
    assert key() == first
    named("Small", content=FILE.replace("/ 10", "/ 20"))
    assert key() != first


def test_a_file_that_changes_meanwhile_is_refused(named: Callable[..., NetworkSpec]) -> None:
    spec = named("Row", content=FILE + "later = 1\n")
    Path("net.py").write_text(FILE + "later = 2\n")
    with pytest.raises(UserError, match=r"net\.py has changed since the command began; run the command again"):
        built(spec)
    make_network("./net.py:Row")
    with pytest.raises(UserError, match=f"is of a file with code {'0' * 12}, and .*give the file as it was"):
        build_network(spec.name, GREY, 3, {"code": "0" * 12})


def test_another_process_is_told_where_files_lie(
    named: Callable[..., NetworkSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    discover()
    named("Small")
    ways = [{"network": "./net.py:Row"}, {"network": "mlp"}]
    (job,) = jobs_of("random_real", network="./net.py:Small", protocol="quick-300@1", also=ways)
    assert [name for name, _, _ in job.network_files] == ["net.Row", "net.Small"]
    assert str(Path.cwd()) not in json.dumps(job.cell.model_dump(mode="json"))
    monkeypatch.setattr(network_files, "_PATHS", {})
    with pytest.raises(
        UserError,
        match=r"not named here, net\.py, whose code has the digest [0-9a-f]{12}; give it as --net",
    ):
        built(job.cell.network)
    remember_files(job.network_files)
    built(job.cell.network)
    assert files_of(job.cell.all_networks) == job.network_files


def test_nothing_but_its_user_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("raise SystemExit('run')\n")
    with pytest.raises(ValidationError, match="no slashes"):
        NetworkSpec.model_validate({"name": "./net.py:Small", "parameters": {}})
    with pytest.raises(UserError, match="not named here"):
        build_network("net.Small", GREY, 3, {"code": network_files.file_code(Path("net.py"))})
    with pytest.raises(UserError, match=r"unknown network 'net\.Small'"):
        build_network("net.Small", GREY, 3, {})


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
def test_distil_and_score_with_a_network_of_ones_own(call: Call, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FILE)
    small, options = ["--network", "./net.py:Small"], ["--device", "cpu"]
    code, _, err = call(
        "distill", "random_real", "-d", "digits", "--ipc", 1, *small, "--out", "d.safetensors", *options
    )
    assert code == 0, err
    artifact = DistilledDataset.load(tmp_path / "d.safetensors")
    assert artifact.provenance["network"]["name"] == "net.Small"
    record = read_record(record_beside(tmp_path / "d.safetensors"))
    found = json.loads(call("score", "d.safetensors", "--count", 1, *small, *options, "--json")[1])
    assert str(record.result.scores[0].accuracy) in json.dumps(found)
    network_files._PATHS.clear()  # as in a new process
    code, _, err = call("score", "d.safetensors", "--count", 1, *options)
    assert (code, "give it as --network ./net.py:Small" in err) == (2, True)
    assert call("score", "d.safetensors", "--count", 1, "--network", "convnet,depth=1,width=4", *options)[0] == 0


def test_a_record_is_checked_where_its_file_is_named(named: Callable[..., NetworkSpec]) -> None:
    discover_all_but_methods()
    spec, path = named("Small"), Path("record.json")
    write_record(path, make_record(network=spec, dataset_digest=load_dataset("digits").digest))
    code = network_files.file_code(Path("net.py"))
    network_files._PATHS.clear()  # as in a new process, which knows no board
    said = (
        f"network net.Small is of a file that is not named here, net.py, whose code has the digest {code}; give it as"
    )
    with pytest.raises(UserError) as caught:
        examine(path, None, None)
    assert str(caught.value) == f"{said} --network ./net.py:Small"
    named("Small", content=FILE + "later = 1\n")
    with pytest.raises(UserError, match=f"is of a file with code {code}, and .*give the file as it was"):
        examine(path, None, None)
    named("Small")
    claim, _ = examine(path, None, None)
    assert claim is not None
    assert claim.record.result.cell.network == spec


@pytest.mark.parametrize("command", ["verify", "submit"])
def test_a_file_that_is_not_there_is_said(call: Call, command: str) -> None:
    code, _, err = call(command, "some", "--network", "./nowhere.py:Small")
    assert (code, "nowhere.py; write ./FILE.py:CLASS" in err) == (2, True)


# -- packages and entry points --------------------------------------------------------------------------------------


class Plain(nn.Module):
    """A class that knows nothing of ddbench."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 5) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(in_channels, width, 3), nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.conv(x).relu().mean((2, 3)))


@dataclasses.dataclass
class Point:
    name: str
    module: str = "somewhere"

    def load(self) -> type[nn.Module]:
        if self.name == "broken":
            raise ImportError("no such thing")
        return Plain


def test_an_entry_point_is_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    discover_all_but_methods()
    monkeypatch.setattr(NETWORKS, "_objects", dict(NETWORKS._objects))
    monkeypatch.setattr(NETWORKS, "modules", set(NETWORKS.modules))
    for others in (METHODS, DATASETS, DECODERS, PROTOCOLS, MODALITIES, ANALYSES):  # what other tests have registered
        monkeypatch.setattr(others, "modules", set())
    monkeypatch.setattr(registry, "BROKEN", {})
    points = [Point("plain"), Point("broken"), Point("mlp")]
    monkeypatch.setattr(registry, "announced", lambda group: points if group == NETWORK_GROUP else [])
    discover_all_but_methods()
    discover_all_but_methods()
    check(built(make_network("plain,width=4")), GREY, 3)
    assert built(make_network("mlp")).init == "default"
    assert list(registry.BROKEN) == ["broken"]
    assert registry.is_discovered()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "model",
    [
        "squeezenet1_1",
        *(
            pytest.param(slow, marks=pytest.mark.slow)
            for slow in ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "googlenet")
        ),
    ],
)
def test_models_of_torchvision(model: str, channels: int) -> None:
    spec, shape = make_network(f"torchvision:{model}"), (channels, 32, 32)
    assert spec == NetworkSpec(name="torchvision", parameters={"model": model, "version": HERE})
    network = built(spec, shape, 10)
    check(network, shape, 10)
    assert not list(network.buffers())
    assert Chunks(network, shape).most > 0


def test_the_first_layer_of_torchvisions_alexnet_takes_grey_images() -> None:
    network = built(make_network("torchvision:alexnet"), (1, 64, 64))
    assert network(images_of((1, 64, 64), 2)).shape == (2, 3)


def test_a_model_of_torchvision_has_as_many_weights_as_torchvision_says() -> None:
    network = built(make_network("torchvision:resnet18"), (3, 32, 32), 1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_689_512


@pytest.mark.parametrize("model", ["resnet18", "vit_tiny_patch16_224", "efficientnet_b0"])
def test_models_of_timm(model: str) -> None:
    pytest.importorskip("timm")
    check(built(make_network(f"timm:{model}"), COLOUR, 10), COLOUR, 10)


def versions(monkeypatch: pytest.MonkeyPatch, **installed: str) -> None:
    """Let packages be installed in these versions, and no other."""

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(packages, "version", version)


class Timm(ModuleType):
    """Stands for timm, which need not be installed: it has one model."""

    def list_models(self) -> list[str]:
        return ["plain"]

    def create_model(self, name: str, pretrained: bool, num_classes: int, in_chans: int) -> nn.Module:
        return Plain(in_chans, num_classes)


def test_the_version_of_a_package_names_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", Timm("timm"))
    discover()

    def key(network: str) -> str:
        return jobs_of("random_real", network=network, protocol="quick-300@1")[0].key

    versions(monkeypatch, timm="1.0.9")
    old = make_network("timm:plain")
    assert old == make_network("timm,model=plain")
    assert str(old) == "timm(model=plain, version=1.0.9)"
    assert _network(old) == "timm,model=plain"
    first = key("timm:plain")
    check(built(old), GREY, 3)
    versions(monkeypatch, timm="1.0.15+local")
    assert make_network("timm:plain").parameters["version"] == "1.0.15"
    assert key("timm:plain") != first
    said = r"timm:plain is of timm 1\.0\.9, and 1\.0\.15 is installed; pip install timm==1\.0\.9, or name it again"
    with pytest.raises(UserError, match=said):
        built(old)
    check(built(NetworkSpec(name="timm", parameters={"model": "plain"})), GREY, 3)  # from before versions were recorded
    versions(monkeypatch)
    with pytest.raises(UserError, match=r"timm:plain is of timm 1\.0\.9, and none is installed"):
        built(old)
    with pytest.raises(UserError, match=r"version of timm is that of the installed package, and not to be set"):
        make_network("timm:plain,version=2")


def test_torchvisions_networks_with_our_weights_have_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, torchvision="9.9")
    for name in packages.REBUILT:
        assert make_network(f"torchvision:{name}").parameters == {"model": name}
    assert make_network("torchvision").parameters == {}
    assert make_network("torchvision:resnet18").parameters == {"model": "resnet18", "version": "9.9"}


def test_timm_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"need timm; pip install 'ddbench\[timm\]'"):
        built(make_network("timm:resnet18"))
