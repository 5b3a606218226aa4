"""Networks: shapes, published parameter counts, functional use, initial weights, and what a user can get wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ddbench.compute.compiling import Compiler
from ddbench.compute.generators import seeded
from ddbench.errors import UserError
from ddbench.networks import Chunks, InitialWeights, build_network, parameter_count
from ddbench.networks.base import extra_padding
from ddbench.networks.chunks import largest_map
from ddbench.registry import NETWORKS

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
NAMES = ["convnet", "mlp", "lenet", "alexnet", "alexcifarnet", "vgg11", "resnet18"]
NORMED = [("convnet", {"depth": 2, "width": 8}), ("vgg11", {}), ("resnet18", {})]


def images_of(shape: tuple[int, int, int], count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def tiny(seed: int = 0, **parameters: Any) -> nn.Module:
    torch.manual_seed(seed)
    return build_network("convnet", (2, 8, 8), 3, {"depth": 2, "width": 4, **parameters})


# The two sums that no paper states, by hand:
# MLP      3072*128 + 128  +  128*128 + 128  +  128*10 + 10                       = 393,344 + 16,512 + 1,290
# AlexNet  128*(3*25) + 128  +  192*(128*25) + 192  +  256*(192*9) + 256          =   9,728 + 614,592 + 442,624
#          + 192*(256*9) + 192  +  192*(192*9) + 192  +  10*(192*4*4) + 10        + 442,560 + 331,968 + 30,730
@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("convnet", COLOUR, 320_010),
        ("convnet", GREY, 317_706),
        ("lenet", COLOUR, 62_006),
        ("resnet18", COLOUR, 11_173_962),
        ("vgg11", COLOUR, 9_231_114),
        ("mlp", COLOUR, 411_146),
        ("alexnet", COLOUR, 1_872_202),
        ("alexcifarnet", COLOUR, 1_756_426),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, shape: tuple[int, int, int], count: int) -> None:
    assert parameter_count(build_network(name, shape, 10, {})) == count


@pytest.mark.parametrize("shape", [GREY, COLOUR, (3, 28, 28), (1, 32, 32), (3, 64, 64), (3, 24, 40)])
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_classifier_of_the_embedding(name: str, shape: tuple[int, int, int]) -> None:
    network: Any = build_network(name, shape, 7, {})
    images = images_of(shape)
    with torch.no_grad():
        embedding, logits = network.embed(images), network(images)
        assert embedding.shape == (2, network.classifier.in_features)
        assert logits.shape == (2, 7)
        assert torch.equal(network.classifier(embedding), logits)


@pytest.mark.parametrize(
    ("name", "side"), [("convnet", 8), ("mlp", 1), ("lenet", 16), ("alexnet", 8), ("alexcifarnet", 8), ("resnet18", 9)]
)
def test_smallest_images(name: str, side: int) -> None:
    assert build_network(name, (3, side, side), 2, {})(images_of((3, side, side))).shape == (2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_changes_nothing(name: str) -> None:
    network = build_network(name, COLOUR, 4, {})
    images = images_of(COLOUR)
    with torch.no_grad():
        torch.testing.assert_close(
            network(images.contiguous(memory_format=torch.channels_last)), network(images), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("side", "halvings", "extra"), [(28, 3, 2), (32, 3, 0), (8, 2, 0), (8, 3, 0), (7, 3, 0), (15, 3, 1), (13, 2, 2)]
)
def test_extra_padding(side: int, halvings: int, extra: int) -> None:
    assert extra_padding(side, halvings) == extra


def test_a_28x28_image_becomes_a_32x32_map() -> None:
    for name in ("convnet", "alexnet", "vgg11"):
        network: Any = build_network(name, GREY, 10, {})
        assert network.features[0](images_of(GREY)).shape[2:] == (32, 32)


def test_padding_of_28_equals_an_image_in_a_black_frame() -> None:
    framed, padded = build_network("convnet", (1, 32, 32), 10, {}), build_network("convnet", GREY, 10, {})
    padded.load_state_dict(framed.state_dict())
    images = images_of(GREY)
    torch.testing.assert_close(padded(images), framed(nn.functional.pad(images, (2, 2, 2, 2))))


@pytest.mark.parametrize("pooling", ["average", "max", "none"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid", "swish"])
def test_convnet_activations_and_poolings(activation: str, pooling: str) -> None:
    network: Any = tiny(activation=activation, pooling=pooling)
    assert network.embed(images_of((2, 8, 8))).shape == (2, 4 * (8 * 8 if pooling == "none" else 2 * 2))
    layers = {type(layer) for layer in network.features}
    named = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "sigmoid": nn.Sigmoid, "swish": nn.SiLU}
    assert named[activation] in layers
    assert ({"average": nn.AvgPool2d, "max": nn.MaxPool2d, "none": nn.Identity}[pooling]) in layers


@pytest.mark.parametrize(("name", "parameters"), NORMED)
@pytest.mark.parametrize("norm", ["instance", "batch", "running_batch", "layer", "group", "none"])
def test_norms_hold_no_state(name: str, parameters: Mapping[str, Any], norm: str) -> None:
    network = build_network(name, COLOUR, 3, {**parameters, "norm": norm})
    assert not list(network.buffers())
    with torch.no_grad():
        training, tested = network.train()(images_of(COLOUR)), network.eval()(images_of(COLOUR))
        assert torch.equal(network.train()(images_of(COLOUR)), training)
        assert torch.equal(network.eval()(images_of(COLOUR)), tested)
    assert torch.equal(tested, training) == (norm != "running_batch")  # whose statistics are in the weights


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_norms_standardise_what_they_say(norm: str) -> None:
    network: Any = tiny(norm=norm)
    out = network.features[:2](images_of((2, 8, 8), 3))
    dims = (2, 3) if norm == "instance" else (1, 2, 3)
    torch.testing.assert_close(out.mean(dims), torch.zeros_like(out.mean(dims)), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dims, correction=0), torch.ones_like(out.mean(dims)), atol=1e-2, rtol=0)


@pytest.mark.parametrize("norm", ["instance", "batch", "running_batch", "layer", "group", "none"])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_stacked_networks_equal_a_loop(norm: str, pooling: str) -> None:
    networks = [tiny(seed, norm=norm, pooling=pooling) for seed in range(3)]
    stacked, buffers = stack_module_state(networks)
    images = images_of((2, 8, 8), 5)
    together = vmap(lambda weights: functional_call(networks[0], weights, (images,)))(stacked)
    assert not buffers
    torch.testing.assert_close(together, torch.stack([network(images) for network in networks]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "lenet", "alexnet", "alexcifarnet", "resnet18"])
def test_other_families_stack_too(name: str) -> None:
    network = build_network(name, (1, 16, 16), 3, {})
    draw = InitialWeights(network)
    drawn = [draw(torch.Generator().manual_seed(seed)) for seed in range(2)]
    images = images_of((1, 16, 16), 2)
    with torch.no_grad():
        stacked = {key: torch.stack([weights[key] for weights in drawn]) for key in drawn[0]}
        together = vmap(lambda weights: functional_call(network, weights, (images,)))(stacked)
        alone = torch.stack([functional_call(network, weights, (images,)) for weights in drawn])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("norm", ["instance", "batch", "running_batch", "layer", "group"])
def test_double_backward_of_a_tiny_convnet(norm: str) -> None:
    torch.manual_seed(0)
    width = 4 if norm == "group" else 2  # it has four groups
    parameters = {"depth": 1, "width": width, "norm": norm, "activation": "swish"}
    network = build_network("convnet", (1, 4, 4), 2, parameters).double()
    names = [name for name, _ in network.named_parameters()]
    weights = tuple(parameter.detach().requires_grad_() for parameter in network.parameters())
    images = images_of((1, 4, 4)).double().requires_grad_()

    def logits(images: Tensor, *weights: Tensor) -> Tensor:
        out: Tensor = functional_call(network, dict(zip(names, weights, strict=True)), (images,))
        return out

    assert torch.autograd.gradcheck(logits, (images, *weights))
    assert torch.autograd.gradgradcheck(logits, (images, *weights))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [*NORMED, ("convnet", {"width": 8, "norm": "running_batch"}), ("mlp", {}), ("lenet", {}), ("alexnet", {})],
)
def test_initial_weights_have_the_names_shapes_and_distribution_of_pytorch(
    name: str, parameters: Mapping[str, Any]
) -> None:
    torch.manual_seed(0)
    network = build_network(name, COLOUR, 10, parameters)
    weights = InitialWeights(network)(torch.Generator().manual_seed(1))
    assert list(weights) == [key for key, _ in network.named_parameters()]
    for key, theirs in network.named_parameters():
        ours = weights[key]
        assert (ours.shape, ours.dtype, ours.requires_grad) == (theirs.shape, theirs.dtype, False)
        assert ours.is_contiguous()
        if theirs.std(correction=0) == 0:  # an affine part of a normalisation
            assert torch.equal(ours, theirs)
        elif theirs.numel() > 2000:
            torch.testing.assert_close(ours.abs().max(), theirs.abs().max(), rtol=0.01, atol=0)
            torch.testing.assert_close(ours.std(), theirs.std(), rtol=0.05, atol=0)
            assert abs(ours.mean()) < 0.06 * theirs.abs().max()


def test_initial_weights_stay_within_one_over_root_fan_in() -> None:
    network = build_network("convnet", COLOUR, 10, {})
    weights = InitialWeights(network)(torch.Generator().manual_seed(0))
    bound = 1 / math.sqrt(128 * 9)
    for key in ("features.4.weight", "features.4.bias"):
        assert 0.9 * bound < weights[key].abs().max() <= bound
    assert weights["classifier.bias"].abs().max() <= 1 / math.sqrt(128 * 4 * 4)


@pytest.mark.parametrize("name", ["lenet", "alexcifarnet"])
def test_xavier_weights_are_normal_as_torch_draws_them_and_biases_0(name: str) -> None:
    network = build_network(name, COLOUR, 10, {"init": "xavier"})
    weights = InitialWeights(network)(torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    for key, ours in weights.items():
        if key.endswith("bias"):
            assert not ours.any()
        else:
            theirs = nn.init.xavier_normal_(torch.empty_like(ours))
            torch.testing.assert_close(ours.std(), theirs.std(), rtol=0.15, atol=0)
            assert abs(ours.mean()) < 5 * theirs.std() / ours.numel() ** 0.5
            assert 2.5 * theirs.std() < ours.abs().max() < 6 * theirs.std()  # a uniform one would end at 1.7


def test_an_unknown_distribution_is_refused() -> None:
    with pytest.raises(UserError, match="unknown init 'xavir'; did you mean 'xavier'"):
        build_network("lenet", GREY, 10, {"init": "xavir"})


def test_initial_weights_are_decided_by_the_generator_alone() -> None:
    draw = InitialWeights(tiny())
    generator = torch.Generator().manual_seed(3)
    first, second = draw(generator), draw(generator)
    torch.manual_seed(99)
    again = draw(torch.Generator().manual_seed(3))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["classifier.weight"], second["classifier.weight"])


def test_initial_weights_take_the_precision_of_the_network() -> None:
    weights = InitialWeights(tiny().double())(torch.Generator())
    assert {weight.dtype for weight in weights.values()} == {torch.float64}


def test_initial_weights_refuse_a_layer_they_do_not_know() -> None:
    with pytest.raises(TypeError, match="distribution for the parameters of PReLU"):
        InitialWeights(nn.Sequential(nn.Linear(2, 2), nn.PReLU()))


class Gated(nn.Module):
    """A network of an extension, with its own embedding and a parameter whose distribution nobody knows."""

    def __init__(self, shape: tuple[int, int, int], classes: int, *, width: int = 4) -> None:
        super().__init__()
        self.hidden, self.gate = nn.Linear(math.prod(shape), width), nn.Parameter(torch.rand(width) + 2)
        self.classifier = nn.Linear(width, classes)

    def embed(self, x: Tensor) -> Tensor:
        return self.gate * self.hidden(x.flatten(1)).tanh()

    def forward(self, x: Tensor) -> Any:
        return self.classifier(self.embed(x))


def test_a_registered_network_with_an_unknown_layer_draws_its_own_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NETWORKS, "_objects", {"gated": Gated})
    network = build_network("gated", GREY, 3, {"width": 5})
    assert type(network) is Gated
    draw, before = InitialWeights(network.double()), torch.random.get_rng_state()
    first, again, other = draw(seeded(1)), draw(seeded(1)), draw(seeded(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name, _ in network.named_parameters())
    assert not torch.equal(first["gate"], other["gate"])
    assert 2 <= float(first["gate"].min()) <= float(first["gate"].max()) < 3
    assert {weight.dtype for weight in first.values()} == {torch.float64}
    generator = seeded(1)
    assert not torch.equal(draw(generator)["gate"], draw(generator)["gate"])


def test_a_whole_number_may_not_be_written_as_a_float() -> None:
    with pytest.raises(UserError, match=r"width of network 'mlp' is 3\.0; it must be of type int"):
        build_network("mlp", GREY, 2, {"width": 3.0})


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "message"),
    [
        ("convent", COLOUR, {}, "unknown network 'convent'; did you mean 'convnet'?"),
        ("convnet", COLOUR, {"widht": 3}, "network 'convnet' has no parameter 'widht'; did you mean 'width'?"),
        ("alexnet", COLOUR, {"norm": "batch"}, "network 'alexnet' has no parameter 'norm'; it takes none"),
        ("convnet", COLOUR, {"depth": "3"}, "depth of network 'convnet' is '3'; it must be of type int"),
        ("convnet", COLOUR, {"depth": True}, "depth of network 'convnet' is True; it must be of type int"),
        ("convnet", COLOUR, {"norm": 1}, "norm of network 'convnet' is 1; it must be of type str"),
        ("convnet", COLOUR, {"norm": "instnce"}, "unknown norm 'instnce'; did you mean 'instance'?"),
        ("convnet", COLOUR, {"activation": "rellu"}, "unknown activation 'rellu'; did you mean 'relu'?"),
        ("convnet", COLOUR, {"pooling": "avg"}, "unknown pooling 'avg'; did you mean 'average'?"),
        ("convnet", COLOUR, {"depth": 0}, "depth is 0; it must be at least 1"),
        ("convnet", COLOUR, {"width": -1}, "width is -1; it must be at least 1"),
        ("convnet", COLOUR, {"width": 6, "norm": "group"}, "width 6 is no multiple of it"),
        ("convnet", (3, 7, 9), {}, "at least 8x8, these are 7x9; set depth to 2 or less"),
        ("convnet", (3, 1, 1), {}, "at least 8x8, these are 1x1; use network 'mlp'"),
        ("mlp", COLOUR, {"depth": 0}, "depth is 0; it must be at least 1"),
        ("lenet", (3, 8, 8), {}, "lenet needs images of at least 16x16, these are 8x8; enlarge them"),
        ("lenet", (1, 8, 8), {}, "lenet needs images of at least 12x12, these are 8x8"),
        ("alexnet", (3, 7, 7), {}, "alexnet needs images of at least 8x8, these are 7x7"),
        ("alexcifarnet", (3, 7, 7), {}, "alexcifarnet needs images of at least 8x8, these are 7x7"),
        ("vgg11", (3, 16, 16), {}, "vgg11 needs images of at least 17x17, these are 16x16"),
        ("vgg11", COLOUR, {"norm": "x"}, "unknown norm 'x'; known: batch, group, instance, layer, none, running_batch"),
        ("resnet18", (3, 8, 8), {}, "resnet18 needs images of at least 9x9, these are 8x8"),
    ],
)
def test_messages(name: str, shape: tuple[int, int, int], parameters: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_network(name, shape, 10, parameters)
    assert message in str(caught.value)


# -- chunks -------------------------------------------------------------------------------------------------------


def chunks_of(most: int) -> Chunks:
    chunks = Chunks(build_network("mlp", (1, 4, 4), 2, {}), (1, 4, 4))
    chunks.most = most
    return chunks


@pytest.mark.parametrize(
    ("count", "most", "size"),
    [
        (10, 32, 10),
        (48, 32, 48),
        (256, 32, 32),
        (100, 32, 25),
        (10_000, 32, 25),
        (50, 32, 25),
        (244, 32, 32),
        (7, 1, 1),
    ],
)
def test_chunks_leave_no_remainder_where_they_can(count: int, most: int, size: int) -> None:
    assert chunks_of(most).size(count) == size


def test_a_chunk_is_as_large_as_the_largest_feature_map_allows() -> None:
    network = build_network("convnet", (3, 32, 32), 10, {"width": 128})
    assert largest_map(network, torch.zeros(1, 3, 32, 32)) == 128 * 32 * 32
    assert Chunks(network, (3, 32, 32)).most == 8


def test_a_gradient_in_chunks_is_that_of_the_whole_batch() -> None:
    network = build_network("mlp", (1, 4, 4), 2, {})
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    images, labels = torch.randn(7, 1, 4, 4, generator=seeded(0)), torch.tensor([0, 1, 1, 0, 1, 0, 0])

    def loss(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, weights, (images,)), labels)

    slopes, value = chunks_of(3).gradient(Compiler().gradient(loss), weights, images, labels)
    whole = loss(dict(network.named_parameters()), images, labels)
    assert value.item() == pytest.approx(whole.item())
    expected = torch.autograd.grad(whole, list(network.parameters()))
    for name, slope in zip(weights, expected, strict=True):
        assert torch.allclose(slopes[name], slope, atol=1e-6)


def test_a_map_in_chunks_is_that_of_the_whole_batch() -> None:
    images = torch.randn(7, 1, 4, 4, generator=seeded(1))
    assert torch.equal(chunks_of(3).map(lambda chunk: chunk.sum((1, 2, 3)), images), images.sum((1, 2, 3)))
