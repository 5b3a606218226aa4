"""Atomic writing of files, which appear whole or not at all, and digests of their content."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from ddbench.errors import CannotWrite

Data = bytes | memoryview
FULL = (errno.ENOSPC, errno.EDQUOT)
SEAL_LENGTH = len("sha256:") + 64 + len("\n")

LONGEST_NAME = 128
"""largest number of bytes of a name; file systems take 255, and a run's folder adds ipc, seed and key"""


def is_name(text: str) -> bool:
    """Return whether a text may be a part of paths and tables: a short line without slashes that begins with a letter,
    digit or underscore."""
    return (
        text.isprintable()
        and (text[:1].isalnum() or text[:1] == "_")
        and not set("/\\") & set(text)
        and len(text.encode()) <= LONGEST_NAME
    )


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are not there yet.

    Raises:
        CannotWrite: when that fails, or files in it could not be named in a table.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise CannotWrite(f"the name {str(folder)!r} is no UTF-8; choose another folder with --out") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot write to {folder} ({error.strerror}); choose another folder with --out") from error


def write_atomically(path: Path, *pieces: Data) -> None:
    """Write under a temporary name in the same folder, flush to disk, rename, flush the folder.

    Raises:
        CannotWrite: when the folder cannot be written or the disk is full; the previous file is unchanged.
    """
    with _replaced(path) as file:
        for piece in pieces:
            file.write(piece)


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that replaces the one at the path when it is complete."""
    if not path.name:
        raise CannotWrite(f"cannot write {path}: it is a folder; choose another place with --out")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:  # a file there might be a link to somewhere else
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        fix = "free some, and the same command goes on" if error.errno in FULL else "choose another place with --out"
        raise CannotWrite(f"cannot write {path}: {error.strerror}; {fix}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def remove_parts(folder: Path) -> None:
    """Remove the incomplete files of writers that were killed, below a folder that nobody writes to now."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)


def write_sealed(path: Path, payload: Data) -> None:
    """Write atomically, with the payload's digest as the first line."""
    write_atomically(path, f"{digest(payload)}\n".encode(), payload)


@contextmanager
def sealed(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file for a payload that need not fit into memory twice; `read_sealed` reads it."""
    with _replaced(path) as file:
        file.write(b" " * SEAL_LENGTH)
        payload = _Hashed(file)
        try:
            yield cast("IO[bytes]", payload)
        finally:
            if payload.refused is not None:
                raise payload.refused
        file.seek(0)
        file.write(f"sha256:{payload.hash.hexdigest()}\n".encode())


class _Hashed(io.BufferedIOBase):
    """A file object that writes to another one and hashes what it writes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.hash = hashlib.sha256()
        self.refused: OSError | None = None
        """first error; raised within `torch.save`, it would be replaced by one of torch's own"""
        self._file = file

    def write(self, data: Any) -> int:
        if self.refused is None:
            self.hash.update(data)
            try:
                self._file.write(data)
            except OSError as error:
                self.refused = error
        return len(data)


def read_sealed(path: Path) -> bytes | None:
    """Read what `write_sealed` or `sealed` wrote; None for no file, or for a damaged one, which is set aside."""
    try:
        with path.open("rb") as file:
            seal, payload = file.read(SEAL_LENGTH), file.read()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        warn_of_damage(path, "it is a folder")
        return None
    if seal != f"{digest(payload)}\n".encode():
        warn_of_damage(path, "its checksum does not match")
        return None
    return payload


def set_aside(path: Path, reason: str) -> str:
    """Rename a damaged file, so that it is made again but can still be inspected; return a sentence that says so."""
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(FileNotFoundError):  # another process was faster
        path.replace(aside)
    return f"{path} is damaged ({reason}); it is kept as {aside.name} and made anew"


def warn_of_damage(path: Path, reason: str) -> None:
    """Set a damaged file aside and warn."""
    warnings.warn(set_aside(path, reason), RuntimeWarning, stacklevel=3)


def canonical_json(value: Any) -> bytes:
    """Write a value in its one canonical spelling: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def digest(data: Data) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def key_of(said: Any) -> str:
    """Return 16 hexadecimal digits that name a value by its canonical spelling."""
    return digest(canonical_json(said)).removeprefix("sha256:")[:16]


def _flush_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return  # a folder cannot be opened there; the file itself was flushed
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
