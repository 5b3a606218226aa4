"""Gradients of pure functions, eager and compiled, against hand-computed ones."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddbench.compute.compiling import Compiler, gradient, worth_compiling
from ddbench.compute.flops import FlopCounter, counting
from tasks import needs_compiler

COMPILED = pytest.param(True, marks=needs_compiler)


def cubes(point: dict[str, Tensor], scale: Tensor) -> Tensor:
    return scale * (point["a"] ** 3).sum() + point["b"].sum()


def steepness(x: Tensor) -> Tensor:
    """The squared gradient of x**3 summed: 9 x**4, whose own gradient is 36 x**3."""
    return gradient(lambda y: (y**3).sum(), x).square().sum()


POINT = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([5.0])}


@pytest.mark.parametrize("enabled", [False, COMPILED])
def test_a_gradient_comes_by_name_with_the_value(enabled: bool) -> None:
    slope, value = Compiler(enabled).gradient(cubes)(POINT, torch.tensor(2.0))
    assert value.item() == 2 * (1 + 8) + 5
    assert slope["a"].tolist() == [6, 24]
    assert slope["b"].tolist() == [1]
    assert not any(tensor.requires_grad for tensor in (value, *slope.values(), *POINT.values()))


@pytest.mark.parametrize("enabled", [False, COMPILED])
def test_arguments_can_be_named(enabled: bool) -> None:
    slope = Compiler(enabled).gradient(cubes)
    assert [slope(POINT, scale=torch.tensor(scale))[0]["a"].tolist() for scale in (2.0, 1.0)] == [[6, 24], [3, 12]]


@pytest.mark.parametrize("enabled", [False, COMPILED])
def test_a_gradient_of_a_gradient(enabled: bool) -> None:
    slope, value = Compiler(enabled).gradient(steepness)(torch.tensor([1.0, -2.0]))
    assert value.item() == pytest.approx(9 + 9 * 16)
    assert slope.tolist() == pytest.approx([36, -36 * 8])


@pytest.mark.parametrize("enabled", [False, COMPILED])
def test_a_function_leaves_no_history(enabled: bool) -> None:
    weight = torch.ones(3, requires_grad=True)
    doubled = Compiler(enabled).function(lambda x: 2 * x * weight.detach())(torch.arange(3.0, requires_grad=True))
    assert doubled.tolist() == [0, 2, 4]
    assert not doubled.requires_grad


@needs_compiler
def test_new_shapes_are_compiled_apart_and_once() -> None:
    entered = []

    @contextmanager
    def apart(name: str) -> Iterator[None]:
        entered.append(name)
        yield

    double = Compiler(True, apart).function(lambda x: x + x)
    for size in (2, 3, 2, 3):
        assert double(torch.ones(size)).tolist() == [2.0] * size
    assert entered == ["compile", "compile"]


def test_what_cannot_be_compiled_runs_eager_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*arguments: object) -> None:
        raise RuntimeError("no C++ compiler\nand many more lines")

    monkeypatch.setattr(torch, "compile", lambda function, **options: no_compiler)
    compiler = Compiler(True)
    first, second = compiler.function(lambda x: x + 1), compiler.gradient(lambda x: (x**2).sum())
    with pytest.warns(RuntimeWarning, match="^not compiled, runs eager and slower: no C\\+\\+ compiler$"):
        assert first(torch.ones(1)).item() == 2
    assert not compiler.enabled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert second(torch.tensor([3.0]))[0].item() == 6
        assert compiler.function(lambda x: x + 2)(torch.ones(1)).item() == 3


@pytest.mark.slow  # two processes that compile with nothing kept from before
@needs_compiler
def test_a_file_that_a_killed_process_left_half_written_does_not_matter(tmp_path: Path) -> None:
    script = """
        import torch
        from ddbench.compute.compiling import Compiler
        compiler = Compiler(True)
        print(compiler.function(lambda x: x + x)(torch.ones(2)).tolist(), compiler.enabled)
    """

    def run() -> str:
        command = [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(script)]
        where = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
        return subprocess.run(command, env=where, capture_output=True, text=True, check=True).stdout

    assert run() == "[2.0, 2.0] True\n"
    libraries = list(tmp_path.rglob("*.so"))
    assert libraries
    for path in libraries:
        path.write_bytes(path.read_bytes()[:100])
    assert run() == "[2.0, 2.0] True\n"


def test_an_error_of_the_function_itself_is_raised() -> None:
    def broken(x: Tensor) -> Tensor:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        Compiler(True).function(broken)(torch.ones(1))


def test_operations_are_counted_while_compiling_is_on() -> None:
    product = Compiler(True).function(lambda a: a @ a)
    with FlopCounter() as counter:
        product(torch.ones(3, 3))
        assert counting()
    assert counter.total == 2 * 3**3
    assert not counting()


@pytest.mark.parametrize(
    ("seconds", "steps", "worth"),
    [
        (None, None, True),
        (59.0, None, False),
        (60.0, None, True),
        (None, 999, False),
        (None, 1000, True),
        (60.0, 5, True),
    ],
)
def test_long_runs_are_worth_compiling(seconds: float | None, steps: int | None, worth: bool) -> None:
    assert worth_compiling(seconds, steps) is worth
