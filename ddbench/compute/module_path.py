"""The module path of processes that ddbench starts: the command's own, and nothing of the current directory."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import ORIGINAL_DIR  # type: ignore[attr-defined]

CHANGING = threading.Lock()


def module_path() -> list[str]:
    """Return `sys.path` without the current directory.

    A relative entry, such as the '' of `python -c`, of a notebook and of a script on standard input, is left out. It is
    kept, as the folder that it stands for, where the command itself has imported something from there.
    """
    path = list[str]()
    for entry in sys.path:
        if _is_relative(entry):
            starts = dict.fromkeys((ORIGINAL_DIR or os.getcwd(), os.getcwd()))
            path += filter(_is_used, (os.path.normpath(os.path.join(start, entry)) for start in starts))
        else:
            path.append(entry)
    return path


@contextmanager
def inherited_module_path() -> Iterator[None]:
    """Let Python processes that are started inside find modules at `module_path()`.

    `multiprocessing` starts its servers by `python -c`, which looks in the current directory first, and sends this
    process's path only once they run, and only to what they start. So they also get it by their environment.
    """
    path = module_path()
    variables = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(os.path.isabs, path))}
    with CHANGING:
        former, environment = sys.path, {name: os.environ.get(name) for name in variables}
        sys.path = path
        os.environ.update(variables)
        try:
            yield
        finally:
            sys.path = former
            for name, value in environment.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _is_relative(entry: str) -> bool:
    """Return whether an entry is a folder relative to the current directory; an import hook's own entries are not."""
    return not os.path.isabs(entry) and os.path.exists(entry or os.curdir)


def _is_used(folder: str) -> bool:
    """Return whether this process has imported a module from a folder on its path."""
    inside = os.path.join(folder, "")
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and file.startswith(inside):
            dotted = file.removeprefix(inside).replace(os.sep, ".")  # `a.b.py` or `a.b.__init__.py` for `a.b`
            if dotted.startswith(f"{name}."):
                return True
    return False
