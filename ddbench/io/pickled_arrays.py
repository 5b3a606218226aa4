"""Numpy's arrays as a pickle's instructions make them, turned into tensors without numpy's own constructors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

KINDS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")
"""types whose numbers a tensor can hold"""
MOST_SIDES = 32
ORDERS = ("<", "|", "=")
"""orders of bytes: as on the machines of today, or none"""


class PickledType:
    """A type of numpy's.

    Attributes:
        code: `f4` and the like, of little-endian or single bytes; None for what no tensor holds
    """

    def __init__(self, code: object) -> None:
        self.code = code if isinstance(code, str) and code in KINDS else None

    def give(self, state: object) -> None:
        """Take the state that follows the code; its second item is the order of bytes."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ORDERS:
            self.code = None


def is_plain(kind: object) -> bool:
    """Return whether a tensor can hold numbers of this type."""
    return not isinstance(kind, PickledType) or kind.code is not None


@dataclass
class PickledArray:
    """An array whose content is still to come.

    Attributes:
        places: where the pickle's memo has it
    """

    places: list[int] = field(default_factory=list)

    def built(self, state: object) -> Tensor:
        """Return the tensor that a state describes: version, shape, type, order of axes, bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise TypeError("an array without a state")
        _, shape, kind, fortran, content = state
        return array_tensor(kind, shape, content, fortran is True)


def array_tensor(kind: object, shape: object, content: object, fortran: bool = False) -> Tensor:
    """Return an array of this type and shape as a tensor of its own.

    Raises:
        TypeError: where a part is missing or of another kind.
        ValueError: where the content has another size than type and shape say.
    """
    if not (isinstance(kind, PickledType) and isinstance(shape, tuple) and len(shape) <= MOST_SIDES):
        raise TypeError("an array without type and shape")
    if not all(type(side) is int and 0 <= side < 2**63 for side in shape):
        raise TypeError("an array without sides")
    if kind.code is None or not isinstance(content, bytes | bytearray):
        raise ValueError("holds an array of something else than plain numbers, and was not read")
    dtype = np.dtype(kind.code).newbyteorder("<")
    if dtype.itemsize * math.prod(shape) != len(content):
        raise ValueError(f"is damaged ({len(content)} bytes are no {dtype} of this shape)")
    flat = np.frombuffer(content, dtype)
    return torch.from_numpy(flat.reshape(shape, order="F" if fortran else "C").copy())
