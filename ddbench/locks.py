"""Locks on folders that end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ddbench.errors import CannotWrite, UserError

LOCK = ".lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep every other command out of an output folder.

    Raises:
        UserError: when another one is at work there.
        CannotWrite: when the folder cannot be made.
    """
    with _open(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{folder} is in use by another ddbench; wait for it, or choose another --out") from error
        yield


@contextmanager
def awaited(folder: Path) -> Iterator[None]:
    """Wait until nobody else works on a run's folder: a process that was given up for lost may take a moment to end."""
    with _open(folder) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / LOCK).open("w")
    except OSError as error:
        raise CannotWrite(f"cannot write to {folder} ({error.strerror}); choose another folder with --out") from error
