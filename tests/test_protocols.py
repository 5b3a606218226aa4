"""Protocols, and the trainings they amount to, worked out by hand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.recipe import Recipe
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data import Preprocessing, make_dataset
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol, register_protocol
from ddbench.evaluation.schedule import Schedule, schedule_of
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.networks import InitialWeights, build_network
from ddbench.registry import PROTOCOLS, discover_all_but_methods
from ddbench.submissions.checks import complaints
from ddbench.submissions.claim import Claim
from factories import make_record
from tasks import PERCEPTRON, setting_of

discover_all_but_methods()
NONE = Recipe()
ORDER = torch.tensor([[0, 1], [2, 3], [4, 5]])
LEARNED = Recipe(lr=torch.tensor([0.02, 0.04]))
WALKED = Recipe(lr=torch.full((6,), 0.5), order=ORDER, epochs=2)


def protocol(name: str) -> Protocol:
    found: Protocol = PROTOCOLS.get(name)
    return found


TRAINED = [name for name in PROTOCOLS if PROTOCOLS.get(name).kind != "krr"]
"""those under which networks are trained"""


def steps_of(made: Schedule) -> tuple[int, int | None]:
    """How many steps, and at which the step size first falls."""
    lower = [step for step, lr in enumerate(made.lrs) if lr < made.lrs[0]]
    assert lower == list(range(lower[0], len(made.lrs))) if lower else made.drop is None or made.drop >= len(made.lrs)
    if lower:
        assert made.drop == lower[0]
        assert made.lrs[-1] == pytest.approx(made.lrs[0] / 10)
    return len(made.lrs), made.drop


@pytest.mark.parametrize(
    ("name", "count", "short", "expected"),
    [
        # steps count: the same for any artefact
        ("quick-300@1", 10, False, (300, 150)),
        ("quick-300@1", 100, False, (300, 150)),
        ("quick-300@1", 10, True, (300, 150)),
        # epochs 0 to 300 of one batch; the step size falls after epoch 300 // 2 + 1, the 152nd
        ("dc-300@1", 10, False, (301, 152)),
        ("dc-300@1", 256, False, (301, 152)),
        ("dc-300@1", 257, False, (602, 304)),
        ("dc-300@1", 500, True, (200, 101)),
        ("dc-mnist-1000@1", 10, False, (1001, 502)),
        ("dc-mnist-1000@1", 10, True, (300, 150)),
        ("dsa-1000@1", 100, False, (1001, 502)),
        ("dsa-1000@1", 1000, False, (4004, 2008)),
        ("mtt-1000@1", 500, False, (2002, 1004)),
        ("own-recipe@1", 10, False, (300, 150)),
    ],
)
def test_steps_and_the_drop(name: str, count: int, short: bool, expected: tuple[int, int]) -> None:
    made = schedule_of(protocol(name), NONE, count, short)
    assert steps_of(made) == expected
    assert (made.lrs[0], made.momentum, made.weight_decay, made.order) == (0.01, 0.9, 5e-4, None)


def test_several_falls_do_not_restart_the_momentum() -> None:
    made = schedule_of(protocol("idc-1000@1"), NONE, 100)  # two batches of 64 an epoch
    assert made.drop is None
    expected = [0.01] * 1332 + [0.002] * 334 + [0.0004] * 334
    assert made.lrs == pytest.approx(expected)


def test_every_shipped_protocol_is_covered_and_plain() -> None:
    assert list(PROTOCOLS) == [
        "adam-300@1", "dc-300@1", "dc-mnist-1000@1", "dsa-1000@1", "frepo@1", "full-data-10@1", "full-data-dsa-200@1",
        "gcn-600@1", "gcn-full-200@1", "idc-1000@1", "krr-convnet3@1", "krr-convnet@1", "krr-fc@1", "krr-unpooled@1",
        "mtt-1000@1", "own-recipe@1", "quick-300@1", "rcig-dsa@1", "rcig@1", "rded-300@1",
        "soft-label-3000@1",
    ]  # fmt: skip
    augmentations = {name: protocol(name).augmentation for name in TRAINED}
    assert augmentations == {
        "adam-300@1": "none",
        "dc-300@1": "none",
        "dc-mnist-1000@1": "shift_scale_rotate",
        "dsa-1000@1": "dsa",
        "frepo@1": "dsa",
        "full-data-10@1": "none",
        "full-data-dsa-200@1": "dsa",
        "gcn-600@1": "none",
        "gcn-full-200@1": "none",
        "idc-1000@1": "always_color_cutmix",
        "mtt-1000@1": "dsa",
        "own-recipe@1": "none",
        "quick-300@1": "none",
        "rcig-dsa@1": "dsa",
        "rcig@1": "none",
        "rded-300@1": "flip",
        "soft-label-3000@1": "dsa",
    }
    for name in PROTOCOLS:
        described = PROTOCOLS.get(name).describe()
        assert json.loads(json.dumps(described)) == described
        assert described["name"] == name
        assert described["source"]


def test_descriptions_that_records_hold_have_not_changed() -> None:
    """The digests are of descriptions before protocols had a cosine, losses, averages, mixtures and tables of steps."""
    before = {
        "adam-300@1": "9a6a494b6a43e143",
        "dc-300@1": "559b5c2260aa3930",
        "dc-mnist-1000@1": "f9470d887c20adf5",
        "dsa-1000@1": "f32d0161956a0589",
        "full-data-10@1": "456489a80adc446e",
        "full-data-dsa-200@1": "2960fda733aab9ea",
        "idc-1000@1": "2e77a7300046f3c8",
        "mtt-1000@1": "7f33bb1e19e4c6b9",
        "own-recipe@1": "1acc2670a06708cd",
        "quick-300@1": "1718ad45af360d12",
    }
    texts = {name: json.dumps(protocol(name).describe()).encode() for name in before}
    assert {name: hashlib.sha256(text).hexdigest()[:16] for name, text in texts.items()} == before


ADAM = ("adam-300@1", "frepo@1", "gcn-600@1", "gcn-full-200@1", "rcig@1", "rcig-dsa@1")


def test_records_name_the_optimiser_where_it_is_not_the_usual_one() -> None:
    found = {name: protocol(name).describe().get("optimizer") for name in TRAINED}
    assert [found.pop(name) for name in ADAM] == ["adam"] * len(ADAM)
    assert found.pop("rded-300@1") == "adamw"
    assert set(found.values()) == {None}
    assert all("optimizer" not in protocol(name).describe() for name in found)
    assert {protocol(name).optimizer for name in found} == {"sgd"}


def test_a_record_that_names_no_optimiser_means_sgd() -> None:
    def said(name: str) -> list[str]:
        described = {key: value for key, value in protocol(name).describe().items() if key != "optimizer"}
        record = make_record(protocol=name, networks=1, resolved=described, artifact="sha256:" + "a" * 64)
        return complaints(Claim(Path("r.json"), b"", record, None), None)  # type: ignore[arg-type]

    assert said("dc-300@1") == []
    assert said("adam-300@1") == ["r.json: says that adam-300@1 has optimizer 'sgd'; it has 'adam'"]


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("count", [10, 500])
def test_adam_takes_300_steps_of_one_size(count: int, short: bool) -> None:
    made = schedule_of(protocol("adam-300@1"), dataclasses.replace(LEARNED, momentum=0.5), count, short)
    assert made == Schedule([1e-3] * 300, None, 0.9, 0.0, None, "adam")


@pytest.mark.parametrize("short", [False, True])
def test_passes_over_all_data_with_two_falls(short: bool) -> None:
    made = schedule_of(protocol("full-data-10@1"), NONE, 1000, short)  # four batches of at most 256 a pass
    assert made.lrs == pytest.approx([0.01] * 20 + [0.001] * 10 + [0.0001] * 10)
    assert (made.drop, made.momentum, made.weight_decay, made.optimizer) == (None, 0.9, 5e-4, "sgd")
    made = schedule_of(protocol("full-data-dsa-200@1"), NONE, 256, short)
    assert made.lrs == pytest.approx([0.01] * 100 + [0.001] * 50 + [0.0001] * 50)


def test_adam_trains_as_adam_written_out() -> None:
    images = np.random.RandomState(0).randint(0, 256, (12, 4, 4), dtype=np.uint8)
    data = make_dataset("tiny", images, np.arange(12) % 3, images[:3], np.arange(3))
    transform, adam = Preprocessing.for_dataset(data).fit(data), protocol("adam-300@1")
    evaluator = ImageEvaluator(data, transform, adam, PERCEPTRON, torch.device("cpu"), setting_of(PERCEPTRON, data))
    artifact = DistilledDataset.pixels(transform(data.train_images), data.train_labels)

    network = build_network(PERCEPTRON.name, data.shape, 3, PERCEPTRON.parameters)
    network.load_state_dict(InitialWeights(network)(seeded(derive_seed("evaluate", adam.name, PERCEPTRON, 0))))
    network, pixels = network.double(), transform(data.train_images).double()
    weights = list(network.parameters())
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    for step in range(1, 301):  # of all images, in whatever order
        slopes = torch.autograd.grad(F.cross_entropy(network(pixels), data.train_labels), weights)
        for weight, slope, m, v in zip(weights, slopes, first, second, strict=True):
            m.mul_(0.9).add_(0.1 * slope)
            v.mul_(0.999).add_(0.001 * slope**2)
            weight.data -= 1e-3 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    trained = evaluator.train(artifact, 0)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(trained[name].double(), weight.detach(), atol=1e-4, rtol=0)
    assert evaluator.score(artifact, seed=0).metrics == {}


@pytest.mark.parametrize(
    ("name", "lr"), [("quick-300@1", 0.01), ("dsa-1000@1", 0.01), ("mtt-1000@1", 0.03), ("own-recipe@1", 0.03)]
)
def test_a_learned_step_size_counts_where_it_is_honoured(name: str, lr: float) -> None:
    made = schedule_of(protocol(name), LEARNED, 10)
    assert made.lrs[0] == pytest.approx(lr)
    assert steps_of(made)[0] == steps_of(schedule_of(protocol(name), NONE, 10))[0]


def test_a_learned_order_is_ignored_where_it_is_not_honoured() -> None:
    made = schedule_of(protocol("mtt-1000@1"), dataclasses.replace(WALKED, momentum=0.5), 6)
    assert made == Schedule([0.5] * 502 + [0.05] * 499, 502, 0.9, 5e-4, None)
    assert schedule_of(protocol("dsa-1000@1"), WALKED, 6) == schedule_of(protocol("dsa-1000@1"), NONE, 6)


def test_a_learned_order_is_walked_by_plain_gradient_descent() -> None:
    lrs = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    made = schedule_of(protocol("own-recipe@1"), Recipe(lr=lrs, order=ORDER, epochs=2), 6)
    assert made.lrs == lrs.tolist()
    assert (made.drop, made.momentum, made.weight_decay) == (None, 0.0, 0.0)
    assert made.order is ORDER


def test_one_learned_step_size_serves_every_step_of_a_learned_order() -> None:
    made = schedule_of(protocol("own-recipe@1"), Recipe(lr=torch.tensor(0.25), order=ORDER, epochs=3), 6)
    assert made.lrs == [0.25] * 9
    made = schedule_of(protocol("own-recipe@1"), Recipe(order=ORDER, momentum=0.5), 6)
    assert (made.lrs, made.momentum) == ([0.01] * 3, 0.5)


def test_the_short_form_of_a_learned_order_is_the_whole_of_it() -> None:
    own = protocol("own-recipe@1")
    assert schedule_of(own, WALKED, 6, short=True) == schedule_of(own, WALKED, 6)


@pytest.mark.parametrize("count", [2, 5, 7])
def test_step_sizes_that_do_not_match_the_steps_are_refused(count: int) -> None:
    recipe = Recipe(lr=torch.full((count,), 0.5), order=ORDER, epochs=2)
    with pytest.raises(UserError, match=f"recipe.lr has {count} step sizes for 6 steps; store one, or one a step"):
        schedule_of(protocol("own-recipe@1"), recipe, 6)


@pytest.mark.parametrize(
    ("honours", "expected"),
    [
        (("order",), ([0.01] * 3, 0.0)),
        (("order", "epochs"), ([0.01] * 6, 0.0)),
        (("order", "epochs", "lr"), ([0.5] * 6, 0.0)),
        (("order", "epochs", "lr", "momentum"), ([0.5] * 6, 0.7)),
    ],
)
def test_only_the_honoured_fields_count(honours: Any, expected: tuple[list[float], float]) -> None:
    chosen = Protocol("p@1", "test", steps=4, honours=honours)
    made = schedule_of(chosen, dataclasses.replace(WALKED, momentum=0.7), 6)
    assert (made.lrs, made.momentum) == expected


def test_a_step_size_that_never_falls() -> None:
    made = schedule_of(Protocol("p@1", "test", steps=4, decay_at=1), NONE, 6)
    assert made.lrs == [0.01] * 4


@pytest.mark.parametrize("values", [{}, {"epochs": 3, "steps": 3}])
def test_a_protocol_counts_epochs_or_steps(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="protocol p@1: give epochs or steps, one of the two"):
        Protocol("p@1", "test", **values)


@pytest.mark.usefixtures("protocols")
def test_a_protocol_never_changes() -> None:
    mine = register_protocol(Protocol("mine@1", "test", steps=1))
    assert protocol("mine@1") is mine
    with pytest.raises(ValueError, match="protocol 'mine@1' is already registered"):
        register_protocol(Protocol("mine@1", "test", steps=2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        mine.lr = 1.0  # type: ignore[misc]
