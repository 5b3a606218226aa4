"""Gradients of pure functions, compiled where a run is long enough to be worth it.

The function is compiled as `torch.func` differentiates it: one graph without autograd around it, which keeps nothing
but its results. Eager functions use autograd, which is several times faster than an eager `torch.func`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ddbench.compute.flops import counting

Weights = dict[str, Tensor]
Point = TypeVar("Point", Tensor, Weights)
Rest = ParamSpec("Rest")
Result = TypeVar("Result")
Scalar = Callable[Concatenate[Point, Rest], Tensor]
WORTH_SECONDS = 60.0
"""seconds of budget from which compiling, which takes some seconds for each graph, is worth it"""
WORTH_STEPS = 1000
VARIANTS = 64
"""largest number of shapes that one function may be compiled for"""
CALLS_TO_CAPTURE = 3
"""calls until a captured function only replays: torch compiles and warms up in the first, and captures in the second"""


def gradient(function: Scalar[Point, Rest], point: Point, *rest: Rest.args, **keywords: Rest.kwargs) -> Point:
    """Return the gradient of a scalar function with respect to its first argument, differentiable and compilable.

    It is for use inside a function whose own gradient is wanted, such as the distance between two gradients.
    """
    if torch.compiler.is_compiling():
        slope: Point = torch.func.grad(function)(point, *rest, **keywords)
        return slope
    return _autograd(function, point, *rest, create_graph=True, **keywords)[0]


def worth_compiling(seconds: float | None, steps: int | None, device: str = "cpu") -> bool:
    """Decide whether a run with this budget is long enough to compile what it repeats; None means unlimited.

    For Apple's `mps` torch's compiler is a prototype: there nothing is compiled unless a board asks for it.
    """
    if device == "mps":
        return False
    if seconds is not None:
        return seconds >= WORTH_SECONDS
    return steps is None or steps >= WORTH_STEPS


class Compiler:
    """Makes gradients and pure functions that are fast to call repeatedly with tensors of the same shapes.

    The functions it returns take tensors, or dictionaries of them, and give tensors without history: do not pass
    anything that is to be differentiated through. The functions given must be pure: draw random numbers before.

    >>> slope, loss = task.compiler.gradient(task.loss)(weights, images, labels)  # doctest: +SKIP

    Args:
        enabled: whether to compile; what cannot be compiled, or a machine without a compiler, runs eager with a warning
        apart: context in which compilation and capture happen, called with the name `compile`; the meter's `paused`
        capture: capture what is compiled as a graph of launches, which a GPU of CUDA then replays at the cost of one.
            The graph reads and writes memory of its own, so that every result is copied before it is returned.
    """

    def __init__(
        self,
        enabled: bool = False,
        apart: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
        capture: bool = False,
    ) -> None:
        self.enabled = enabled
        """false if not asked for, or as soon as something could not be compiled"""
        self.apart = apart
        self.capture = capture

    def gradient(self, function: Scalar[Point, Rest]) -> Callable[Concatenate[Point, Rest], tuple[Point, Tensor]]:
        """Return a function for the gradient of a scalar function with respect to its first argument, and the value."""

        def eager(point: Point, *rest: Rest.args, **keywords: Rest.kwargs) -> tuple[Point, Tensor]:
            return _autograd(function, point, *rest, create_graph=False, **keywords)

        return self._either(eager, torch.func.grad_and_value(function))

    def function(self, function: Callable[Rest, Result]) -> Callable[Rest, Result]:
        """Return the same function without gradients."""

        def eager(*arguments: Rest.args, **keywords: Rest.kwargs) -> Result:
            with torch.no_grad():
                return function(*arguments, **keywords)

        return self._either(eager, function)

    def _either(self, eager: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
        return _Compiled(eager, function, self) if self.enabled else eager


class _Compiled:
    """A function that is compiled at its first call with tensors of new shapes; compiling is not charged."""

    def __init__(self, eager: Callable[..., Any], function: Callable[..., Any], compiler: Compiler) -> None:
        self._eager = eager
        mode = "reduce-overhead" if compiler.capture else None
        self._compiled = torch.compile(function, dynamic=False, fullgraph=True, mode=mode)
        self._compiler = compiler
        self._ready: dict[object, bool] = {}

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if counting():  # a counter sees the operations of eager functions alone
            return self._eager(*arguments, **keywords)
        signature = tuple(map(_shape, pytree.tree_leaves((arguments, keywords)))), tuple(keywords)
        if signature not in self._ready:
            with self._compiler.apart("compile"):
                self._ready[signature] = self._warmed(arguments, keywords)
        if not self._ready[signature]:
            return self._eager(*arguments, **keywords)
        with torch.no_grad():
            return self._run(arguments, keywords)

    def _run(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if not self._compiler.capture:
            return self._compiled(*arguments, **keywords)
        torch.compiler.cudagraph_mark_step_begin()  # nothing of the last call is needed where it was written
        return _copied(self._compiled(*arguments, **keywords))

    def _warmed(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
        """Compile for these arguments and return whether that succeeded."""
        _allow_variants()
        try:
            self._compile(arguments, keywords)
        except Exception as error:
            self._eager(*arguments, **keywords)  # an error of the function's own is raised here
            if self._compiler.enabled:
                self._compiler.enabled = False
                warnings.warn(
                    f"not compiled, runs eager and slower: {_first_line(error)}", RuntimeWarning, stacklevel=3
                )
            return False
        return True

    def _compile(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Compile; a second try ignores what earlier processes cached, since a killed one may have left half a file."""
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping serialization of", UserWarning)  # of torch 2.6's settings
            warnings.filterwarnings("ignore", ".*_prims_common.check", FutureWarning)  # of torch 2.14's own
            try:
                self._run(arguments, keywords)
            except Exception:
                from torch._inductor.utils import fresh_inductor_cache

                with fresh_inductor_cache():
                    self._run(arguments, keywords)
            for _ in range(CALLS_TO_CAPTURE - 1 if self._compiler.capture else 0):
                self._run(arguments, keywords)


def _copied(result: Any) -> Any:
    """Return a result whose tensors are copies, made by one launch for all of them."""
    leaves, spec = pytree.tree_flatten(result)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    copies = [torch.empty_like(tensor) for tensor in tensors]
    torch._foreach_copy_(copies, tensors)
    rest = iter(copies)
    return pytree.tree_unflatten([next(rest) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec)


def _allow_variants() -> None:
    import torch._dynamo
    import torch._inductor.config

    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    setattr(torch._dynamo.config, limit, VARIANTS)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns about a missing GPU
    torch._inductor.config.compile_threads = 1  # starting its processes takes longer than compiling a graph


def _autograd(
    function: Callable[..., Tensor], point: Point, *rest: Any, create_graph: bool, **keywords: Any
) -> tuple[Point, Tensor]:
    leaves, spec = pytree.tree_flatten(point)
    if not create_graph or not all(leaf.requires_grad for leaf in leaves):
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    with torch.enable_grad():
        value = function(pytree.tree_unflatten(leaves, spec), *rest, **keywords)
        slopes = torch.autograd.grad(value, leaves, create_graph=create_graph)
    gradient: Point = pytree.tree_unflatten(list(slopes), spec)
    return gradient, value if create_graph else value.detach()


def _shape(leaf: object) -> object:
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype, leaf.device, leaf.requires_grad
    return leaf


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
