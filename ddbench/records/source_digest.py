"""Which code made something: a digest of the file that holds it and of the shared parts that it stands on."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddbench.io.atomic import digest

MATCHING = Path(__file__).resolve().parent / "matching"
PART = re.compile(r"^\s*from ddbench\.matching\.(\w+) import", re.MULTILINE)


def source_digest(made: type[Any] | Callable[..., Any]) -> str:
    """Of the file that defines a method's class, or a function, and of the shared parts."""
    return file_source_digest(Path(inspect.getfile(made)))


def file_source_digest(path: Path) -> str:
    """The same of a file, which is read and not run."""
    return digest(b"".join(part.read_bytes() for part in (path, *sorted(_parts(path)))))


def _parts(path: Path, found: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """The files of `ddbench.families` that a file imports, also by way of others of them."""
    for module in PART.findall(path.read_text()):
        part = MATCHING / f"{module}.py"
        if part.is_file() and part not in found:
            found = _parts(part, found | {part})
    return found
