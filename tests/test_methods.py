"""The methods that ship: the contract over each, and their choices and schedules by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddbench.compute.generators import Generators
from ddbench.errors import UserError
from ddbench.families.experts import Expert, expert_trajectories
from ddbench.families.gradient_matching import GradientDistance, Turns
from ddbench.families.synthetic_set import SyntheticSet
from ddbench.families.training import OnReal, OnSynthetic, Trained, Trainer
from ddbench.families.trajectory_matching import learned_step_size
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.registry import CONTROL, METHODS, discover
from ddbench.task.hyperparameters import make_method
from ddbench.task.settings import SETTINGS
from ddbench.task.task import Task
from ddbench.testing import check_method, modalities_of, tiny_dataset, tiny_task, tiny_training
from methods.backprop import Backprop
from methods.best_random_real import BestRandomReal
from methods.class_mean import ClassMean
from methods.contrastive_gradient_matching import ContrastiveGradientMatching
from methods.difficulty_aligned_matching import DifficultyAlignedMatching
from methods.efficient_parameterization import EfficientParameterization
from methods.gradient_matching import GradientMatching
from methods.herding import Herding, herd
from methods.k_center import KCenter, centers
from methods.k_means import KMeansCentroids
from methods.random_real import RandomReal
from methods.random_soft_labels import RandomSoftLabels
from methods.scalable_trajectory_matching import ScalableTrajectoryMatching

discover()
FOLDER = Path(__file__).resolve().parent.parent / "methods"
SHIPPED = [name for name in METHODS if METHODS.get(name).__module__.startswith("methods.")]
every_method = pytest.mark.parametrize("name", SHIPPED)


def free_meter() -> Meter:
    return Meter(Budget())


# -- every method -----------------------------------------------------------------------------------------------------


def test_every_method_of_the_folder_is_registered() -> None:
    assert set(SHIPPED) == {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert [METHODS.get(name).__module__ for name in SHIPPED] == [f"methods.{name}" for name in SHIPPED]
    names = [*SHIPPED, *(alias for name in SHIPPED for alias in METHODS.aliases(name))]
    assert len(set(names)) == len(names)


@every_method
def test_the_contract_is_kept(name: str) -> None:
    assert check_method(METHODS.get(name)) == []


@every_method
def test_a_method_says_where_it_comes_from(name: str) -> None:
    cls: type[Any] = METHODS.get(name)
    assert cls.name == name
    assert all(METHODS.get(alias) is cls for alias in METHODS.aliases(name))
    assert cls.paper.startswith("https://")
    assert cls.__doc__
    assert cls.__doc__.partition("\n")[0].endswith(".")
    fields = {field.name for field in dataclasses.fields(cls)}
    assert cls.family
    learns = "iterations" in fields or cls.family == "decoupled"  # which may make images in one go
    assert (cls.family == CONTROL) == (not learns), "controls do not learn their images"
    assert cls.settings
    assert set(cls.settings) <= set(SETTINGS)
    assert set(cls.tiny) <= fields


@every_method
def test_defaults_and_tiny_settings_are_valid(name: str) -> None:
    cls = METHODS.get(name)
    assert make_method(cls, {}) == cls()
    make_method(cls, cls.tiny)


@pytest.mark.parametrize(
    ("method", "settings", "sentence"),
    [
        ("dm", {"iterations": 0}, "iterations=0 of distribution_matching: input should be greater than 0"),
        ("dm", {"iterations": -5}, "iterations=-5 of distribution_matching: input should be greater than 0"),
        ("dc", {"batch_real": 0}, "batch_real=0 of gradient_matching: input should be greater than 0"),
        ("dd", {"epochs": 1.5}, "epochs=1.5 of backprop: input should be a valid integer"),
        ("mtt", {"experts": 0}, "experts=0 of trajectory_matching: input should be greater than 0"),
        ("dm", {"lr_images": float("inf")}, "lr_images=inf of distribution_matching is not finite"),
        ("herding", {"space": "pixel"}, "space='pixel' of herding: input should be 'trained', 'random' or 'pixels'"),
        ("dd", {"init": "zeros"}, "init='zeros' of backprop: input should be 'real' or 'noise'"),
        ("dm", {"lr_image": 1.0}, "unknown hyper-parameter 'lr_image' of distribution_matching; did you mean"),
    ],
)
def test_a_hyperparameter_out_of_range_is_refused(method: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        make_method(METHODS.get(method), settings)
    assert str(refusal.value).startswith(sentence)


# -- controls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        # mean 3; 2 is nearest; then (2 + 1) / 2 beats (2 + 0) / 2 and (2 + 9) / 2; then (3 + 9) / 3 beats (3 + 0) / 3
        ([[0.0], [1.0], [2.0], [9.0]], [2, 1, 3]),
        # mean 2; the row on it cannot be taken twice; of two as good the first is taken
        ([[0.0], [2.0], [4.0]], [1, 0, 2]),
        # mean (2, 1): squared distances 5, 5, 4; then (1, 1.5) and (3, 1.5) are as good, and the first is taken
        ([[0.0, 0.0], [4.0, 0.0], [2.0, 3.0]], [2, 0, 1]),
    ],
    ids=["one dimension", "no repeats", "two dimensions"],
)
def test_herding_by_hand(rows: list[list[float]], chosen: list[int]) -> None:
    features = torch.tensor(rows)
    for n in range(1, len(chosen) + 1):
        assert herd(features, n).tolist() == chosen[:n]


def test_centers_by_hand() -> None:
    # mean (1.25, 0.75): (1, 0) is nearest; squared distances to it are 1, 9, 10; then (4, 0) is 9 from the nearest
    features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    for n in range(1, 5):
        assert centers(features, n).tolist() == [1, 3, 2, 0][:n]


def test_random_real_takes_what_every_method_starts_from() -> None:
    images, labels = tiny_task().real_init()
    artifact = RandomReal().distill(tiny_task(), free_meter())
    assert torch.equal(artifact.parts["images"], images)
    assert torch.equal(artifact.parts["labels"], labels)
    other = RandomReal().distill(tiny_task(generators=Generators("another")), free_meter())
    assert not torch.equal(other.parts["images"], images)


@pytest.mark.parametrize("decoder", ["pixels", "multi_formation", "canvas,factor=2"])
def test_unlearned_images_fill_the_storage_of_a_decoder(decoder: str) -> None:
    started = SyntheticSet(tiny_task(ipc=4), decoder).artifact()
    random = RandomReal(decoder=decoder).distill(tiny_task(ipc=4), free_meter())
    assert all(torch.equal(random.parts[name], part) for name, part in started.parts.items())
    for method in (Herding(space="pixels", decoder=decoder), KMeansCentroids(space="pixels", decoder=decoder)):
        artifact = method.distill(tiny_task(ipc=4), free_meter())
        assert {name: part.shape for name, part in artifact.parts.items()} == {
            name: part.shape for name, part in started.parts.items()
        }
        assert artifact.decoder == started.decoder
        assert not torch.equal(artifact.decode()[0], random.decode()[0])


def test_soft_labels_of_random_images_are_the_experts_answers() -> None:
    method, task = RandomSoftLabels(**RandomSoftLabels.tiny), tiny_task()
    artifact = method.distill(task, free_meter())
    images, _ = tiny_task().real_init()
    expert = Expert(1, epochs=1, epoch_batches=2, batch=16, lr=1e-3, augment=True)
    (trajectory,) = expert_trajectories(tiny_task(), free_meter(), expert)
    torch.nn.utils.vector_to_parameters(trajectory[-1], task.network.parameters())
    assert torch.equal(artifact.parts["images"], images)
    assert torch.allclose(artifact.parts["labels"], task.network(images).softmax(1), atol=1e-6)
    assert (artifact.label_kind, artifact.label_source) == ("probabilities", "static")


def test_one_cluster_in_pixels_is_the_class_mean() -> None:
    task = tiny_task(ipc=1)
    artifact = KMeansCentroids(space="pixels").distill(task, free_meter())
    means = torch.stack([task.real.take(task.real.class_indices(c))[0].mean(0) for c in range(3)])
    assert torch.allclose(artifact.parts["images"], means, atol=1e-6)
    assert artifact.parts["labels"].tolist() == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning")
def test_more_clusters_than_different_images_are_filled_with_images() -> None:
    data = tiny_dataset()
    first = torch.cat([torch.nonzero(data.train_labels == c)[0] for c in range(3)])
    same = dataclasses.replace(data, train_images=data.train_images[first][data.train_labels], given_digest=None)
    images = KMeansCentroids(space="pixels").distill(tiny_task(ipc=3, data=same), free_meter()).parts["images"]
    assert torch.allclose(images[0::3], images[1::3])
    assert torch.allclose(images[0::3], images[2::3])
    assert len({image.numpy().tobytes() for image in images[0::3]}) == 3


def test_class_means_are_of_disjoint_parts_that_make_up_the_class() -> None:
    task = tiny_task(ipc=3)
    images = ClassMean().distill(task, free_meter()).parts["images"].unflatten(0, (3, 3))
    sizes = torch.tensor([7.0, 7.0, 6.0])[:, None, None, None]  # of 20 images
    for c in range(3):
        whole = task.real.take(task.real.class_indices(c))[0]
        assert torch.allclose((images[c] * sizes).sum(0) / 20, whole.mean(0), atol=1e-5)
        assert not torch.allclose(images[c, 0], images[c, 1])


def test_the_best_of_random_sets_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    script = iter([0.3, 0.9, 0.5])

    def measured(self: Trainer, network: Trained, *_: Any) -> Trained:
        return dataclasses.replace(network, accuracy=torch.tensor(next(script)))

    monkeypatch.setattr(Trainer, "measured", measured)
    kept = BestRandomReal(sets=3, networks=1, epochs=1).distill(tiny_task(), free_meter()).parts["images"]
    twin = tiny_task()
    drawn = [twin.real_init()[0] for _ in range(3)]
    assert torch.equal(kept, drawn[1])


@pytest.mark.parametrize(("method", "choose"), [(Herding, herd), (KCenter, centers)])
@pytest.mark.parametrize("space", ["pixels", "random"])
def test_a_coreset_is_chosen_within_each_class(
    method: Any, choose: Callable[[torch.Tensor, int], torch.Tensor], space: str
) -> None:
    task = tiny_task()
    artifact = method(space=space).distill(task, free_meter())
    weights = tiny_task().initial(tiny_task().generator("features"))
    expected = []
    for c in range(3):
        images, _ = task.real.take(task.real.class_indices(c))
        features = images.flatten(1) if space == "pixels" else task.embed(weights, images)
        expected.append(images[choose(features, 2)])
    assert torch.equal(artifact.parts["images"], torch.cat(expected))
    assert artifact.parts["labels"].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["herding", "k_center", "k_means"])
def test_feature_training_is_metered_and_only_that(name: str) -> None:
    meter = free_meter()
    make_method(METHODS.get(name), METHODS.get(name).tiny).distill(tiny_task(), meter)
    assert meter.done == {"feature network": 5}
    other = free_meter()
    make_method(METHODS.get(name), {"space": "random"}).distill(tiny_task(), other)
    assert other.done == {}


@every_method
def test_the_fixed_setting_stores_its_initial_weights(name: str) -> None:
    cls = METHODS.get(name)
    for setting in cls.settings:
        task = tiny_training(modalities_of(cls)[0], setting, Generators("contract")).task
        initial = make_method(cls, cls.tiny).distill(task, free_meter()).initial
        if setting != "fixed":
            assert initial is None
        else:
            assert initial is not None
            assert all(torch.equal(initial[key], weight) for key, weight in task.initial().items())


# -- gradient matching ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ipc", "loops"),
    [(1, (1, 1)), (10, (10, 50)), (20, (20, 25)), (30, (30, 20)), (40, (40, 15)), (50, (50, 10)), (100, (100, 2))],
)
def test_gradient_matching_takes_the_published_loops(ipc: int, loops: tuple[int, int]) -> None:
    assert GradientMatching().loops(ipc) == loops


@pytest.mark.parametrize(
    ("settings", "ipc", "loops"),
    [
        ({"matchings": 3}, 10, (3, 50)),
        ({"epochs": 0}, 10, (10, 0)),
        ({"matchings": 3, "epochs": 2}, 7, (3, 2)),
    ],
)
def test_gradient_matching_takes_given_loops_first(settings: dict[str, Any], ipc: int, loops: tuple[int, int]) -> None:
    assert GradientMatching(**settings).loops(ipc) == loops


@pytest.mark.parametrize("settings", [{}, {"matchings": 3}, {"epochs": 2}])
def test_gradient_matching_refuses_an_ipc_without_published_loops(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"no published loops for ipc 7; set matchings and epochs, or use .* 1, 10, 20"):
        GradientMatching(**settings).check_ipc(7)


def test_contrastive_gradient_matching_has_loops_of_its_own_at_one_image() -> None:
    assert ContrastiveGradientMatching().loops(1) == (10, 5)
    assert ContrastiveGradientMatching(matchings=2, epochs=0).loops(1) == (2, 0)
    assert ContrastiveGradientMatching().loops(10) == (10, 50)


def test_the_turns_of_networks_by_hand() -> None:
    first, second = ([(network, m, t) for m, t in TURNS] for network in (0, 1))
    assert [Turns(3, trainings=2).at(step) for step in range(14)] == first + second
    assert Turns(3, trainings=2).per_network == 7
    assert [Turns(1, trainings=5).at(step) for step in range(3)] == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]


TURNS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
"""matching and training, of three matchings with two trainings in between"""


@pytest.mark.parametrize(
    ("method", "training", "turns"),
    [
        (GradientMatching(iterations=2, matchings=3, epochs=2), OnSynthetic, "m t t m t t m"),
        (ContrastiveGradientMatching(iterations=2, matchings=3, epochs=2), OnSynthetic, "m t t m t t m"),
        (EfficientParameterization(iterations=2, matchings=3), OnReal, "m t m t m"),
    ],
)
def test_gradients_are_matched_and_networks_trained_in_turns(
    monkeypatch: pytest.MonkeyPatch, method: Any, training: type, turns: str
) -> None:
    taken = []
    starts = []

    def compare(self: GradientDistance, weights: Any, real: Any, synthetic: Any) -> tuple[torch.Tensor, torch.Tensor]:
        taken.append("m")
        starts.append(weights["classifier.bias"].clone())
        return torch.zeros_like(synthetic[0]), torch.zeros(())

    def train(self: Any, network: Trained, *_: Any) -> Trained:
        taken.append("t")
        return network

    monkeypatch.setattr(GradientDistance, "by_class", compare)
    monkeypatch.setattr(training, "__call__", train)
    meter = free_meter()
    method.distill(tiny_task(), meter)
    # after the last matching a network is thrown away untrained
    assert " ".join(taken) == f"{turns} {turns}"
    assert meter.planned == meter.done == {"distil": len(taken)}
    assert torch.equal(starts[0], starts[2])
    assert not torch.equal(starts[2], starts[3])  # a fresh network


# -- the other families -----------------------------------------------------------------------------------------------


def test_backprop_walks_batches_with_every_class_in_each() -> None:
    method = Backprop(iterations=1, images_per_step=2, epochs=1, batch_real=8)
    order = method.distill(tiny_task(ipc=4), free_meter()).recipe.order
    assert order is not None
    assert order.tolist() == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]


def test_backprop_refuses_images_per_step_that_do_not_divide() -> None:
    with pytest.raises(UserError, match="images_per_step 3 of backprop does not divide ipc 4; choose a divisor"):
        Backprop(images_per_step=3).check_ipc(4)


def test_backprop_stores_one_step_size_a_step() -> None:
    task = tiny_task(ipc=2)
    recipe = Backprop(iterations=1, epochs=3, batch_real=8, lr_images=1e-6).distill(task, free_meter()).recipe
    assert recipe.lr is not None
    assert recipe.order is not None
    assert recipe.epochs == 3
    assert recipe.order.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert torch.allclose(recipe.lr, torch.full((6,), 0.02), atol=1e-5)  # lr_initial, which softplus gives back


def taking(*settings: str) -> list[str]:
    """The shipped methods that have these hyper-parameters."""
    return [
        name for name in SHIPPED if set(settings) <= {field.name for field in dataclasses.fields(METHODS.get(name))}
    ]


@pytest.mark.parametrize("name", taking("expert_epochs", "match_epochs", "max_start"))
def test_trajectory_matching_refuses_segments_that_outlast_the_experts(name: str) -> None:
    segments = {**METHODS.get(name).tiny, "max_start": 4, "match_epochs": 2}
    make_method(METHODS.get(name), {**segments, "expert_epochs": 5})
    with pytest.raises(UserError, match=rf"max_start 4 and match_epochs 2 of {name} need expert_epochs of 5, got 4"):
        make_method(METHODS.get(name), {**segments, "expert_epochs": 4})


@pytest.mark.parametrize("name", taking("match_epochs", "lr_lr"))
def test_trajectory_matching_keeps_its_step_size_positive(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cls, step_sizes = METHODS.get(name), []

    def learned(task: Task, value: float) -> torch.Tensor:
        step_sizes.append(learned_step_size(task, value))
        return step_sizes[0]

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return step_sizes[0] * 1.0 if a.requires_grad else torch.ones(())

    monkeypatch.setattr(f"{cls.__module__}.learned_step_size", learned)
    monkeypatch.setattr(f"{cls.__module__}.squared_distance", distance)
    settings = {**cls.tiny, "lr_lr": 1.0, "iterations": 1}  # one step of SGD leads to 0.01 - 1
    recipe = make_method(cls, settings).distill(tiny_task(), free_meter()).recipe
    assert recipe.lr is not None
    assert float(recipe.lr) == pytest.approx(1e-4)


def test_soft_labels_are_for_stored_images_alone() -> None:
    with pytest.raises(UserError, match="soft_labels of scalable_trajectory_matching are one for each stored image"):
        ScalableTrajectoryMatching(soft_labels=True, decoder="multi_formation")


def test_difficulty_aligned_matching_refuses_what_it_would_not_follow() -> None:
    with pytest.raises(UserError, match="decoder 'canvas' and init 'real' must stay pixels and real"):
        DifficultyAlignedMatching(decoder="canvas")
    with pytest.raises(UserError, match=r"min_start 10, current_start 10 and max_start 20 .* must ascend"):
        DifficultyAlignedMatching(min_start=10)
