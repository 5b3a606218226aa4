"""Lets `ddbench`, in this process and in those that it starts, see the standard library as Windows has it.

Only modules of `ddbench` see it so: torch and Python itself go on as on this system. What Windows lacks is missing, and
what it refuses is refused. This shows that `ddbench` needs none of that, and not that Windows does the rest.
"""

from __future__ import annotations

import builtins
import sys
from types import ModuleType
from typing import Any

ABSENT = ("fcntl", "resource", "termios", "pwd", "grp", "pty", "posix", "syslog")
"""modules that Windows does not have"""
HIDDEN = {
    "os": "fork forkpty getuid geteuid getgid setsid killpg getpgid sched_getaffinity sched_setaffinity mkfifo uname "
    "getloadavg chown fchmod fchown sysconf wait3 wait4 WNOHANG O_NONBLOCK O_NOFOLLOW O_DIRECTORY O_CLOEXEC",
    "signal": "SIGKILL SIGHUP SIGPROF SIGALRM SIGUSR1 SIGUSR2 SIGCHLD setitimer getitimer ITIMER_PROF alarm pause",
    "multiprocessing": "",
    "multiprocessing.context": "ForkProcess ForkContext ForkServerProcess ForkServerContext",
    "sys": "",
}
"""names that Windows' modules do not have"""


class Seen(ModuleType):
    """A module as `ddbench` sees it."""

    def __init__(self, real: ModuleType, hidden: list[str], given: dict[str, Any]) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(_real=real, _hidden=frozenset(hidden), **given)

    def __getattr__(self, name: str) -> Any:
        if name in self._hidden:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self._real, name)


def hide() -> None:
    """From now on, modules of `ddbench` that are imported see Windows."""
    import multiprocessing
    import multiprocessing.context
    import os
    import signal

    def open_file(path: Any, *arguments: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return os.open(path, *arguments, **options)

    def context(method: str | None = None) -> Any:
        if method not in (None, "spawn"):
            raise ValueError(f"cannot find context for {method!r}")
        return multiprocessing.get_context("spawn")

    given: dict[str, dict[str, Any]] = {
        "os": {"open": open_file, "name": "nt"},
        "multiprocessing": {"get_all_start_methods": lambda: ["spawn"], "get_context": context},
        "sys": {"platform": "win32"},
    }
    real = {one.__name__: one for one in (os, signal, multiprocessing, multiprocessing.context, sys)}
    seen = {name: Seen(real[name], names.split(), given.get(name, {})) for name, names in HIDDEN.items()}
    find = builtins.__import__

    def as_on_windows(
        name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> ModuleType:
        importer = (globals or {}).get("__name__", "")
        ours = level == 0 and (importer == "__main__" or importer.partition(".")[0] in ("ddbench", "methods"))
        if ours and name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        found = find(name, globals, locals, fromlist, level)
        return seen[name] if ours and name in seen and (fromlist or "." not in name) else found

    builtins.__import__ = as_on_windows
