"""A modality is a kind of data: how a cell of it is checked, distilled and evaluated. What runs cells asks it here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.provenance import Provenance
from ddbench.compute.compiling import Compiler
from ddbench.compute.generators import Generators
from ddbench.data.builtin import Size
from ddbench.evaluation.protocols import AnyProtocol
from ddbench.networks.build import stated
from ddbench.records.cell import Cell, NetworkSpec
from ddbench.records.schema import Score

Report = Callable[[str, float], None]
"""told the name of a stage and the share of it that is done"""


Described = Cell | Provenance
"""what a score depends on beside the artefact: a cell of a record, or what an artefact's header says"""


@dataclass(frozen=True)
class Place:
    """A device with a compiler for it, and a function that is told how far a computation is."""

    device: torch.device
    compiler: Compiler = field(default_factory=Compiler)
    report: Report = lambda stage, share: None


class Data(Protocol):
    """A data set with the split that a cell scores on."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...

    def check(self, artifact: DistilledDataset, described: Described, seed: int | None) -> None:
        """Raise ValueError where the artefact is not what a run of a cell on these data may leave.

        Args:
            seed: of the run; None where it is not known
        """
        ...


@dataclass(frozen=True)
class TrainingFile:
    """A file that was written for runs to learn from."""

    path: Path
    digest: str
    """digest of its content, which an earlier run may have changed"""


class Training(Protocol):
    """What a run distils with: training data and no other."""

    @property
    def task(self) -> Any:
        """What the method gets."""
        ...

    @property
    def origin(self) -> Mapping[str, Any]:
        """What decides tensors that runs share through the cache, beside device, threads and versions."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the artefact's header says of the data."""
        ...

    def check(self, artifact: DistilledDataset) -> None:
        """Raise ValueError where the artefact is not what the task asked for."""
        ...


class Evaluator(Protocol):
    """Scores artefacts under one protocol with one network."""

    @property
    def protocol(self) -> AnyProtocol: ...

    def score(self, artifact: DistilledDataset, *, seed: int, short: bool = False) -> Score:
        """Train the seed's network, or fit its predictor, on the artefact and test it.

        Args:
            seed: of the evaluation network, 0, 1, ...
            short: the protocol's short form, without further metrics
        """
        ...

    def reporting(self, report: Callable[[float], None]) -> Evaluator:
        """The same evaluator, which tells `report` the share of a training that is done, before every step."""
        ...

    def under(self, network: NetworkSpec, protocol: AnyProtocol) -> Evaluator:
        """The evaluator of another network or protocol on the same data."""
        ...

    def starts_as(self, provenance: Mapping[str, Any]) -> bool:
        """Return whether seeds name the same networks as where an artefact with this header was made."""
        ...


class Modality(Protocol):
    """One kind of data, registered in `ddbench.registry.MODALITIES`."""

    @property
    def name(self) -> str: ...

    def data(self, dataset: str, split: str, peek: float | None) -> Data:
        """The data set of this name or path, with its split.

        Raises:
            UserError: when it is not to be had.
        """
        ...

    def check(self, cell: Cell, dataset: str, method: Any) -> None:
        """Refuse a cell that cannot work, before anything runs.

        Raises:
            UserError: one sentence that names the value and the fix.
        """
        ...

    def prepare(self, cell: Cell, dataset: str, folder: Path, place: Place) -> TrainingFile:
        """Write a file of what runs of the cell may see: training data and no other.

        Raises:
            UserError: when the data are not those of the cell.
        """
        ...

    def lay_noise(self, dataset: str, folder: Path) -> None:
        """Write the data set into a folder as `$DDBENCH_DATA` has it, with noise of equal shape for its test data."""
        ...

    def training(self, cell: Cell, file: TrainingFile, generators: Generators, place: Place) -> Training:
        """What a run of the cell distils with, from the file that `prepare` wrote; the run opens no other.

        Raises:
            UserError: when the file is not what was written.
        """
        ...

    def evaluator(self, described: Described, dataset: str, place: Place) -> Evaluator:
        """What scores artefacts as described.

        Raises:
            UserError: when the data are not those that are described.
        """
        ...

    def show(self, file: Path, out: Path, dataset: str | None = None) -> None:
        """Draw an artefact."""
        ...


def size_of(data: Data | Training) -> Size | None:
    """Return how much data hold, from their attribute `size`; None for those of a modality that does not tell."""
    size: Size | None = getattr(data, "size", None)
    return size


def network_for(network: NetworkSpec, data: Data) -> NetworkSpec:
    """Return the network with what follows from the size of the data's images stated where it is left out."""
    size = size_of(data)
    return network if size is None else stated(network, size.shape)
