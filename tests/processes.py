"""The command in a process of its own, and what it starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVALUATE = [
    *("evaluate", "-m", "random_real", "-d", "digits", "--ipc", 1, "--seeds", 1),
    *("--network", "convnet,depth=1,width=8", "--device", "cpu", "--budget", "5s", "--out"),
]
"""a command of a few seconds; the folder is to follow"""


@contextmanager
def watchdog(seconds: float = 10.0) -> Iterator[None]:
    """Interrupt the block, whatever it waits for, if it takes longer."""

    def bark(number: int, frame: object) -> None:
        raise TimeoutError(f"no end after {seconds:g} s")

    before = signal.signal(signal.SIGUSR1, bark)
    timer = threading.Timer(seconds, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def start(board: Path, out: Path, *options: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """`ddbench evaluate`, whose messages go to a log beside the board."""
    code = "from ddbench.cli import main; main()"
    command = [sys.executable, "-c", code, "evaluate", str(board), "--out", str(out), *options]
    # No git, so that a commit between two commands does not change the artefacts' headers.
    fixed = {"GIT_DIR": str(board.parent / "no-git"), "OMP_NUM_THREADS": "1"}
    with (board.parent / f"{out.name}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, **fixed, **(env or {})},
            cwd=board.parent,
            start_new_session=True,  # so that a signal can be sent to all of them, as a terminal does
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run aside
        )


def console(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The `ddbench` command given in a folder, started as an installer's script starts it."""
    script = folder.parent / "bin" / "ddbench"
    script.parent.mkdir(exist_ok=True)
    script.write_text("import sys\nfrom ddbench.cli import main\nsys.exit(main())\n")
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def install(folder: Path, group: str, name: str, source: str) -> None:
    """Lay a module and the entry point that announces it into a folder, as an installer would."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}\n")


def hostile_folder(folder: Path) -> Path:
    """A folder with modules that raise under names that ddbench imports, and with a copy of ddbench itself."""
    for name in ("methods/__init__.py", "statistics.py", "torch.py", "sklearn.py", "signal.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"raise RuntimeError('{name} of the current directory was imported')\n")
    copy_checkout(folder, "ddbench")
    return folder


def copy_checkout(folder: Path, *packages: str) -> None:
    """Copy packages of this repository."""
    for name in packages:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))


def descendants(root: int) -> list[int]:
    parents = {int(stat.parent.name): status(int(stat.parent.name))[1] for stat in Path("/proc").glob("[0-9]*/stat")}
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]


def runs_of(command: int) -> list[int]:
    """The processes of a command's runs: what the server that it has started has forked."""
    own = [child for child in descendants(command) if status(child)[1] == command]
    return [child for child in descendants(command) if child not in own]


def alive(pid: int) -> bool:
    return status(pid)[0] not in "XZ"


def status(pid: int) -> tuple[str, int]:
    """State and parent of a process; `X` where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X", 0
    state, parent = text.rpartition(")")[2].split()[:2]
    return state, int(parent)
