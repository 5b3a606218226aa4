"""Precision of arithmetic: where it acts, what it changes by, and where it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddbench.bench import Setup
from ddbench.boards.board import make_board
from ddbench.boards.jobs import resolve
from ddbench.compute.clock import ProcessClock
from ddbench.compute.compiling import Compiler, Weights, gradient
from ddbench.compute.environment import determinism
from ddbench.compute.generators import seeded
from ddbench.compute.precision import precision, precision_of
from ddbench.errors import UserError
from ddbench.families.backprop import OuterLoss
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import FeatureMatching, unit_features
from ddbench.families.experts import Expert, train_expert
from ddbench.families.gradient_matching import GradientDistance, layerwise_cosine
from ddbench.families.training import Trained, Trainer
from ddbench.leaderboard.columns import groups, summary
from ddbench.leaderboard.rows import rows
from ddbench.leaderboard.tables import csv_table
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget, run_key
from ddbench.records.schema import Record
from ddbench.registry import discover
from ddbench.site.reproduce import of_run
from ddbench.submissions.membership import board_complaint
from ddbench.task.task import Task
from factories import jobs_of, make_cell, make_record, run_here

discover()
CUDA = torch.device("cuda")
CLASSES, REAL = 3, 20


def make_task(reduced: bool) -> Task:
    """Three classes of noise, 3x16x16, for a convnet of three blocks of eight channels."""
    task = Setup(ipc=2, width=8, side=16, classes=CLASSES).task()
    task.compiler, task.precision = Compiler(), "bfloat16" if reduced else "float32"
    return task


def both(measure: Callable[[Task], Any]) -> tuple[Any, Any]:
    """What is measured in bfloat16 and in float32, of the same draws."""
    return measure(make_task(True)), measure(make_task(False))


def close(ours: Tensor, exact: Tensor) -> None:
    """Assert that a relative error, by norms, is not zero and at most 2 %, and that what was computed is float32."""
    assert ours.dtype == torch.float32
    error = float((ours - exact).norm() / exact.norm())
    assert 0 < error < 0.02


# -- where networks compute in bfloat16 ------------------------------------------------------------------------------


def test_the_embedding_and_the_layers_of_real_images() -> None:
    def measure(task: Task) -> list[Tensor]:
        weights, images = task.initial(seeded(0)), task.real.take(range(60))[0]
        functions = task.first_order
        return [functions.embed(weights, images), functions.forward(weights, images),
                *functions.activations(weights, images)]  # fmt: skip

    for ours, exact in zip(*both(measure), strict=True):
        close(ours, exact)


@pytest.mark.parametrize("name", ["mean", "mmd_rbf", "energy", "characteristic"])
def test_the_loss_of_distribution_matching(name: Any) -> None:
    def measure(task: Task) -> Tensor:
        features = unit_features(task) if name == "characteristic" else task.first_order.embed
        matching = FeatureMatching(task, features, DISCREPANCIES[name])
        weights = task.initial(seeded(0))
        real = task.real.batch(REAL, task.generator("real"), of=range(CLASSES))[0].chunk(CLASSES)
        images, draws = 0.5 * torch.randn(6, 3, 16, 16, generator=seeded(1)), None
        if DISCREPANCIES[name].draws != "nothing":
            draws = torch.randn(16, task.first_order.embed(weights, images).shape[1], generator=seeded(2))
        slope, loss = matching.gradient(images, task.labels(), weights, matching.target(weights, real), draws)
        assert slope.dtype == torch.float32
        return loss

    close(*both(measure))


def test_the_loss_of_an_expert_after_ten_steps() -> None:
    def measure(task: Task) -> Tensor:
        expert = Expert(1, 10, batch=30, lr=0.05, epoch_batches=1, momentum=0.9)
        meter = Meter(Budget(), ProcessClock())
        loss_gradient = task.compiler.gradient(task.first_order.loss)
        trajectory = train_expert(task, meter, seeded(0), expert, loss_gradient, "experts/0")
        assert trajectory.dtype == torch.float32
        return torch.tensor(meter.history["expert_loss"][-1][1])

    close(*both(measure))


def test_the_loss_of_a_network_that_was_trained_beside_a_distillation() -> None:
    def measure(task: Task) -> Tensor:
        network, (images, labels) = Trained.begin(task.initial(seeded(0))), task.real.take(range(30))
        trainer = Trainer(task, lr=0.01, momentum=0.5)
        for _ in range(10):
            network = trainer.step(network, images, labels)
        assert all(
            tensor.dtype == torch.float32 for own in (network.weights, network.velocity) for tensor in own.values()
        )
        return task.loss(network.weights, images, labels)

    close(*both(measure))


def test_the_real_side_of_gradient_matching_and_not_the_synthetic_one() -> None:
    seen = list[tuple[Weights, Weights]]()

    def distance(target: Weights, own: Weights) -> Tensor:
        seen.append((target, own))
        return layerwise_cosine(target, own)

    def measure(task: Task) -> Tensor:
        real = task.real.batch(REAL, task.generator("real"), of=range(CLASSES))[0].chunk(CLASSES)
        synthetic = 0.5 * torch.randn(6, 3, 16, 16, generator=seeded(1)), task.labels()
        return GradientDistance(task, distance).of_all(task.initial(seeded(0)), real, synthetic)[1]

    close(*both(measure))
    (target, own), (exact_target, exact_own) = seen
    assert any(not torch.equal(target[name], exact_target[name]) for name in target)
    assert all(torch.equal(own[name], exact_own[name]) for name in own)


def test_the_outer_loss_and_not_a_training_that_is_differentiated() -> None:
    def measure(task: Task) -> Tensor:
        weights = {name: weight.requires_grad_() for name, weight in task.initial(seeded(0)).items()}
        loss: Tensor = OuterLoss(task, 60).backward(weights)
        return loss

    close(*both(measure))
    inner = both(lambda task: gradient(task.loss, task.initial(seeded(0)), *task.real.take(range(6))))
    assert all(torch.equal(inner[0][name], inner[1][name]) for name in inner[0])


@pytest.mark.slow  # compiles twice
def test_compiled_networks_compute_in_it_too() -> None:
    def measure(task: Task) -> Tensor:
        task.compiler = Compiler(enabled=True)
        slope, loss = task.compiler.gradient(task.first_order.loss)(task.initial(seeded(0)), *task.real.take(range(30)))
        assert task.compiler.enabled
        assert all(each.dtype == torch.float32 for each in slope.values())
        return loss

    close(*both(measure))


# -- how a GPU rounds ------------------------------------------------------------------------------------------------


def test_a_gpu_rounds_as_the_precision_says_and_as_before_afterwards() -> None:
    def flags() -> tuple[Any, ...]:
        found = determinism()
        return found["float32_matmul"], found["tf32_convolutions"]

    before = flags()
    with precision(CUDA, "float32"):
        assert flags() == ("highest", False)
        with suppress(KeyError), precision(CUDA, "tf32"):
            assert flags() == ("high", True)
            raise KeyError
        assert flags() == ("highest", False)
        with precision(torch.device("cpu"), "bfloat16"):
            assert flags() == ("highest", False)
        with precision(CUDA, "bfloat16"):
            assert flags() == ("high", True)
    assert flags() == before


# -- where it is chosen and named ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wanted", "found"),
    [
        ("cpu", None, "float32"),
        ("cpu", "bfloat16", "bfloat16"),
        ("cuda", None, "tf32"),
        ("cuda", "float32", "float32"),
        ("mps", None, "float32"),
    ],
)
def test_a_device_has_a_precision_of_its_own(kind: str, wanted: Any, found: str) -> None:
    assert precision_of(kind, wanted) == found


@pytest.mark.parametrize(("kind", "wanted"), [("cpu", "tf32"), ("mps", "bfloat16")])
def test_a_precision_that_a_device_does_not_have_is_refused(kind: str, wanted: Any) -> None:
    with pytest.raises(UserError, match=f"^precision '{wanted}' is none of {kind}'s; leave it out, or use float32"):
        precision_of(kind, wanted)


def test_boards_and_their_entries_choose_it_by_device() -> None:
    content = {
        "board": "b",
        "datasets": "digits",
        "ipc": 1,
        "entries": [{"methods": ["random_real"]}, {"methods": ["herding"], "precision": "bfloat16"}],
    }
    assert [job.cell.precision for job in resolve(make_board(content), "cpu")] == ["float32", "bfloat16"]
    assert [job.cell.precision for job in resolve(make_board(content), CUDA)] == ["tf32", "bfloat16"]
    with pytest.raises(UserError, match="precision 'tf32' is none of cpu's"):
        resolve(make_board({**content, "precision": "tf32"}), "cpu")
    with pytest.raises(UserError, match="precision: input should be 'float32', 'tf32' or 'bfloat16', got 'half'"):
        make_board({**content, "precision": "half"})


def test_the_command_line_has_an_option_for_it(call: Callable[..., tuple[int, str, str]]) -> None:
    arguments = ["-d", "digits", "--device", "cpu", "--precision", "tf32"]
    sentence = "precision 'tf32' is none of cpu's; leave it out, or use float32 or bfloat16"
    for command in (["evaluate", "-m", "dm"], ["distill", "dm", "--out", "dm.safetensors"]):
        code, _, said = call(*command, *arguments)
        assert (code, sentence in said) == (2, True)


@pytest.mark.slow  # trains for seconds; `.ci/run` carries it out
def test_a_record_says_it_where_it_is_not_float32(short: None, tmp_path: Path) -> None:
    plain, reduced = (
        run_here(jobs_of("dm", precision=name, steps=2, snapshots=[])[0], tmp_path / name)
        for name in ("float32", "bfloat16")
    )
    assert "precision" not in plain.model_dump()["result"]["cell"]
    assert reduced.model_dump()["result"]["cell"]["precision"] == "bfloat16"
    assert plain.result.artifact != reduced.result.artifact
    assert plain.key != reduced.key


def test_cells_from_before_keep_their_keys() -> None:
    cell = make_cell()
    assert "precision" not in cell.model_dump(mode="json")
    assert run_key(cell, 0, "s") == run_key(make_cell(precision="float32"), 0, "s")
    assert run_key(cell, 0, "s") != run_key(make_cell(precision="bfloat16"), 0, "s")


def of_device(device: str, precision: str, method: str = "good") -> Record:
    return make_record(method, accuracies=(0.5, 0.6), device=device, precision=precision)


def test_tables_name_it_where_it_is_not_what_the_device_takes_by_itself() -> None:
    gpu = [of_device("cuda", "tf32"), of_device("cuda", "bfloat16"), of_device("cuda", "float32")]
    made = rows([*gpu, of_device("cuda", "tf32", "random_real")])
    (group,) = groups(made)  # one table
    assert sorted(map(group.label, group.rows)) == ["good", "good (bfloat16)", "good (float32)", "random_real"]
    assert "cuda (tf32 where a row says nothing else), 1 thread" in summary(made)
    assert all(row.versus_random is not None for row in made if row.method == "good")
    (group,) = groups(rows([of_device("cpu", "bfloat16"), of_device("cpu", "float32")]))
    assert sorted(map(group.label, group.rows)) == ["good", "good (bfloat16)"]


def test_the_csv_has_a_column_for_it_where_a_cell_needs_one() -> None:
    assert "precision" not in csv_table([of_device("cpu", "float32")])
    assert ",tf32," in csv_table([of_device("cuda", "tf32")])


def test_a_record_of_a_gpu_belongs_to_a_board_that_leaves_it_to_the_device(tmp_path: Path) -> None:
    content = {"board": "tiny", "datasets": ["digits"], "ipc": [1], "entries": [{"methods": ["random_real"]}]}
    (tmp_path / "tiny.yaml").write_text(json.dumps(content))
    (job,) = resolve(make_board(content), CUDA)
    record = make_record()
    found = {name: job.cell.model_copy(update={"precision": name}) for name in ("tf32", "float32")}
    told = {
        name: board_complaint(
            record.model_copy(update={"result": record.result.model_copy(update={"cell": cell})}), tmp_path
        )
        for name, cell in found.items()
    }
    assert told["tf32"] is None
    assert "precision is" in str(told["float32"])


@pytest.mark.parametrize(
    ("device", "precision", "option"),
    [
        ("cuda", "tf32", ""),
        ("cuda", "float32", "--precision float32"),
        ("cpu", "bfloat16", "--precision bfloat16"),
        ("cpu", "float32", ""),
    ],
)
def test_the_command_that_reproduces_a_run_names_it(device: str, precision: str, option: str) -> None:
    commands = of_run(of_device(device, precision))
    assert commands is not None
    assert ("--precision" in commands[0]) == bool(option)
    assert option in commands[0]
