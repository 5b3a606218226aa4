"""Light fixtures that several test modules share."""

from __future__ import annotations

import gc
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from ddbench import registry
from ddbench.cli import main
from ddbench.evaluation.protocols import Protocol
from factories import Call, write_method

LEADERBOARDS = Path(__file__).resolve().parent.parent / "leaderboards"
SAMPLE = (
    "*/cpu/random_real/mnist-ipc1-seed?-*",
    "*/cpu/*_matching/mnist-ipc1*-seed?-*",
    "*/cpu/backprop/mnist-ipc1-*",
    "*/cpu/distribution_matching/fashion_mnist-ipc1-*",
    "*/cpu/herding/*mnist-ipc1-*",
    "*/mnist/*/mnist-ipc1-*",
)
"""committed records and artefacts: several families, seeds, variants and data sets, and a published figure"""

# The same examples every time, and no file kept of them.
settings.register_profile(
    "default",
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("hundreds", parent=settings.get_profile("default"), max_examples=200)
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=10_000, derandomize=False)
settings.load_profile("default")


def pytest_configure() -> None:
    """Let the garbage collector rest while tests are collected."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking at all that was imported, over and over: it stays."""
    gc.collect()
    gc.freeze()
    gc.enable()


@dataclass
class CountingClock:
    """Stands still unless a test advances it."""

    now: float = 0.0
    ahead: int = 0

    def tick(self) -> float:
        return self.now

    def settle(self) -> float:
        return self.now

    def helpers(self) -> float:
        return 0.0

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock()


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> registry.Registry[type]:
    """METHODS and BROKEN, emptied for one test."""
    registry.discover()  # first, or the methods that ship would be registered for this test alone
    monkeypatch.setattr(registry.METHODS, "_objects", {})
    monkeypatch.setattr(registry.METHODS, "_aliases", {})
    monkeypatch.setattr(registry, "BROKEN", {})
    return registry.METHODS


@pytest.fixture(scope="session")
def some_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like `leaderboards` with a few of its records and artefacts; not to be changed."""
    folder = tmp_path_factory.mktemp("some") / "leaderboards"
    for path in [
        *(found for pattern in SAMPLE for found in LEADERBOARDS.glob(pattern)),
        LEADERBOARDS / "published.yaml",
    ]:
        target = folder / path.relative_to(LEADERBOARDS)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


@pytest.fixture(scope="session")
def site(some_records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of `some_records`; not to be changed."""
    from ddbench.site import write_site

    return write_site(some_records, tmp_path_factory.mktemp("pages") / "site").parent


@pytest.fixture
def write(tmp_path: Path, methods: registry.Registry[type]) -> Callable[..., str]:
    """`write_method` into a temporary folder; the method is registered for this test alone."""
    return partial(write_method, tmp_path)


@pytest.fixture
def forget() -> Callable[[str], None]:
    """Lets a method's file be imported anew, as a new command does."""

    def forgotten(path: str) -> None:
        for name in [name for name, module in sys.modules.items() if getattr(module, "__file__", None) == path]:
            del sys.modules[name]
        registry.METHODS._objects.pop(Path(path).stem)

    return forgotten


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run `ddbench` in this process, in an empty folder; return the exit code, standard output and standard error."""
    registry.discover()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DDBENCH_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    forget_later(registry.METHODS, monkeypatch)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ddbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


def forget_later(some: registry.Registry[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register what is forgotten after it."""
    for names in ("_objects", "_aliases"):
        monkeypatch.setattr(some, names, dict(getattr(some, names)))


@pytest.fixture
def protocols(monkeypatch: pytest.MonkeyPatch) -> registry.Registry[Protocol]:
    """PROTOCOLS, which forgets after the test what that has registered."""
    forget_later(registry.PROTOCOLS, monkeypatch)
    return registry.PROTOCOLS


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[registry.Registry[Any], str, Any], None]:
    """Put something into a registry for one test, also in place of what has its name."""

    def put(into: registry.Registry[Any], name: str, thing: Any) -> None:
        monkeypatch.setitem(into._objects, name, thing)

    return put


@pytest.fixture
def short(register: Callable[..., None]) -> None:
    """A protocol of three steps; not known to other processes."""
    register(registry.PROTOCOLS, "short-3@1", Protocol("short-3@1", "test", steps=3, short=2, batch_size=5))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A gigabyte more than is in use; who asks for more gets an error that is no refusal."""
    used = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    assert used is not None
    resource.setrlimit(resource.RLIMIT_DATA, (int(used[1]) * 1024 + 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files without tests for a GPU unread where those alone are asked for: a lease of one is short."""
    alone = config.getoption("markexpr") == "gpu" and collection_path.suffix == ".py"
    return True if alone and b"mark.gpu" not in collection_path.read_bytes() else None
