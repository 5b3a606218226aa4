"""Locks on folders, between threads and processes, and where there can be none."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ddbench.errors import CannotWrite, UserError
from ddbench.io.locks import LOCK, awaited, claimed

Lock = Callable[[Path], AbstractContextManager[None]]
HOLD = """
import sys, time
from pathlib import Path
from ddbench.io.locks import claimed
with claimed(Path(sys.argv[1])):
    print(flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("lock", [claimed, awaited])
def test_a_lock_is_given_back(tmp_path: Path, lock: Lock) -> None:
    folder = tmp_path / "new" / "out"
    for _ in range(2):
        with lock(folder):
            assert [path.name for path in folder.iterdir()] == [LOCK]
            with pytest.raises(UserError, match="is in use by another ddbench"), claimed(folder):
                pass
    with pytest.raises(KeyError), lock(folder):
        raise KeyError
    with claimed(folder):
        pass


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    order = []

    def wait() -> None:
        with awaited(tmp_path):
            order.append("waited")

    thread = threading.Thread(target=wait)
    with claimed(tmp_path):
        thread.start()
        time.sleep(0.2)
        order.append("done")
    thread.join()
    assert order == ["done", "waited"]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        holder.stdout.readline()
    with pytest.raises(UserError, match="in use"), claimed(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with claimed(tmp_path):
        pass


@pytest.mark.parametrize("lock", [claimed, awaited])
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Lock, number: int
) -> None:
    def refuse(file: object, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(CannotWrite) as refused, lock(tmp_path):
        pass
    sentence = f"{tmp_path} cannot be locked ({os.strerror(number)}); choose an --out on a file system that has locks"
    assert str(refused.value) == sentence


@pytest.mark.parametrize("lock", [claimed, awaited])
def test_a_lock_that_cannot_be_opened_is_named(tmp_path: Path, lock: Lock) -> None:
    path = tmp_path / LOCK
    path.mkdir()
    with pytest.raises(CannotWrite) as refused, lock(tmp_path):
        pass
    assert str(refused.value) == f"cannot write {path}: Is a directory; choose another folder with --out"
