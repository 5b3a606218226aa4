"""A board resolved into runs: what decides each one, and the key that names it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from ddbench.boards.board import load_board, make_board
from ddbench.boards.jobs import Job, Selection, resolve
from ddbench.compute.device import resolve_device
from ddbench.data import load_dataset, load_split
from ddbench.errors import UserError
from ddbench.meter.snapshots import SNAPSHOTS
from ddbench.networks.base import parameter_count
from ddbench.networks.build import build_network, stated
from ddbench.records.cell import NetworkSpec
from ddbench.records.source_digest import file_source_digest, source_digest
from ddbench.registry import discover, find_method
from factories import write_method


def resolved(**values: Any) -> list[Job]:
    """Runs of a board of one entry; `entry` adds to it."""
    discover()
    entry = {"methods": ["random_real"], **values.pop("entry", {})}
    content = {"board": "b", "datasets": "digits", "ipc": 1, "network": "convnet,depth=1,width=8", "entries": [entry]}
    return resolve(make_board({**content, **values}), "cpu")


def test_a_cell_says_everything_that_decides_a_result() -> None:
    (job,) = resolved(
        protocol="quick-300@1",
        budget="2m",
        steps=50,
        peak_bytes="1GB",
        threads=2,
        curve_seeds=0,
        checkpoint_seconds=3,
        entry={"methods": ["dm"], "set": {"iterations": 7, "lr_images": 2}},
    )
    cell = job.cell
    assert (cell.method, job.method) == ("distribution_matching", "dm")
    assert cell.hyperparameters == {
        "iterations": 7, "lr_images": 2.0, "batch_real": 256, "augment": True, "decoder": "pixels", "init": "real",
    }  # fmt: skip
    assert (cell.dataset, cell.dataset_digest) == ("digits", load_dataset("digits").digest)
    assert str(cell.network) == "convnet(depth=1, width=8)"
    assert (cell.setting, cell.preprocessing, cell.ipc, cell.split) == ("random", "normalize", 1, "test")
    assert (cell.protocol, cell.networks) == ("quick-300@1", 5)  # the protocol's number
    assert (cell.budget.seconds, cell.budget.steps, cell.budget.peak_bytes) == (120.0, 50, 10**9)
    assert (cell.device, cell.threads) == ("cpu", 2)
    assert (job.board, job.seed, job.snapshots, job.checkpoint_seconds) == ("b", 0, (0.0,), 3.0)
    assert (cell.modality, job.modality.name) == ("images", "images")
    assert job.make_method() == find_method("distribution_matching")(iterations=7, lr_images=2.0)
    assert job.protocol().name == "quick-300@1"


def test_seeds_are_innermost() -> None:
    jobs = resolved(ipc=[1, 2], seeds=2, entry={"methods": ["random_real", "herding"]})
    assert [(job.cell.method, job.cell.ipc, job.seed) for job in jobs] == [
        (method, ipc, seed) for method in ("random_real", "herding") for ipc in (1, 2) for seed in (0, 1)
    ]


def test_a_board_may_begin_with_one_seed_of_every_cell() -> None:
    jobs = resolved(ipc=[1, 2], seeds=3, order="seeds", entry={"methods": ["random_real", "herding"], "seeds": 2})
    assert [(job.seed, job.cell.method, job.cell.ipc) for job in jobs] == [
        (seed, method, ipc) for seed in (0, 1) for method in ("random_real", "herding") for ipc in (1, 2)
    ]
    assert {job.key for job in jobs} == {
        job.key for job in resolved(ipc=[1, 2], seeds=2, entry={"methods": ["random_real", "herding"]})
    }  # no part of what decides a result


def test_the_depth_of_convnet_is_stated_for_larger_images_than_32() -> None:
    ways = [{"network": "convnet,width=4"}, {"network": "mlp"}, {"network": "convnet,depth=2,width=4"}]
    for side, expected in ((32, {}), (64, {"depth": 4}), (128, {"depth": 5})):
        (job,) = resolved(datasets=f"digits[size={side}]", network="convnet,width=8", entry={"also": ways})
        assert job.cell.network.parameters == {"width": 8, **expected}
        assert [way.network.parameters for way in job.cell.also or []] == [
            {"width": 4, **expected}, {}, {"depth": 2, "width": 4},
        ]  # fmt: skip
    network = build_network("convnet", (3, 64, 64), 200, stated(NetworkSpec(name="convnet"), (3, 64, 64)).parameters)
    # 3, then three times 128 channels into 128; scale and shift of each; 4 x 4 maps of 128 into 200 classes
    assert parameter_count(network) == 9 * 128 * (3 + 3 * 128) + 4 * 3 * 128 + 200 * (4 * 4 * 128 + 1)
    assert parameter_count(build_network("convnet", (3, 64, 64), 200, {})) == (
        9 * 128 * (3 + 2 * 128) + 3 * 3 * 128 + 200 * (8 * 8 * 128 + 1)
    )  # as before, for artefacts that name no depth


def test_some_seeds_have_curves() -> None:
    assert [job.snapshots for job in resolved(seeds=3)] == [SNAPSHOTS] * 3
    assert [job.snapshots for job in resolved(seeds=3, curve_seeds=2)] == [SNAPSHOTS, SNAPSHOTS, (0.0,)]
    assert [job.curve for job in resolved(seeds=3, curve_seeds=2)] == [True, True, False]


def test_an_entry_says_when_its_snapshots_are_taken() -> None:
    (one, other) = resolved(snapshots=[0.5], entry={"snapshots": [0, 0.9]}), resolved(snapshots=[0.5])
    assert [job.snapshots for job in (*one, *other)] == [(0.0, 0.9), (0.5,)]
    assert one[0].key == other[0].key  # no part of what decides a result


def test_networks_come_from_the_entry_the_board_or_the_protocol() -> None:
    assert [job.cell.networks for job in resolved(networks=2)] == [2]
    assert [job.cell.networks for job in resolved(networks=2, entry={"networks": 3})] == [3]


def test_keys_are_stable() -> None:
    (one,), (other,) = resolved(entry={"set": {}}), resolved(entry={"methods": ["random"]})
    assert one.key == other.key
    assert len(one.key) == 16
    assert int(one.key, 16) >= 0
    assert one.folder == f"random_real/digits-ipc1-seed0-{one.key}"
    # neither the board's name nor how often a checkpoint is written decides a result
    (elsewhere,) = resolved(board="c", title="T", checkpoint_seconds=1, curve_seeds=0)
    assert elsewhere.key == one.key


def test_every_part_of_a_cell_changes_the_key() -> None:
    jobs = [
        *resolved(seeds=2),
        *resolved(ipc=2),
        *resolved(network="convnet,depth=1,width=9"),
        *resolved(setting="fixed"),
        *resolved(preprocessing="zca"),
        *resolved(protocol="quick-300@1"),
        *resolved(networks=3),
        *resolved(budget="1s"),
        *resolved(steps=1),
        *resolved(peak_bytes="1GB"),
        *resolved(threads=2),
        *resolved(validation=0.1),
        *resolved(peek=0.1),
        *resolved(also=[{"network": "mlp"}]),
        *resolved(also=[{"network": "mlp", "networks": 1}]),
        *resolved(entry={"methods": ["dm"]}),
        *resolved(entry={"methods": ["dm"], "set": {"iterations": 7}}),
    ]
    assert len({job.key for job in jobs}) == len(jobs)
    assert len({job.folder for job in jobs}) == len(jobs)


def test_another_source_gives_another_key(tmp_path: Path, methods: Any) -> None:
    path = Path(write_method(tmp_path, "mine"))
    text = path.read_text()
    board = make_board(
        {"board": "b", "datasets": "digits", "ipc": 1, "network": "mlp", "entries": [{"methods": str(path)}]}
    )
    (one,) = resolve(board, "cpu")
    assert (one.cell.method, one.method) == ("mine", str(path))
    assert one.method_source == file_source_digest(path) == source_digest(find_method(str(path)))
    path.write_text(text + "# a comment\n")
    assert [job.key for job in resolve(board, "cpu")] == [one.key]
    path.write_text(text + "CHANGED = 1\n")
    (other,) = resolve(board, "cpu")
    assert other.cell == one.cell
    assert other.key != one.key
    assert dataclasses.replace(other, method_source=one.method_source).key == one.key


def test_a_validation_split_is_scored_on_training_images() -> None:
    (job,) = resolved(validation=0.25)
    whole, part = load_dataset("digits"), load_split(job.dataset, job.cell.split)
    assert job.cell.split == "validation(0.25)"
    assert job.cell.dataset == "digits"
    assert job.cell.dataset_digest == part.digest != whole.digest
    assert len(part.train_labels) + len(part.test_labels) == len(whole.train_labels)
    test_images = {image.numpy().tobytes() for image in whole.test_images}
    train_images = {image.numpy().tobytes() for image in whole.train_images}
    assert {image.numpy().tobytes() for image in part.test_images} <= train_images | test_images
    (plain,) = resolved()
    assert plain.cell.split == "test"
    assert torch.equal(load_split(plain.dataset, plain.cell.split).test_images, whole.test_images)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ipc": 1000}, r"ipc 1000 is larger than the smallest class of digits \(\d+ images\); lower it"),
        ({"setting": "fixed", "entry": {"methods": ["dm"]}}, "distribution_matching does not work in the 'fixed' set"),
        ({"entry": {"methods": ["randm_real"]}}, "unknown method 'randm_real'; did you mean 'random_real'"),
        ({"entry": {"methods": ["./none.py"]}}, "no method file at "),
        ({"datasets": "digts"}, "unknown dataset 'digts'; did you mean 'digits'"),
        ({"network": "convent"}, "unknown network 'convent'; did you mean 'convnet'"),
        ({"network": "convnet,widht=3"}, "network 'convnet' has no parameter 'widht'; did you mean 'width'"),
        ({"network": "convnet,depth=9"}, "convnet of depth 9 halves the side"),
        ({"protocol": "quick-300"}, "unknown protocol 'quick-300'; did you mean 'quick-300@1'"),
        ({"entry": {"methods": ["dm"], "set": {"iteratons": 3}}}, "unknown hyper-parameter 'iteratons'"),
        ({"entry": {"methods": ["dm"], "set": {"iterations": "3"}}}, "iterations='3' of distribution_matching"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolved(**values)


@pytest.mark.parametrize(
    ("decoder", "sentence"),
    [
        ("canvas", "a canvas of factor 2 takes the storage of 4 images and ipc is 1; choose a smaller factor"),
        (
            "multi_formation,factor=3",
            "factor 3 of multi_formation does not divide images of 8x8; choose one of 1, 2, 4, 8",
        ),
        ("canvass", "unknown decoder 'canvass'; did you mean 'canvas'"),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused_before_anything_runs(decoder: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolved(entry={"methods": ["dm"], "set": {"decoder": decoder}})


def test_the_largest_ipc_is_the_smallest_class() -> None:
    smallest = int(load_dataset("digits").counts.min())
    assert resolved(ipc=smallest)
    with pytest.raises(UserError, match=f"ipc {smallest + 1} is larger"):
        resolved(ipc=smallest + 1)


def test_a_complaint_about_a_file_names_the_entry(tmp_path: Path) -> None:
    discover()
    path = tmp_path / "b.yaml"
    path.write_text("board: b\ndatasets: digits\nipc: 1\nentries: [{methods: random_real}, {methods: hrding}]\n")
    with pytest.raises(UserError, match=r"b.yaml: entries.1: unknown method 'hrding'; did you mean 'herding'"):
        resolve(load_board(path), "cpu")


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tpu9000", "unknown device 'tpu9000'; use auto, cpu, cuda, cuda:N or mps"),
        ("", "unknown device ''; use auto"),
        ("meta", "device 'meta' is not supported; use auto, cpu, cuda, cuda:N or mps"),
        ("mps", "device 'mps' asked for"),
        ("cuda:77", r"device 'cuda:77' asked for, but torch sees \d+ GPUs; use --device cpu"),
    ],
)
def test_devices_that_are_not_there(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve_device(name)


def test_a_gpu_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="device 'cuda' asked for, but torch sees 0 GPUs; use --device cpu"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), [("distribution_matching", 1), ("distribution_matching", 2), ("herding", 1), ("herding", 2)]),
        (Selection(methods=("herding",)), [("herding", 1), ("herding", 2)]),
        (Selection(methods=("dm",), ipc=(2,)), [("distribution_matching", 2)]),
        (Selection(datasets=("digits",), ipc=(1,)), [("distribution_matching", 1), ("herding", 1)]),
    ],
)
def test_a_selection_takes_a_part_of_a_board(selection: Selection, expected: list[tuple[str, int]]) -> None:
    discover()
    board = make_board(
        {
            "board": "b",
            "datasets": "digits",
            "ipc": [1, 2],
            "network": "convnet,depth=1,width=8",
            "entries": [{"methods": ["distribution_matching", "herding"]}],
        }
    )
    assert [(job.cell.method, job.cell.ipc) for job in resolve(board, "cpu", selection)] == expected


def test_a_selection_that_takes_nothing_is_refused() -> None:
    discover()
    board = make_board({"board": "b", "datasets": "digits", "ipc": 1, "entries": [{"methods": ["herding"]}]})
    with pytest.raises(
        UserError, match=r"^board 'b' has no cell of data set mnist or usps, ipc 10; leave out an option$"
    ):
        resolve(board, "cpu", Selection(datasets=("mnist", "usps"), ipc=(10,)))
    with pytest.raises(UserError, match=r"unknown method 'hrding'; did you mean 'herding'\?"):
        resolve(board, "cpu", Selection(methods=("hrding",)))
