"""Untrusted zip archives, `.npz` files among them, whose size is checked before anything is unpacked.

Errors are ValueErrors with the predicate of a sentence, such as `is damaged`; the caller knows the subject and the
fix.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

ROOM = 2**28
"""bytes that any archive may unpack to"""
RATIO = 100
"""ratio of unpacked to packed size that a larger archive may have: images hardly compress, deflate reaches 1000"""
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""compression methods; numpy and PyTorch write no others"""
ENCRYPTED = 1
"""bit of a member's flags that marks it as encrypted"""
PLAIN = "biufU"
"""kinds of array elements that are read: truth values, integers, floating point, text"""
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Archive:
    """The members of an open zip archive.

    Attributes:
        names: names of the members
    """

    def __init__(self, archive: zipfile.ZipFile, packed: int) -> None:
        self._archive = archive
        self._room = max(ROOM, RATIO * packed)
        self.names = frozenset(archive.namelist())

    def read(self, name: str) -> bytes:
        """Return a member's content.

        Raises:
            ValueError: when it is missing or damaged, or the members read so far unpack to more than allowed.
        """
        if name not in self.names:
            raise ValueError(f"has no {name}")
        info = self._archive.getinfo(name)
        if info.compress_type not in COMPRESSIONS or info.flag_bits & ENCRYPTED:
            raise ValueError("is encrypted, or compressed by something else than deflate")
        self._room -= info.file_size
        if self._room < 0:
            raise ValueError(f"unpacks to more than {RATIO} times the size of its file")
        try:
            with self._archive.open(info) as member:
                content = member.read(info.file_size)  # without a bound, it unpacks all before it checks the size
        except MemoryError as error:
            raise ValueError("does not fit into memory") from error
        except Exception as error:  # zipfile and zlib raise many kinds
            raise ValueError("is damaged") from error
        if len(content) != info.file_size:
            raise ValueError("is truncated")
        return content

    def array(self, name: str) -> NDArray[Any]:
        """Return the array in the member `name.npy`.

        Raises:
            ValueError: when it is missing or damaged, or holds anything but numbers or text.
        """
        return _array(self.read(f"{name}.npy"))


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a zip archive to read from.

    Raises:
        ValueError: when the file is no zip archive.
        OSError: when it is missing or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("is a folder, a pipe or a device, and no zip archive")
    with path.open("rb") as file:
        if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            raise ValueError("is a single array and no archive")
        try:
            archive = zipfile.ZipFile(file)
        except Exception as error:
            raise ValueError("is truncated or no zip archive") from error
        yield Archive(archive, path.stat().st_size)


def _array(content: bytes) -> NDArray[Any]:
    """Read the array of an `.npy` file. Numpy's reader would allocate what the header asks for before checking it."""
    file = io.BytesIO(content)
    try:
        shape, fortran, dtype = HEADERS[npy.read_magic(file)](file)
    except Exception as error:  # the header is a Python literal, which raises many kinds
        raise ValueError("is no array") from error
    if dtype.hasobject:
        raise ValueError("holds pickled Python objects, which are never loaded")
    if dtype.kind not in PLAIN or dtype.itemsize == 0:
        raise ValueError(f"holds elements of type {dtype}; numbers or text are needed")
    sound = all(type(side) is int and side >= 0 for side in shape)
    if not sound or dtype.itemsize * math.prod(shape) != len(content) - file.tell():
        raise ValueError(f"is damaged: {len(content) - file.tell()} bytes are no {dtype} of shape {shape}")
    flat = np.frombuffer(content, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
