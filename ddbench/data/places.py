"""Where data lies: the user's own folder and the download cache, both named by environment variables."""

from __future__ import annotations

import os
from pathlib import Path

DATA_VARIABLE = "DDBENCH_DATA"
CACHE_VARIABLE = "DDBENCH_CACHE"


def cache_folder() -> Path:
    """`$DDBENCH_CACHE`, or `~/.cache/ddbench`; it need not exist."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "ddbench"


def data_folder() -> Path | None:
    """`$DDBENCH_DATA`, or None when it is not set."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named else None


def provided(name: str) -> Path | None:
    """`$DDBENCH_DATA/<name>.npz` where there is such a file; `name` is a bare name, never a path."""
    folder = data_folder()
    if folder is None or not name or Path(name).name != name:
        return None
    path = folder / f"{name}.npz"
    return path if path.is_file() else None


def provided_names() -> list[str]:
    """Names that `$DDBENCH_DATA` has a file for, sorted."""
    folder = data_folder()
    return sorted(path.stem for path in folder.glob("*.npz")) if folder is not None else []
