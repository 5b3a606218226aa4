"""A stand-in for a GPU where there is none: tensors without numbers, which the host cannot read, see `test_meta.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute import host
from ddbench.compute.generators import Generators
from ddbench.compute.shapes import ShapesOnly
from ddbench.meter.checkpoint import State
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget
from ddbench.task.hyperparameters import make_method
from ddbench.testing import modalities_of, tiny_training

META = torch.device("meta")
aten = torch.ops.aten


class Stray(AssertionError):
    """A tensor or a generator of the host is used where one of the device is needed."""


class Waited(AssertionError):
    """The host waits for the device where nothing says that it must."""


@dataclass
class MetaDevice:
    """Refuses what a GPU refuses, or waits for, beside what torch refuses of `meta` tensors.

    Args:
        reads: what the host has read so far, as (name in `WAITS`, in a step)
    """

    stepping: bool = False
    """true within a step: numbers of the host must be copied without waiting"""
    reads: list[tuple[str, bool]] = field(default_factory=list)

    def look(self, function: Any, tensors: list[Tensor], kwargs: Mapping[str, Any], result: Any) -> None:
        """Look at a new kind of operation."""
        strays = [tensor for tensor in tensors if not tensor.is_meta and tensor.ndim]
        if strays and any(tensor.is_meta for tensor in tensors) and function is not aten.copy_.default:
            raise Stray(f"{function} of {strays[0].device} and {META}")
        masks = [tensor for tensor in tensors if tensor.dtype is torch.bool]
        if function is aten.index_put_.default and masks:
            raise Waited("assignment by a mask waits for the number of its places")
        copied = function in (aten._to_copy.default, aten.copy_.default) and result.is_meta and strays
        if self.stepping and copied and not kwargs.get("non_blocking"):
            raise Waited(f"{function} of the host's tensor waits; copy with non_blocking=True")

    def read(self, tensor: Tensor, wait: str) -> Tensor:
        """Stand in for `host.read`."""
        if tensor.is_meta:
            self.reads.append((wait, self.stepping))
            if self.stepping and not host.WAITS[wait].within_steps:
                raise Waited(f"{wait!r} is read within a step")
        return READ(tensor, wait)


READ = host.read


class _Functions(TorchFunctionMode):
    """Looks at what torch does not tell a mode of dispatched operations."""

    def __init__(self, device: MetaDevice) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        generator = (kwargs or {}).get("generator")
        if generator is not None and isinstance(result, Tensor) and result.device.type != generator.device.type:
            raise Stray(f"a generator of {generator.device} draws numbers on {result.device}")
        made = func in (torch.tensor, torch.as_tensor) and result.is_meta
        if made and self._device.stepping and not any(isinstance(arg, Tensor) for arg in args):
            raise Waited("a tensor made of the host's numbers waits; use torch.full, or copy with non_blocking=True")
        return result


class StrictGenerators(Generators):
    """Generators that refuse another device than the one that they were first asked for."""

    def get(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        generator = super().get(name, device)
        if generator.device.type != torch.device(device).type:
            raise Stray(f"generator {name!r} lives on {generator.device} and is asked for on {device}")
        return generator


class StepMeter(Meter):
    """Says when a step is under way."""

    def __init__(self, device: MetaDevice, generators: Generators) -> None:
        super().__init__(Budget(), generators=generators, snapshots=(), device=META)
        self._meta = device
        self.counter.total = 0

    def steps(
        self, n: int, state: State, result: Callable[[], DistilledDataset] | None = None, name: str = "distil"
    ) -> Iterator[int]:
        for step in super().steps(n, state, result, name):
            with stepping(self._meta):
                yield step


@contextmanager
def stepping(device: MetaDevice) -> Iterator[None]:
    device.stepping = True
    try:
        yield
    finally:
        device.stepping = False


DEVICE = MetaDevice()
SHAPES = ShapesOnly(DEVICE.look)
"""one for all tests: shapes that one of them has worked out are known to the others"""


@contextmanager
def on_meta() -> Iterator[MetaDevice]:
    """Run the block on the stand-in."""
    DEVICE.reads, host.read = [], DEVICE.read
    try:
        with _Functions(DEVICE), SHAPES:
            yield DEVICE
    finally:
        host.read = READ


def distil_on_meta(
    cls: type[Any], settings: Mapping[str, Any], setting: str = "random", ipc: int = 2
) -> list[tuple[str, bool]]:
    """Run a method with these hyper-parameters on the tiny task; return what the host has read."""
    with on_meta() as device:
        distil_within(device, cls, settings, setting, ipc)
    return device.reads


def distil_within(
    device: MetaDevice, cls: type[Any], settings: Mapping[str, Any], setting: str = "random", ipc: int = 2
) -> None:
    """Run a method on the tiny task, inside the block of `on_meta`."""
    generators = StrictGenerators("meta")
    meter = StepMeter(device, generators)
    for modality in modalities_of(cls)[:1]:
        task = tiny_training(modality, setting, generators, ipc, "meta").task
        make_method(cls, settings).distill(task, meter)
    meter.finish()
