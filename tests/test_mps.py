"""Apple's `mps` as a device, as far as it can be tried without one: names, clocks, memory, no float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import ddbench
from ddbench.compute import clock, device, environment, memory
from ddbench.compute.clock import ProcessClock, WallClock, clock_for
from ddbench.compute.compiling import worth_compiling
from ddbench.compute.device import MPS, resolve_device, wait_for, with_float64
from ddbench.compute.generators import seeded
from ddbench.data import real, whitening
from ddbench.data.preprocess import Preprocessing
from ddbench.data.real import RealData
from ddbench.errors import UserError
from ddbench.leaderboard.columns import CONDITIONS
from ddbench.leaderboard.rows import rows
from ddbench.networks import Chunks, build_network
from ddbench.networks.chunks import NUMBERS
from ddbench.records.schema import Record
from ddbench.registry import discover
from ddbench.runs.executors.local import Local
from ddbench.runs.outside import GRACE_SECONDS
from factories import Call, jobs_of, make_record, toy

CPU, ARTIFACT = torch.device("cpu"), "sha256:" + "a" * 64


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine with `mps`, and what torch was asked to wait for."""
    waited = list[str]()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    return waited


def test_names(apple: list[str]) -> None:
    assert resolve_device("mps") == resolve_device("mps:0") == MPS
    assert resolve_device("auto").type != "mps"
    with pytest.raises(UserError, match=r"device 'mps:1' asked for, but torch sees no such GPU of Apple here"):
        resolve_device("mps:1")
    assert Local.named("mps", 4).devices == [MPS]


def test_without_one_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"device 'mps' asked for, .* use --device cpu"):
        resolve_device("mps")


def test_seconds_are_those_of_the_wall(apple: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = clock_for(MPS)
    assert isinstance(found, WallClock)
    assert isinstance(clock_for(CPU), ProcessClock)
    moments = iter([3.0, 5.5])
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(moments))
    assert (found.tick(), found.settle(), found.helpers(), found.ahead) == (3.0, 5.5, 0.0, 0)
    assert apple == ["mps", "mps"]
    wait_for(CPU)
    assert len(apple) == 2


def test_records_and_tables_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_apple_chip", lambda: "Apple M2")
    assert environment.environment(MPS, 1, False)["device"] == "Apple M2 (mps, wall seconds)"
    record = make_record(device="mps")
    assert Record.model_validate_json(record.model_dump_json()).result.cell.device == "mps"
    (row,) = rows([record])
    assert CONDITIONS["threads"](row) == "mps (wall seconds), 1 thread"


def test_the_name_of_the_chip_is_what_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*arguments: Any, **options: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(environment.subprocess, "run", absent)
    monkeypatch.setattr(environment.platform, "processor", lambda: "arm")
    assert environment._apple_chip() == "arm"


def test_cells_are_of_their_own_device(apple: list[str], short: None) -> None:
    discover()
    (there,) = jobs_of("random_real")
    from ddbench.boards.board import make_board
    from ddbench.boards.jobs import resolve

    content = {"board": "b", "datasets": "digits", "ipc": 1, "protocol": "short-3@1", "entries": [{"methods": ["dm"]}]}
    (here,) = resolve(make_board(content), "mps")
    assert (there.cell.device, here.cell.device) == ("cpu", "mps")


def test_a_command_says_what_a_second_is(call: Call, apple: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ddbench, "distill", lambda *arguments, **options: make_record("dm", device="mps", artifact=ARTIFACT)
    )
    code, _, err = call("distill", "dm", "-d", "digits", "--device", "mps", "--out", "x.safetensors")
    first, last = err.splitlines()
    assert (code, first.partition(",")[0]) == (0, "--device mps: seconds are wall seconds")
    assert last.startswith("x.safetensors: 10.0 wall seconds, no steps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    code, _, err = call("distill", "dm", "-d", "digits", "--device", "mps", "--out", "x.safetensors")
    assert (code, err.startswith("ddbench: device 'mps' asked for")) == (2, True)


def test_what_is_asked_of_every_device_is_known_of_this() -> None:
    assert NUMBERS.keys() == GRACE_SECONDS.keys() == {"cpu", "cuda", "mps"}
    assert not worth_compiling(None, None, "mps")
    network = build_network("convnet", (1, 8, 8), 2, {"depth": 1, "width": 4})
    assert Chunks(network, (1, 8, 8)).most == NUMBERS["cpu"] // (4 * 8 * 8)


def test_memory(apple: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shares, emptied = list[float](), list[bool]()
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 7)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 100)
    monkeypatch.setattr(torch.mps, "set_per_process_memory_fraction", shares.append)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append(True))
    assert memory.peak_bytes(MPS) == 7
    for allowed in (25, 1000, None):
        memory.limit_device_memory(allowed, MPS)
    assert shares == [0.25, 1.0]
    memory.release_device_memory()
    assert emptied


# -- no float64 -----------------------------------------------------------------------------------------------------


class NoFloat64(TorchDispatchMode):
    """Refuses to draw random numbers in float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if "rand" in str(func):
            assert out.dtype != torch.float64
        return out


def test_float64_is_computed_on_the_cpu() -> None:
    assert with_float64(MPS) == with_float64(torch.device("mps")) == CPU
    assert with_float64(torch.device("cuda", 1)) == torch.device("cuda", 1)


def test_keys_of_batches_are_drawn_in_float32_and_hardly_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "with_float64", lambda where: device.MPS)  # another one than the data's
    with NoFloat64():
        keys = real._keys(torch.Size((10, 5000)), seeded(0), CPU)
    assert keys.dtype == torch.float64
    assert (keys.min() >= 0, keys.max() < 1, len(keys.unique())) == (True, True, keys.numel())
    assert abs(float(keys.mean()) - 0.5) < 0.01

    data = toy()
    drawn = RealData(data, Preprocessing.for_dataset(data, "normalize").fit(data), "cpu").batch(
        3, seeded(1), of=[0, 1, 2]
    )
    assert [int((drawn[1] == c).sum()) for c in range(3)] == [3, 3, 3]


def test_whitening_is_fitted_as_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(256, (40, 1, 3, 3), generator=seeded(0), dtype=torch.uint8)
    one = whitening.RegularizedZCA(0.1).fit(images)(images.float())
    asked = list[torch.device]()

    def exact(where: torch.device) -> torch.device:
        asked.append(where)
        return CPU

    monkeypatch.setattr(whitening, "with_float64", exact)
    two: Tensor = whitening.RegularizedZCA(0.1).fit(images)(images.float())
    assert (asked, torch.equal(one, two)) == ([CPU], True)
