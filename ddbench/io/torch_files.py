"""Reading of tensors from a file of `torch.save`, without unpickling it.

The pickle in such a file is a list of instructions. Those that tensors in containers need are followed here; any other
is refused, and none calls anything. PyTorch's own reader with `weights_only` calls constructors, which a few bytes can
make allocate terabytes.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ddbench.io.archives import Archive, open_archive

MOST_INSTRUCTIONS = 2**21
"""largest number of bytes of instructions: some thousand tensors and a hundred thousand numbers"""
STORAGES = {
    f"torch {name}Storage": dtype
    for name, dtype in {
        "Float": torch.float32,
        "Double": torch.float64,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}
LEFT_OUT = ("numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "_codecs encode")
"""functions that make numpy's numbers; releases keep accuracies in them, which nothing here reads"""
VALUES = ("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINSTRING", "GLOBAL")
"""instructions that put their argument on the stack; a GLOBAL is its name"""
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load_tensors(path: Path) -> Any:
    """Load what `torch.save` of PyTorch 1.6 or later wrote: tensors, lists, tuples, dictionaries, plain values.

    Raises:
        ValueError: when the file is damaged, is not PyTorch's, or holds anything else; the predicate of a sentence.
        OSError: when it is missing or cannot be read.
    """
    with open_archive(path) as archive:
        pickles = [name for name in archive.names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("is no file of torch.save")
        instructions = archive.read(pickles[0])
        if len(instructions) > MOST_INSTRUCTIONS:
            raise ValueError(f"has a pickle of more than {MOST_INSTRUCTIONS} bytes")
        machine = _Machine(archive, pickles[0].removesuffix("data.pkl"))
        try:
            return machine.follow(instructions)
        except (IndexError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"is damaged ({str(error).partition(chr(10))[0]})") from error


class _Machine:
    """A pickle machine with a stack, marks and a memo, which follows instructions without calling anything."""

    def __init__(self, archive: Archive, folder: str) -> None:
        self._archive, self._folder = archive, folder
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._buffers: dict[str, bytearray] = {}

    def follow(self, instructions: bytes) -> Any:
        for name, argument in _steps(instructions):
            self._step(name, argument)
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                self._marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "APPEND":
                self._extend([stack.pop()])
            case "APPENDS":
                self._extend(self._marked())
            case "SETITEM":
                self._update([stack.pop(-2), stack.pop()])
            case "SETITEMS":
                self._update(self._marked())
            case "BUILD":  # the state of one of numpy's types
                stack.pop()
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(self._made(stack.pop(), arguments))
            case _ if name in VALUES:
                stack.append(argument)
            case _ if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case _ if name in TUPLES:
                stack.append(tuple(stack.pop() for _ in range(TUPLES[name]))[::-1])
            case _:
                raise _refusal(name)

    def _marked(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _extend(self, items: Sequence[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise TypeError("an item outside of a list")
        self._stack[-1].extend(items)

    def _update(self, items: Sequence[Any]) -> None:
        if not isinstance(self._stack[-1], dict) or len(items) % 2:
            raise TypeError("an item outside of a dictionary")
        if not all(isinstance(key, str | int) for key in items[::2]):
            raise TypeError("a key that is no name")
        self._stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _made(self, function: object, arguments: Sequence[Any]) -> Any:
        """Return what a call would give."""
        if not isinstance(function, str):
            raise TypeError("a call of no function")
        match function:
            case "torch._utils _rebuild_tensor_v2":
                return _tensor(*arguments[:4])
            case "torch._utils _rebuild_parameter":
                return arguments[0]
            case "collections OrderedDict":
                return {}
            case _ if function in LEFT_OUT:
                return None
        raise _refusal(function)

    def _storage(self, identity: Sequence[Any]) -> Tensor:
        """Return the numbers of a tensor, (N,)."""
        _, kind, key, _, count = identity if len(identity) == 5 else [None] * 5
        # Nothing is hashed or printed before its type is known: nested tuples, each twice the last, take for ever.
        if not (isinstance(kind, str) and isinstance(key, str) and isinstance(count, int)):
            raise TypeError("a storage without a name")
        if kind not in STORAGES:
            raise _refusal(kind)
        if key not in self._buffers:
            self._buffers[key] = bytearray(self._archive.read(f"{self._folder}data/{key}"))
        buffer, dtype = self._buffers[key], STORAGES[kind]
        if len(buffer) != count * dtype.itemsize:
            raise ValueError(f"is damaged ({len(buffer)} bytes are not {count} numbers)")
        return torch.frombuffer(buffer, dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _steps(instructions: bytes) -> Iterator[tuple[str, Any]]:
    """Yield names and arguments of a pickle's instructions."""
    try:
        for instruction, argument, _ in pickletools.genops(instructions):
            yield instruction.name, argument
    except ValueError as error:
        raise ValueError(f"is damaged ({error})") from error


def _refusal(what: str) -> ValueError:
    return ValueError(f"holds more than tensors and numbers ({what}), and was not read")


def _tensor(numbers: object, offset: object, shape: object, stride: object) -> Tensor:
    if not (isinstance(numbers, Tensor) and isinstance(offset, int) and _whole(shape) and _whole(stride)):
        raise TypeError("a tensor without sides")
    if math.prod(shape) > len(numbers):  # a stride of 0 would give any number of elements
        raise ValueError(f"holds a tensor of shape {shape} with {len(numbers)} numbers")
    return numbers.as_strided(shape, stride, offset)


def _whole(sides: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(sides, tuple) and all(isinstance(side, int) for side in sides)
