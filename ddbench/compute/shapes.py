"""Operations on tensors of the `meta` device, which have shapes and no numbers, and the bytes that they would hold."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

Kind = tuple[object, ...]
"""an operation with the shapes, strides and types of its tensors and its other arguments"""
Look = Callable[[Any, list[Tensor], dict[str, Any], Any], None]
"""(operation, its tensors, its named arguments, its result)"""

Repeated = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""(arguments, named arguments) -> result"""


class ShapesOnly(TorchDispatchMode):
    """Runs operations on `meta` tensors inside its block, and adds up the bytes of their storages.

    torch works out the shapes of many operations in Python, which takes far longer than to launch a kernel. So each
    kind of operation is worked out once, and its result is made later from what is known of it.

    Args:
        look: called with every operation that is run and not made from what is known
    """

    def __init__(self, look: Look = lambda operation, tensors, named, result: None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = 0
        """bytes of the storages that live now"""
        self.peak = 0
        """largest `held` so far"""
        self._look = look
        self._known: dict[Kind, Repeated] = {}
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __enter__(self) -> ShapesOnly:
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = function, _described(args), *((name, _described(value)) for name, value in kwargs.items())
        known = self._known.get(kind)
        result = function(*args, **kwargs) if known is None else known(args, kwargs)
        if known is None:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self._look(function, tensors, kwargs, result)
            if all(map(_is_meta, tensors)):
                self._known[kind] = _repeated(function, tensors, result)
        if isinstance(result, Tensor):
            self._count(result)
        elif isinstance(result, list | tuple):
            for tensor in result:
                self._count(tensor)
        return result

    def _count(self, tensor: object) -> None:
        if not isinstance(tensor, Tensor) or not tensor.is_meta:
            return
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place not in self._alive:
            size = storage.nbytes()
            self._alive[place] = weakref.ref(storage, partial(self._free, place, size))
            self.held += size
            self.peak = max(self.peak, self.held)

    def _free(self, place: int, size: int, reference: object) -> None:
        del self._alive[place]
        self.held -= size


def _described(value: Any) -> object:
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, list | tuple):
        return tuple(map(_described, value))
    return None if isinstance(value, torch.Generator) else (type(value), value)


def _repeated(function: Any, tensors: list[Tensor], result: Any) -> Repeated:
    """Return what gives the same as the operation did: a function that makes it anew, or else the operation."""
    schema = function._schema

    def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return function(*args, **kwargs)

    if schema.is_mutable:
        in_place = schema.name.endswith("_") and tensors and (result is tensors[0] or result is None)
        return (lambda args, kwargs: args[0] if isinstance(args[0], Tensor) else None) if in_place else run
    made, structure = tree_flatten(result)
    if any(returned.alias_info is not None for returned in schema.returns) or not all(map(_is_meta, made)):
        return run
    given = {tensor.untyped_storage()._cdata for tensor in tensors}
    if any(tensor.untyped_storage()._cdata in given for tensor in made):
        return run
    alone = isinstance(result, Tensor)
    shapes = [(tuple(tensor.shape), tensor.stride(), tensor.dtype) for tensor in made]

    def again(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = [torch.empty_strided(size, stride, dtype=dtype, device="meta") for size, stride, dtype in shapes]
        return tensors[0] if alone else tree_unflatten(tensors, structure)

    return again


def _is_meta(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_meta
