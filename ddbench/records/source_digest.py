"""Which code made something: a digest of the file that holds it and of the shared parts that it imports.

A digest covers a method's file and the modules of `ddbench.families`, `ddbench.decoders`, `ddbench.data.augmentation`
and `ddbench.graphs` that it imports, directly or by way of others of these, as syntax trees without docstrings, field
notes and comments. Wording and formatting do not change it; any change of code does. What else decides a result, such
as the meter, the evaluation and the networks, is named by the git revision in the record.

Such a digest begins with `v2:`. The records before it have one that begins with `sha256:`, of the bytes of the method's
file and of those modules of the former `ddbench.matching` that it imported. They are no longer here, so an old digest
is recognised for a file that imported none of them, and fits no other.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path
from typing import Any

from ddbench.errors import UserError
from ddbench.io.atomic import digest
from ddbench.records.syntax import Syntax, parse_syntax

PREFIX = "v2:"
PACKAGE = Path(__file__).resolve().parents[1]
SHARED = ("ddbench.families", "ddbench.decoders", "ddbench.data.augmentation", "ddbench.graphs")
"""packages and modules that are part of what a method does"""


def source_digest(made: type[Any] | Callable[..., Any]) -> str:
    """Return the digest of the file that defines a method's class, or a function."""
    return file_source_digest(source_file(made))


def source_file(made: type[Any] | Callable[..., Any]) -> Path:
    """Return the file that defines a class or a function.

    Raises:
        UserError: for code without one, as of a notebook's cell: other processes could not run it.
    """
    try:
        path = Path(inspect.getfile(made))
    except (OSError, TypeError):
        path = Path("")
    if not path.is_file():
        raise UserError(f"{made.__name__} has no file, as code of a notebook's cell; write it into one and name that")
    return path


def file_source_digest(path: Path, package: Path | None = None) -> str:
    """Return the digest of a method's file, which is read and not run.

    Args:
        package: the folder `ddbench` of the shared parts; None takes the one that runs

    Raises:
        UserError: when it cannot be read or is no Python.
    """
    own, shared = _syntax(path), _shared_parts(path, package or PACKAGE)
    texts = [own.text, *(f"{module} {_syntax(shared[module]).text}" for module in sorted(shared))]
    return PREFIX + hashlib.sha256("\n".join(texts).encode()).hexdigest()


def made_by(path: Path, recorded: str) -> bool:
    """Return whether a recorded digest is that of a file as it is now, by the rule that the digest's prefix names.

    Raises:
        UserError: when the file cannot be read, or has to be parsed and is no Python.
    """
    return recorded == (file_source_digest(path) if recorded.startswith(PREFIX) else digest(_source(path)))


def short_digest(recorded: str) -> str:
    """Return 16 hexadecimal digits of a digest, whichever rule it is of: a part of file names."""
    return recorded.rpartition(":")[2][:16]


def _shared_parts(path: Path, package: Path) -> dict[str, Path]:
    """Return the shared modules that a file imports, also by way of others of them, by name."""
    found: dict[str, Path] = {}
    seen, waiting = set[str](), [path]
    while waiting:
        for module in _imported_by(waiting.pop(), package) - seen:
            seen.add(module)
            part = _file(module, package)
            if part is not None:
                found[module] = part
                waiting.append(part)
    return found


def _imported_by(path: Path, package: Path) -> set[str]:
    """Return the names in the shared packages that a file itself imports, and those of the packages around them."""
    place, root = path.resolve().parent, package.resolve()
    inside = place == root or root in place.parents
    around = ".".join(("ddbench", *place.relative_to(root).parts)) if inside else ""
    imports = {name for name in _syntax(path).imports if around or not name.startswith(".")}
    parts = [resolve_name(name, around).split(".") for name in imports]
    return {module for names in parts for module in accumulate(names, "{}.{}".format) if _is_shared(module)}


def _is_shared(module: str) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in SHARED)


def _file(module: str, package: Path) -> Path | None:
    """Return the file of a module of `ddbench`, or None if the name is that of something in a module."""
    path = package.joinpath(*module.split(".")[1:])
    return next((file for file in (path / "__init__.py", path.with_name(f"{path.name}.py")) if file.is_file()), None)


def _syntax(path: Path) -> Syntax:
    source = _source(path)
    try:
        return parse_syntax(source)
    except SyntaxError as error:
        line = f" (line {error.lineno})" if error.lineno else ""
        raise UserError(f"{path} is no Python: {error.msg}{line}; mend it") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path} is no Python that can be parsed: {error}; mend it") from error


def _source(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; give a method's file") from error
