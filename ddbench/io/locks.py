"""Locks on folders that end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ddbench.errors import CannotWrite, UserError
from ddbench.io.atomic import make_folder

LOCK = ".lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep every other command out of an output folder.

    Raises:
        UserError: when another one is at work there.
        CannotWrite: when the folder cannot be made, or not be locked.
    """
    with _open(folder) as file:
        try:
            _lock(file, folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder} is in use by another ddbench; wait for it, or choose another --out") from error
        yield


@contextmanager
def awaited(folder: Path) -> Iterator[None]:
    """Wait until nobody else works on a run's folder: a process that was given up for lost may take a moment to end."""
    with _open(folder) as file:
        _lock(file, folder, fcntl.LOCK_EX)
        yield


def _lock(file: IO[str], folder: Path, how: int) -> None:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        raise
    except OSError as error:
        raise CannotWrite(
            f"{folder} cannot be locked ({error.strerror}); choose an --out on a file system that has locks"
        ) from error


def _open(folder: Path) -> IO[str]:
    make_folder(folder)
    path = folder / LOCK
    try:
        return path.open("w")
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}; choose another folder with --out") from error
