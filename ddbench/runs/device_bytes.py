"""The memory of a device that a run needs, from shapes alone: known, and refused where it does not fit, beforehand."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.boards.jobs import Job
from ddbench.compute.compiling import Compiler, worth_compiling
from ddbench.compute.generators import Generators
from ddbench.compute.memory import OutOfMemoryBudget, device_memory
from ddbench.compute.shapes import ShapesOnly
from ddbench.data import Dataset, Preprocessing, RealData
from ddbench.data.augmentation import DSA
from ddbench.data.builtin import Size
from ddbench.data.preprocess import WHITENING
from ddbench.meter.checkpoint import State
from ddbench.meter.meter import Meter
from ddbench.networks import InitialWeights, build_network
from ddbench.networks.base import parameter_count
from ddbench.records.cell import Budget, Cell
from ddbench.registry import CONTROL, find_method
from ddbench.task.pretrained import pool_for_training
from ddbench.task.settings import SETTINGS, SettingInputs
from ddbench.task.task import Method, Task

META = torch.device("meta")
READS_NUMBERS = "meta"
"""what torch says of an operation that needs the numbers of tensors which have none"""


def device_bytes(method: Method, cell: Cell, size: Size, compiled: bool) -> int:
    """Return the largest number of bytes that tensors of a run's distillation take on a GPU at a time.

    The method runs on tensors without numbers, with all its settings: the first two steps and the last of each loop,
    and one expert for all. Eager operations are counted, beside which a compiled step holds less; not counted are what
    CUDA, its libraries' work spaces and the allocator's gaps take, and networks that a queue gathers in later steps.
    """
    shapes = ShapesOnly()
    with shapes:
        task = _task(cell, size, _Eager(compiled))
        method.distill(task, _FewSteps())
    return shapes.peak


def check_fits(job: Job, size: Size | None, device: torch.device) -> None:
    """Refuse a run whose tensors do not fit into the memory of a GPU, or into its budget of memory.

    Controls are not looked at, nor methods that read numbers in their steps, data that do not tell their size, and
    CPUs. A method that raises while its bytes are counted is not refused, but a warning says what it raised.

    Raises:
        OutOfMemoryBudget: when it does not fit; the message has both figures.
    """
    allowed = device_memory(device)
    if allowed is None or size is None or find_method(job.method).family == CONTROL:
        return
    allowed = min(allowed, job.cell.budget.peak_bytes or allowed)
    needed = _needed(job, size)
    if needed is not None and needed > allowed:
        raise OutOfMemoryBudget(
            f"{job.cell.method} on {job.cell.dataset} at ipc {job.cell.ipc} needs {needed:,} bytes of the device, "
            f"{allowed:,} are allowed; lower batch_real or another of its sizes, or take a smaller network"
        )


def too_large(jobs: list[Job], device: torch.device) -> Iterator[str]:
    """Yield a sentence for each cell that does not fit."""
    if device_memory(device) is None:
        return
    for job in {job.cell.model_dump_json(): job for job in jobs}.values():
        try:
            check_fits(job, job.size(), device)
        except OutOfMemoryBudget as error:
            yield str(error)


def _needed(job: Job, size: Size) -> int | None:
    """Return the bytes; None, with a warning if that is not why, for a method that cannot do without numbers."""
    try:
        return device_bytes(job.make_method(), job.cell, size, _is_compiled(job))
    except Exception as error:
        said = str(error).partition("\n")[0]
        if READS_NUMBERS not in said.lower():
            reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
            warnings.warn(
                f"whether {job.cell.method} fits into the device's memory is not known: on tensors that have shapes "
                f"and no numbers it raised {reason}",
                RuntimeWarning,
                stacklevel=3,
            )
        return None


def _is_compiled(job: Job) -> bool:
    budget = job.cell.budget
    return worth_compiling(budget.seconds, budget.steps) if job.compile is None else job.compile


def _task(cell: Cell, size: Size, compiler: Compiler) -> Task:
    """The task of a cell, without numbers; its labels alone have some."""
    kind = torch.float32 if cell.preprocessing in WHITENING else torch.uint8  # as the device keeps images
    labels = torch.arange(size.classes).repeat_interleave(torch.tensor(size.counts))
    images = torch.empty(len(labels), *size.shape, dtype=kind, device=META)
    names = tuple(map(str, range(size.classes)))
    data = Dataset(cell.dataset, images, labels, images[:0], labels[:0], names, given_digest=cell.dataset_digest)
    network = build_network(cell.network.name, data.shape, len(names), cell.network.parameters).to(META)
    channels, generators = size.shape[0], Generators("shapes")
    weights = torch.empty(cell.pool.train if cell.pool else 1, parameter_count(network), device=META)
    inputs = SettingInputs(InitialWeights(network), generators, META, pool_for_training(weights, network), cell.attack)
    return Task(
        RealData(data, Preprocessing("normalize", (0.0,) * channels, (1.0,) * channels).fit(data), META),
        network,
        shape=data.shape,
        classes=len(names),
        ipc=cell.ipc,
        setting=SETTINGS[cell.setting](inputs),
        augmentation=DSA.for_dataset(cell.dataset),
        generators=generators,
        device=META,
        compiler=compiler,
    )


class _Eager(Compiler):
    """Compiles nothing, and lets methods take the way that they take where steps are compiled."""

    def _either(self, eager: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
        return eager


class _FewSteps(Meter):
    """Gives every loop its first two steps and its last, and makes cached tensors of one name once."""

    def __init__(self) -> None:
        super().__init__(Budget(), device=META)
        self._made: dict[str, dict[str, Tensor]] = {}

    def steps(
        self, n: int, state: State, result: Callable[[], DistilledDataset] | None = None, name: str = "distil"
    ) -> Iterator[int]:
        yield from sorted({0, 1, n - 1} & set(range(n)))

    def cached(
        self,
        name: str,
        key: Mapping[str, Any],
        make: Callable[[torch.Generator], dict[str, Tensor]],
        device: torch.device | None = None,
    ) -> dict[str, Tensor]:
        if name not in self._made:
            self._made[name] = super().cached(name, key, make, device)
        return self._made[name]

    def log(self, **values: Tensor | float) -> None:
        """Log nothing."""
