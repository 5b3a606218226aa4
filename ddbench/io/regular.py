"""Files that end: reading a pipe or a device may wait for ever."""

from __future__ import annotations

from pathlib import Path


def check_regular(path: Path) -> None:
    """Raise ValueError for what exists and is neither a file nor a folder, before it is opened."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError("it is a pipe or a device")
