"""Reading of tensors from a file of `torch.save`, without unpickling it.

The pickle in such a file, of protocol 2 to 5, is a list of instructions. Those that tensors and numpy's arrays in
containers need are followed here; any other is refused, and none calls anything. PyTorch's own reader with
`weights_only` calls constructors, which a few bytes can make allocate terabytes.
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
from ddbench.io.pickled_arrays import MOST_SIDES, PickledArray, PickledType, array_tensor, is_plain

MOST_INSTRUCTIONS = 2**21
"""largest number of instructions: some ten thousand tensors and a hundred thousand numbers"""
MOST_BYTES = 2**26
"""largest number of bytes of instructions; numpy's arrays lie among them"""
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
VALUES = (
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "GLOBAL",
)  # fmt: skip
"""instructions that put their argument on the stack; a GLOBAL is its name"""
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
LONGEST_NAME = 1000
OLD_BEGINNING = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""first bytes of what PyTorch wrote before release 1.6: its magic number, pickled"""


class OldFormat(ValueError):
    """The file is no archive, but one pickle after another, as PyTorch wrote it before release 1.6."""


def load_tensors(path: Path) -> Any:
    """Load what `torch.save` of PyTorch 1.6 or later wrote: tensors, lists, tuples, dictionaries, plain values.

    Parameters come back as tensors, ordered dictionaries as plain ones, numpy's arrays as tensors, its scalars as
    numbers.

    Raises:
        OldFormat: when an older release wrote the file; the predicate of a sentence.
        ValueError: when the file is damaged, is not PyTorch's, or holds anything else; likewise.
        OSError: when it is missing or cannot be read.
    """
    _check_format(path)
    with open_archive(path) as archive:
        pickles = [name for name in archive.names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("is no file of torch.save")
        instructions = archive.read(pickles[0])
        if len(instructions) > MOST_BYTES:
            raise ValueError(f"has a pickle of more than {MOST_BYTES} bytes")
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
        self._room = 2 * MOST_BYTES

    def follow(self, instructions: bytes) -> Any:
        for count, (name, argument) in enumerate(_steps(instructions)):
            if count == MOST_INSTRUCTIONS:
                raise ValueError(f"has a pickle of more than {MOST_INSTRUCTIONS} instructions")
            self._step(name, argument)
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self._marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                self._remember(argument)
            case "MEMOIZE":
                self._remember(len(self._memo))
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
            case "BUILD":
                self._build(stack.pop())
            case "STACK_GLOBAL":
                stack.append(_name(stack.pop(-2), stack.pop()))
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

    def _remember(self, place: int) -> None:
        self._memo[place] = self._stack[-1]
        if isinstance(self._stack[-1], PickledArray):
            self._stack[-1].places.append(place)

    def _build(self, state: object) -> None:
        """Give one of numpy's types or arrays its state; what else has one, such as a dictionary, goes without."""
        last = self._stack[-1]
        if isinstance(last, PickledType):
            last.give(state)
        elif isinstance(last, PickledArray):
            self._stack[-1] = last.built(state)
            self._spent(self._stack[-1].numpy())
            self._memo.update(dict.fromkeys(last.places, self._stack[-1]))

    def _spent(self, content: Any) -> Any:
        """Return bytes, or an array, that were copied; a pickle that names some again and again fills no memory."""
        self._room -= memoryview(content).nbytes
        if self._room < 0:
            raise ValueError(f"has arrays of more than {MOST_BYTES} bytes")
        return content

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
            case "_codecs encode":
                return self._spent(_encoded(*arguments))
            case "__builtin__ bytes" | "builtins bytes" if len(arguments) == 0:
                return b""
            case "numpy dtype":
                return PickledType(arguments[0])
        match function.replace("numpy._core.", "numpy.core."):
            case "numpy.core.multiarray _reconstruct":
                return PickledArray()
            case "numpy.core.multiarray scalar":
                kind, content = arguments
                return array_tensor(kind, (), content).item() if is_plain(kind) else None
            case "numpy.core.numeric _frombuffer":
                content, kind, shape, order = arguments
                return array_tensor(kind, shape, self._spent(content), order == "F")
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


def _check_format(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(OLD_BEGINNING)) == OLD_BEGINNING:
                raise OldFormat("is in the format of PyTorch before 1.6")


def _steps(instructions: bytes) -> Iterator[tuple[str, Any]]:
    """Yield names and arguments of a pickle's instructions."""
    try:
        for instruction, argument, _ in pickletools.genops(instructions):
            yield instruction.name, argument
    except ValueError as error:
        raise ValueError(f"is damaged ({error})") from error


def _refusal(what: str) -> ValueError:
    return ValueError(f"holds more than tensors and numbers ({what}), and was not read")


def _name(module: object, name: object) -> str:
    if not (isinstance(module, str) and isinstance(name, str) and len(module) + len(name) < LONGEST_NAME):
        raise TypeError("a function without a name")
    return f"{module} {name}"


def _encoded(text: object, encoding: object) -> bytes:
    """Return bytes that protocol 2 stores as text."""
    if not (isinstance(text, str) and encoding == "latin1"):
        raise TypeError("bytes in another encoding")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError as error:
        raise TypeError("bytes that are none") from error


def _tensor(numbers: object, offset: object, shape: object, stride: object) -> Tensor:
    if not (isinstance(numbers, Tensor) and isinstance(offset, int) and _whole(shape) and _whole(stride)):
        raise TypeError("a tensor without sides")
    if math.prod(shape) > len(numbers):  # a stride of 0 would give any number of elements
        raise ValueError(f"holds a tensor of shape {shape} with {len(numbers)} numbers")
    return numbers.as_strided(shape, stride, offset)


def _whole(sides: object) -> TypeGuard[tuple[int, ...]]:
    if not isinstance(sides, tuple) or len(sides) > MOST_SIDES:
        return False
    return all(isinstance(side, int) and abs(side) < 2**63 for side in sides)
