"""Captured steps, on the CPU: a stand-in for torch's compiler overwrites its results at its next call, as graphs do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.board import make_board
from ddbench.boards.jobs import resolve
from ddbench.compute.compiling import CALLS_TO_CAPTURE, Compiler
from ddbench.data import Preprocessing
from ddbench.errors import UserError
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.leaderboard.columns import groups
from ddbench.leaderboard.rows import rows
from ddbench.leaderboard.tables import csv_table
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.registry import METHODS, discover
from ddbench.runs.context import RunContext, RunMonitor
from ddbench.site.reproduce import of_run
from ddbench.submissions.rescoring import place_of
from ddbench.testing import NETWORK, tiny_dataset, tiny_task
from factories import make_record
from tasks import methods_of, setting_of

discover()
CUDA = torch.device("cuda")
CPU = ("--device", "cpu")
NO_EFFECT = "capture has no effect on cpu: it saves the launches of a GPU of CUDA"
BOARD = {"board": "b", "datasets": "digits", "ipc": 1, "capture": True, "entries": [{"methods": ["random_real"]}]}


@pytest.fixture(autouse=True)
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What torch's compiler is replaced by does not compile, and lists the modes that it was asked for."""
    asked, inside = list[str | None](), False

    def compiled(function: Callable[..., Any], *, mode: str | None = None, **options: object) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal inside
            inside = True
            try:
                return function(*arguments, **keywords)
            finally:
                inside = False

        asked.append(mode)
        return overwriting(call) if mode == "reduce-overhead" else call

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: inside)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
    monkeypatch.setattr("ddbench.compute.compiling._allow_variants", lambda: None)  # both import torch's compiler
    return asked


def overwriting(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose results of equal shapes all lie in the same memory."""
    memory: dict[object, list[Tensor]] = {}

    def call(*arguments: Any, **keywords: Any) -> Any:
        leaves, spec = pytree.tree_flatten(function(*arguments, **keywords))
        kept = memory.setdefault(tuple(leaf.shape for leaf in leaves), [torch.empty_like(leaf) for leaf in leaves])
        torch._foreach_copy_(kept, leaves)
        return pytree.tree_unflatten(kept, spec)

    return call


def test_the_stand_in_overwrites_what_it_gave() -> None:
    double = torch.compile(lambda x: 2 * x, mode="reduce-overhead")
    first, second = double(torch.ones(2)), double(torch.zeros(2))
    assert first.tolist() == second.tolist() == [0, 0]


def test_results_that_are_kept_stay_as_they_were() -> None:
    compiler = Compiler(True, capture=True)
    double = compiler.function(lambda x: {"twice": 2 * x, "views": (x, x.T)})
    first, second = double(torch.ones(2, 2)), double(torch.zeros(2, 2))
    assert first["twice"].tolist() == [[2, 2], [2, 2]]
    assert first["views"][1].tolist() == [[1, 1], [1, 1]]
    assert second["twice"].tolist() == [[0, 0], [0, 0]]
    slope = compiler.gradient(lambda x: (x**3).sum())
    found = [slope(torch.tensor([value])) for value in (1.0, 2.0)]
    assert [(of.item(), value.item()) for of, value in found] == [(3, 1), (12, 8)]


def test_capture_happens_apart_with_compilation() -> None:
    calls, inside = list[bool](), False

    @contextmanager
    def apart(name: str) -> Iterator[None]:
        nonlocal inside
        inside = True
        yield
        inside = False

    def function(x: Tensor) -> Tensor:
        calls.append(inside)
        return x + 1

    added = Compiler(True, apart, capture=True).function(function)
    assert [added(torch.zeros(())).item() for _ in range(2)] == [1, 1]
    assert calls == [True] * CALLS_TO_CAPTURE + [False] * 2


def distilled(method: str, capture: bool) -> dict[str, Tensor]:
    cls = METHODS.get(method)
    task = tiny_task()
    task.compiler = Compiler(True, capture=capture)
    made: DistilledDataset = cls(**cls.tiny).distill(task, Meter(Budget(steps=12)))
    return dict(made.parts)


FAMILIES = ("gradient_matching", "distribution_matching", "scalable_trajectory_matching", "truncated_backprop")


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=[] if name in FAMILIES else pytest.mark.slow) for name in methods_of()],
)
def test_a_method_makes_the_same_bytes_captured_and_not(method: str) -> None:
    captured, plain = distilled(method, True), distilled(method, False)
    assert all(torch.equal(captured[name], plain[name]) for name in plain)


def test_a_network_scores_the_same_captured_and_not() -> None:
    data = tiny_dataset()
    transform = Preprocessing.for_dataset(data).fit(data)
    artifact = DistilledDataset.pixels(transform(data.train_images[:6]), data.train_labels[:6])
    protocol = Protocol("short", "test", steps=6, batch_size=4)

    def weights(capture: bool) -> dict[str, Tensor]:
        compiler, where = Compiler(True, capture=capture), torch.device("cpu")
        evaluator = ImageEvaluator(data, transform, protocol, NETWORK, where, setting_of(NETWORK, data), compiler)
        first = evaluator.train(artifact, 0)
        assert evaluator.score(artifact, seed=1).accuracy == evaluator.score(artifact, seed=1).accuracy
        return first

    captured, plain = weights(True), weights(False)
    assert all(torch.equal(captured[name], plain[name]) for name in plain)


def test_steps_are_captured_on_a_gpu_of_cuda_alone(modes: list[str | None], tmp_path: Path) -> None:
    for device in (CUDA, torch.device("cpu")):
        (job,) = resolve(make_board(BOARD), device)
        assert (job.cell.capture, job.compile) == ((True, True) if device == CUDA else (False, None))
        for where in (device, torch.device("cpu")):
            context = RunContext.of(job, tmp_path, tmp_path, where, RunMonitor())
            context.compiler.enabled = True
            context.compiler.function(torch.clone)
        record = make_record(capture=job.cell.capture, device=device.type, environment={"compiled": True})
        place_of(record, device).compiler.function(torch.clone)
    assert modes == ["reduce-overhead", None, "reduce-overhead", None, None, None]


def test_capture_of_what_is_not_compiled_is_refused() -> None:
    with pytest.raises(UserError, match=r"^capture is of compiled steps, and compile is false; leave out either$"):
        resolve(make_board({**BOARD, "compile": False}), "cpu")


def test_where_it_has_no_effect_a_command_says_so(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()  # so that nothing runs
    code, _, said = call("distill", "random_real", "-d", "digits", "--out", "a.safetensors", "--capture", *CPU)
    assert (code, NO_EFFECT in said) == (2, True)
    (tmp_path / "board.yaml").write_text(json.dumps({**BOARD, "network": "convnet,depth=1,width=8"}))
    _, _, said = call("plan", "board.yaml", *CPU)
    assert NO_EFFECT in said
    _, _, said = call("distill", "random_real", "-d", "digits", "--out", "a.safetensors", *CPU)
    assert NO_EFFECT not in said


def test_records_and_tables_say_it() -> None:
    assert "capture" not in make_record().model_dump(mode="json")["result"]["cell"]
    plain, captured = (make_record(device="cuda", precision="tf32", capture=capture) for capture in (False, True))
    assert captured.model_dump(mode="json")["result"]["cell"]["capture"] is True
    (group,) = groups(rows([plain, captured]))
    assert sorted(map(group.label, group.rows)) == ["good", "good (captured)"]
    assert ",captured," in csv_table([plain, captured])
    assert "captured" not in csv_table([plain])
    commands = of_run(captured)
    assert commands is not None
    assert "--capture" in commands[0]
