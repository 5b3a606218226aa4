"""Given networks: trained once, resized to, drawn from, scored with, and led astray."""

from __future__ import annotations

import inspect
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.board import make_board
from ddbench.boards.jobs import resolve
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data import Dataset, Preprocessing, RealData, cache_folder, load_dataset, make_dataset, resized
from ddbench.data.npz import save_npz
from ddbench.errors import UserError
from ddbench.evaluation.score_file import score
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.io.atomic import canonical_json
from ddbench.meter.meter import Meter
from ddbench.networks import InitialWeights, build_network
from ddbench.networks.flatten import flatten
from ddbench.records.cell import Attack, Budget, NetworkSpec, Pool
from ddbench.records.schema import Record
from ddbench.registry import CONTROL, METHODS, discover
from ddbench.submissions import verify as verification
from ddbench.submissions.verify import verify
from ddbench.task import pretrained as pools
from ddbench.task.hyperparameters import make_method
from ddbench.task.pretrained import PretrainedPool, load_pool
from ddbench.task.settings import Setting
from ddbench.task.task import Task
from ddbench.testing import tiny_dataset, tiny_task
from factories import run
from tasks import methods_of, setting_of

discover()
CPU = torch.device("cpu")
NETWORK = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8})
CONTROLS = [name for name in methods_of() if METHODS.get(name).family == CONTROL]
ATTACKED = [name for name in CONTROLS if "attack" in METHODS.get(name).settings]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two data sets by name, and a cache of one's own: bars, and the same bars larger and in colour."""
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    save_npz(tmp_path / "bars.npz", tiny_dataset())
    save_npz(tmp_path / "bright.npz", resized(tiny_dataset(), (3, 16, 16)))
    return tmp_path


def pool(dataset: str = "bright", **changes: Any) -> Pool:
    values = {"train": 2, "held_out": 2, "steps": 30, "batch": 20, "lr": 0.01, **changes}
    return Pool(dataset=dataset, dataset_digest=load_dataset(dataset).digest, **values)


def make(named: Pool) -> PretrainedPool:
    return load_pool(named, NETWORK, load_dataset("bars"), CPU)


# -- resizing ---------------------------------------------------------------------------------------------------------


def pixels(*rows: list[int]) -> Dataset:
    images = np.array([rows, rows], np.uint8)
    return make_dataset("p", images, np.array([0, 1]), images[:1], np.array([0]))


def test_images_become_smaller_by_averages_and_colours_grey() -> None:
    small = resized(pixels([0, 100], [60, 41]), (1, 1, 1))
    assert small.train_images.flatten().tolist() == [50, 50]  # 201 / 4 = 50.25
    colours = np.zeros((2, 1, 1, 3), np.uint8)
    colours[:, 0, 0] = [30, 60, 91]
    data = make_dataset("c", colours, np.array([0, 1]), colours[:1], np.array([0]))
    assert resized(data, (1, 1, 1)).train_images.flatten().tolist() == [60, 60]
    grey = resized(pixels([7, 9], [1, 2]), (3, 2, 2))
    assert grey.train_images[0].tolist() == [[[7, 9], [1, 2]]] * 3


def test_a_resized_data_set_says_so_and_the_same_size_changes_nothing() -> None:
    data = pixels([0, 100], [60, 41])
    assert resized(data, (1, 2, 2)) is data
    assert resized(data, (1, 4, 4)).digest == f"{data.digest}+resized(1x4x4)"


def test_a_margin_is_put_around_before_images_are_resized() -> None:
    framed = resized(pixels([0, 100], [60, 41]), (1, 4, 4), margin=1)
    assert framed.train_images[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 100, 0], [0, 60, 41, 0], [0, 0, 0, 0]]
    assert framed.digest == f"{pixels([0, 100], [60, 41]).digest}+resized(1x4x4, margin 1)"


# -- the pool ---------------------------------------------------------------------------------------------------------


def test_a_pool_is_trained_once_and_knows_its_task() -> None:
    first = make(pool())
    again = load_pool(pool(), NETWORK, load_dataset("bars"), CPU, lambda *_: pytest.fail("trained again"))
    assert torch.equal(first.training, again.training)
    assert torch.equal(first.held_out, again.held_out)
    assert first.training.shape == first.held_out.shape == (2, flatten(tiny_task().initial()).numel())
    data = load_dataset("bars")
    setting = setting_of(NETWORK, data, "pretrained", first)
    judge = ImageEvaluator(data, transform(data), protocol(), NETWORK, CPU, setting)
    for seed in range(2):
        assert torch.equal(flatten(judge.start(anything(), seed) or {}), first.held_out[seed])
        assert judge.score(anything(), seed=seed).metrics["before"] > 0.8
    members = [tuple(member.tolist()) for member in (*first.training, *first.held_out)]
    assert len(set(members)) == 4
    with pytest.raises(IndexError):  # what a method gets holds none of those to score with
        tiny_task(setting="pretrained").setting.start(0, None)


def test_a_pool_is_named_by_the_files_that_decide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convnet, mlp = (type(build_network(name, (1, 8, 8), 3, {"depth": 1})) for name in ("convnet", "mlp"))
    found, other = inspect.getfile, tmp_path / "other.py"
    other.write_text("# another\n")

    def networks_after_a_change(of: object = None) -> int:
        """How many have been trained once a pool was asked for, with another file in place of a part's own."""
        with monkeypatch.context() as patch:
            patch.setattr(inspect, "getfile", lambda part: str(other) if part is of else found(part))
            make(pool(train=1, held_out=1))
        return len(list((cache_folder() / "pools").iterdir()))

    assert [networks_after_a_change(of) for of in (None, resized, convnet, mlp)] == [2, 4, 6, 6]


def test_a_network_of_a_pool_is_textbook_adam() -> None:
    (vector,) = make(pool("bars", train=1, held_out=1, steps=6)).training
    data = load_dataset("bars")
    key = {
        "steps": 6, "batch": 20, "lr": 0.01, "network": str(NETWORK), "data": data.digest, "shape": [1, 8, 8],
        "number": 0,
    }  # fmt: skip
    seed = canonical_json(key).decode()
    network = build_network("convnet", (1, 8, 8), 3, NETWORK.parameters)
    network.load_state_dict(InitialWeights(network)(seeded(derive_seed("pool", seed))))
    real, batches = RealData(data, transform(data), CPU), seeded(derive_seed("pool/batches", seed))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(6):
        optimizer.param_groups[0]["lr"] = 0.01 if step < 3 else 0.001
        images, labels = real.batch(20, batches)
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    expected = flatten({name: weight.detach() for name, weight in network.named_parameters()})
    assert torch.allclose(vector, expected, atol=1e-6)


def test_a_pool_on_a_split_never_sees_what_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = pools.RealData

    def watched(data: Dataset, *rest: Any) -> RealData:
        seen.append(len(data.train_labels))
        return real(data, *rest)

    monkeypatch.setattr(pools, "RealData", watched)
    load_pool(pool("bars", train=1, held_out=1), NETWORK, load_dataset("bars").validation(0.25), CPU)
    assert seen == [45]  # of 60


def test_a_pool_that_does_not_learn_is_refused_and_not_kept() -> None:
    with pytest.raises(UserError, match=r"a network of the pool does not learn .*; lower lr 1e"):
        make(pool(lr=1e30))
    assert not list((cache_folder() / "pools").glob("*"))


def transform(data: Dataset) -> Any:
    return Preprocessing.for_dataset(data).fit(data)


def protocol() -> Any:
    from ddbench.evaluation.protocols import Protocol

    return Protocol("still@1", "test", steps=1, lr=0.0, weight_decay=0.0)


def anything() -> DistilledDataset:
    return DistilledDataset.pixels(*tiny_task().real_init())


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_every_setting_of_a_pool_makes_another() -> None:
    base = make(pool()).training[0]
    assert not torch.equal(base, make(pool(steps=29)).training[0])
    assert not torch.equal(base, make(pool("bars")).training[0])
    assert not torch.equal(base, make(pool(margin=2)).training[0])


def test_only_a_margin_that_is_there_is_written_down() -> None:
    assert "margin" not in pool().model_dump()
    assert pool(margin=2).model_dump()["margin"] == 2
    assert Pool.model_validate(pool().model_dump(mode="json")) == pool()


def test_networks_are_drawn_from_those_to_learn_with_and_copied() -> None:
    found, task = make(pool()), tiny_task(setting="pretrained")
    setting = setting_of(NETWORK, load_dataset("bars"), "pretrained", found)
    assert drawn(setting) == {tuple(member.tolist()) for member in found.training}
    before = drawn(task)
    assert len(before) == 2
    task.initial()["classifier.bias"].zero_()
    assert drawn(task) == before


def drawn(source: Task | Setting) -> set[tuple[float, ...]]:
    """Draw the starts of twenty networks."""
    return {tuple(flatten(source.initial()).tolist()) for _ in range(20)}


def test_an_attack_changes_what_is_wanted_of_one_class() -> None:
    labels = torch.tensor([0, 1, 2, 0])
    assert tiny_task(setting="attack").target_labels(labels).tolist() == [1, 1, 2, 1]
    assert tiny_task(setting="pretrained").target_labels(labels).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("name", ATTACKED)
def test_controls_store_the_attacked_class_as_the_one_it_is_to_be_taken_for(name: str) -> None:
    cls = METHODS.get(name)
    attacked, plain = (
        make_method(cls, cls.tiny).distill(tiny_task(setting=setting), Meter(Budget())).parts["labels"].tolist()
        for setting in ("attack", "random")
    )
    assert (plain, attacked) == ([0, 0, 1, 1, 2, 2], [1, 1, 1, 1, 2, 2])


def test_a_pool_of_other_classes_or_other_data_is_refused(folders: Path) -> None:
    two = make_dataset(
        "two", np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1]), np.zeros((2, 8, 8), np.uint8), np.array([0, 1])
    )
    save_npz(folders / "two.npz", two)
    with pytest.raises(UserError, match="pool data set 'two' has 2 classes and 'bars' has 3; choose one with as many"):
        make(pool("two"))
    with pytest.raises(UserError, match="the pool was trained on another 'bars' "):
        make(pool("bars").model_copy(update={"dataset_digest": "sha256:0"}))


# -- runs -------------------------------------------------------------------------------------------------------------


def board(**changes: Any) -> Any:
    content = {
        "board": "b", "datasets": ["bars"], "ipc": 2, "network": "convnet,depth=1,width=8", "networks": 2,
        "protocol": "own-recipe@1", "setting": "pretrained",
        "entries": [{
            "methods": ["backprop"], "set": {"iterations": 40, "batch_real": 60, "epochs": 1, "init": "real"},
            "pool": {"dataset": "bright", "train": 2, "held_out": 2, "steps": 30, "batch": 20, "lr": 0.01},
        }],
    }  # fmt: skip
    entry = content["entries"][0] | changes.pop("entry", {})  # type: ignore[index]
    entry = {name: value for name, value in entry.items() if value is not None}
    return make_board({**content, "entries": [entry], **changes})


def carried_out(folder: Path, **changes: Any) -> Record:
    (job,) = resolve(board(**changes), "cpu")
    return run(job, folder / "run", folder / "cache", CPU, lambda stage, share: None)


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_an_adaptation_is_scored_on_held_out_networks_also_from_its_file(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = carried_out(folders)
    assert record.result.status == "ok"
    assert record.result.cell.pool == pool()
    held_out = [found.metrics["before"] for found in record.result.scores]
    assert all(0.5 < before <= 1 for before in held_out)
    file = folders / "run" / "artifact.safetensors"
    shutil.rmtree(cache_folder())
    told = list[tuple[str, float]]()
    assert score(file, report=lambda stage, share: told.append((stage, share))) == record.result.scores
    assert len(list((cache_folder() / "pools").iterdir())) == 2, "those to learn with are not trained"
    assert [stage for stage, _ in itertools.groupby(told, lambda one: one[0])] == ["pool", "evaluate"]
    for stage in ("pool", "evaluate"):
        shares = [share for name, share in told if name == stage]
        assert shares == sorted(set(shares))
        assert (shares[0], shares[len(shares) // 2]) == (0, 0.5)
    with pytest.raises(UserError, match=r"the artefact is for pretrained networks .*; leave out --network"):
        score(file, networks=["mlp"], count=2)
    with pytest.raises(UserError, match="2 networks were held out to score with, 5 are asked for; ask for fewer"):
        score(file, count=5)
    monkeypatch.setattr(PretrainedPool, "digest", "sha256:0")
    with pytest.warns(RuntimeWarning, match="the held-out networks, trained again"):
        score(file, count=1)


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_where_a_pool_is_trained_otherwise_its_networks_are_compared_by_their_spread(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out(folders, networks=2)
    record = folders / "run" / "record.json"
    assert {one.seeds for one in verify(record).comparisons} == {"equal"}
    monkeypatch.setattr(PretrainedPool, "digest", "sha256:0")
    with pytest.raises(UserError, match="given networks, trained again on this machine, are not to the bit those"):
        verify(record)
    monkeypatch.setattr(verification, "LEAST_FURTHER", 2)
    found = verify(record)
    assert found.accepted
    assert [(one.quantity, one.seeds) for one in found.comparisons] == [("accuracy", "other"), ("before", "other")]


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_an_attack_says_how_often_it_succeeds(folders: Path) -> None:
    changes = {
        "attack": {"source": 0, "target": 2},
        "set": {"iterations": 60, "batch_real": 60, "epochs": 3, "init": "real", "lr_initial": 0.5, "lr_images": 0.1},
        "pool": {**board().entries[0].pool.model_dump(), "dataset": "bars"},
    }
    record = carried_out(folders, setting="attack", entry=changes)
    assert record.result.status == "ok"
    found = record.result.scores[0]
    assert set(found.metrics) == {"before", "success"}
    shutil.rmtree(cache_folder())  # the file alone must do
    assert found.metrics["before"] > 0.8
    assert found.metrics["success"] > 0.5
    assert score(folders / "run" / "artifact.safetensors") == record.result.scores

    file = folders / "of-no-class.safetensors"
    artifact = DistilledDataset.load(folders / "run" / "artifact.safetensors")
    artifact.with_provenance({**artifact.provenance, "attack": {"source": 9, "target": 2}}).save(file)
    with pytest.raises(UserError, match=r"attack names class 9; classes are 0\.\.2"):
        score(file)


def test_success_is_counted_over_the_attacked_class_alone() -> None:
    data = load_dataset("bars")
    setting, labels = setting_of(NETWORK, data, "attack", make(pool()), Attack(source=0, target=1)), data.test_labels
    answers = torch.where(labels == 0, torch.ones_like(labels), torch.zeros_like(labels))
    answers[int((labels == 0).nonzero()[0])] = 2
    success = setting.metrics(None, answers, labels)["success"]
    assert success == pytest.approx(1 - 1 / int((labels == 0).sum()))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"entry": {"pool": None}}, "setting 'pretrained' needs 'pool'; add it to the entry of a board"),
        ({"setting": "random"}, "setting 'random' has no use for 'pool'; leave it out"),
        ({"setting": "attack"}, "setting 'attack' needs 'attack'; add it to the entry of a board"),
        ({"networks": 3}, "pool holds out 2 networks to score with and 3 are asked for; raise held_out"),
        (
            {"setting": "attack", "entry": {"attack": {"source": 0, "target": 3}}},
            "attack names class 3; classes are 0..2",
        ),
        (
            {"setting": "attack", "entry": {"attack": {"source": 1, "target": 1}}},
            "attack maps class 1 to itself; choose another target",
        ),
        (
            {"entry": {"pool": {"dataset": "digits"}}, "networks": 2},
            "pool data set 'digits' has 10 classes and 'bars' has 3; choose one with as many",
        ),
        (
            {"preprocessing": "zca"},
            "networks of a pool are trained on normalised images and preprocessing is 'zca'; choose normalize or stand",
        ),
        (
            {"preprocessing": "regularized_zca"},
            "networks of a pool are trained on normalised images and preprocessing is 'regularized_zca'; choose norm",
        ),
        (
            {"network": "convnet,depth=1,width=8,norm=running_batch"},
            "networks of a pool keep no running statistics and network has norm='running_batch'; choose norm=batch",
        ),
        (
            {"entry": {"methods": ["dm"], "set": None}},
            "distribution_matching does not work in the 'pretrained' setting",
        ),
    ],
)
def test_a_setting_gets_what_it_needs_and_nothing_else(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve(board(**changes), "cpu")
