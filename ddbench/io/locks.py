"""Locks on folders, released when the process that holds them ends, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ddbench.errors import CannotWrite, UserError
from ddbench.io.atomic import make_folder

LOCK = ".lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Lock an output folder, so that no other command works in it.

    Raises:
        UserError: when another one is at work there.
        CannotWrite: when the folder cannot be made, or not be locked.
    """
    try:
        held = _acquire(folder, blocking=False)
    except Timeout as error:
        raise UserError(f"{folder} is in use by another ddbench; wait for it, or choose another --out") from error
    with held:
        yield


@contextmanager
def awaited(folder: Path) -> Iterator[None]:
    """Wait until no other process works on a run's folder: one that was given up may take a moment to end."""
    with _acquire(folder, blocking=True):
        yield


def _acquire(folder: Path, *, blocking: bool) -> AbstractContextManager[object]:
    """Lock a folder until the context that is returned is left."""
    make_folder(folder)
    path = folder / LOCK
    try:
        # A soft lock, the mere existence of a file, would outlive a process that is killed.
        return FileLock(path, fallback_to_soft=False).acquire(blocking=blocking)
    except Timeout:
        raise
    except OSError as error:
        if error.filename is None:  # of the lock, not of opening its file
            raise CannotWrite(
                f"{folder} cannot be locked ({error.strerror}); choose an --out on a file system that has locks"
            ) from error
        raise CannotWrite(f"cannot write {path}: {error.strerror}; choose another folder with --out") from error
