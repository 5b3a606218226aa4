"""Paths of data: the user's own folder and the download cache, both named by environment variables."""

from __future__ import annotations

import os
from pathlib import Path

from ddbench.errors import UserError
from ddbench.io.atomic import is_name

DATA_VARIABLE = "DDBENCH_DATA"
CACHE_VARIABLE = "DDBENCH_CACHE"


def cache_folder() -> Path:
    """Return `$DDBENCH_CACHE`, or `~/.cache/ddbench`; it need not exist.

    Raises:
        UserError: where there is neither the variable nor a home.
    """
    named = os.environ.get(CACHE_VARIABLE)
    try:
        return Path(named).expanduser() if named else Path.home() / ".cache" / "ddbench"
    except RuntimeError as error:
        raise UserError(f"you have no home folder here; name one for downloads in {CACHE_VARIABLE}") from error


def data_folder() -> Path | None:
    """Return `$DDBENCH_DATA`, or None when it is not set."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named else None


def user_path(text: str | Path) -> Path:
    """Return a path with `~` resolved where it names a user's home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def provided(name: str) -> Path | None:
    """Return `$DDBENCH_DATA/<name>.npz` where there is such a file; `name` is a bare name, never a path."""
    folder = data_folder()
    if folder is None or not name or Path(name).name != name:
        return None
    path = folder / f"{name}.npz"
    return path if os.path.isfile(path) else None  # `Path.is_file` would raise for a long name


def provided_names() -> list[str]:
    """Return the names that `$DDBENCH_DATA` has a file for, sorted."""
    folder = data_folder()
    return sorted(path.stem for path in folder.glob("*.npz") if is_name(path.stem)) if folder is not None else []
