"""Networks that a user names by the file of their class, `./net.py:Small`: where it lies, and its digest in a cell.

A cell, a record and an artefact say the class and the digest of its file and never a path, so that none of them decides
which file is run: this process knows the files that its user, or a board, has named.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from ddbench.errors import UserError, suggestion
from ddbench.records.cell import NetworkSpec
from ddbench.records.source_digest import PREFIX, file_source_digest

CODE = "code"
"""parameter of such a network: the first digits of the digest of its file"""
DIGITS = 12
FILE = re.compile(r"(?P<file>.*\.py)(?::(?P<cls>.*))?", re.DOTALL)
NetworkFiles = tuple[tuple[str, str, str], ...]
"""name, code and path of each network, to tell another process"""
_PATHS: dict[tuple[str, str], Path] = {}


def is_file_of_network(text: str) -> bool:
    """Return whether a network's name is that of a file, `./net.py:Small`, or of one without its class."""
    return FILE.fullmatch(text) is not None


def named_network(text: str) -> tuple[str, str]:
    """Return name and code of the network that `./net.py:Small` names, and remember where its file lies.

    The file is read and not run.

    Raises:
        UserError: when there is no such file, it is no Python, or no class is named.
    """
    found = FILE.fullmatch(text)
    assert found is not None
    path, cls = Path(found["file"]).resolve(), found["cls"]
    if not path.is_file():
        raise UserError(f"no file at {path}; write ./FILE.py:CLASS, with the class of a network in that file")
    code = file_code(path)
    if not cls:
        known = ", ".join(_classes(path)) or "none yet"
        raise UserError(f"{found['file']} names a file and no class; write {found['file']}:CLASS (it has {known})")
    name = f"{path.stem}.{cls}"
    _PATHS[name, code] = path
    return name, code


def file_code(path: Path) -> str:
    """Return what names the content of a network's file in a cell: comments and formatting do not change it.

    Raises:
        UserError: when it cannot be read or is no Python.
    """
    return file_source_digest(path).removeprefix(PREFIX)[:DIGITS]


def network_file(name: str, code: str) -> Path:
    """Return the file of a network that was named in this process, or remembered by it.

    Raises:
        UserError: when nobody has named it here, or the file has changed since.
    """
    path = _PATHS.get((name, code))
    if path is None:
        stem, _, cls = name.rpartition(".")
        others = [known for known in _PATHS if known[0] == name]
        if others:
            raise UserError(f"network {name} is of a file with code {code}, and {_PATHS[others[-1]]} has "
                            f"{others[-1][1]}; give the file as it was")  # fmt: skip
        raise UserError(
            f"network {name} is of a file that is not named here, {stem}.py, whose code has the digest {code}; "
            f"give it as --network ./{stem}.py:{cls}"
        )
    if file_code(path) != code:
        raise UserError(f"{path} has changed since the command began; run the command again")
    return path


def check_files(networks: Iterable[NetworkSpec]) -> None:
    """Raise UserError for the first network of a file that this process does not know, or that has changed since."""
    for network in networks:
        if CODE in network.parameters:
            network_file(network.name, str(network.parameters[CODE]))


def files_of(networks: Iterable[NetworkSpec]) -> NetworkFiles:
    """Return what another process has to know of the files of these networks; see `remember_files`."""
    keys = {(network.name, str(network.parameters.get(CODE))) for network in networks}
    return tuple((*key, str(_PATHS[key])) for key in sorted(keys) if key in _PATHS)


def remember_files(files: NetworkFiles) -> None:
    """Remember where the files of networks lie, as the process that was told them by its user."""
    _PATHS.update({(name, code): Path(path) for name, code, path in files})


def unknown_class(path: Path, cls: str) -> UserError:
    """Return the complaint about a class that a file does not have."""
    return UserError(f"{path} has no class {cls!r}; {suggestion(cls, _classes(path))}")


def _classes(path: Path) -> list[str]:
    return [node.name for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ClassDef)]
