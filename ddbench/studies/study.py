"""A study: a versioned question that several distillations on derived data answer, and one measure over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import Dataset
from ddbench.data.builtin import Size
from ddbench.evaluation.protocols import Protocol as EvaluationProtocol
from ddbench.records.cell import Cell, NetworkSpec
from ddbench.records.findings import Findings
from ddbench.records.metrics import Metric
from ddbench.registry import find_study
from ddbench.task.hyperparameters import make_method

if TYPE_CHECKING:
    from ddbench.studies.bench import Bench

Replicate = dict[str, list[float]]
"""what was measured of one seed: named lists of numbers, from which findings are computed"""


@dataclass(frozen=True)
class Part:
    """One distillation of a seed.

    Args:
        split: the data that the method sees: `test` for the whole training set, or a part of `ddbench.data.derived`
        share: its share of the seconds of a seed
    """

    split: str
    share: float = 1.0


@dataclass(frozen=True)
class Training:
    """Networks that a study trains alike, for a forecast.

    Args:
        data: size of the data that they are trained and tested on
        network: their architecture; None is the row's
        protocol: how they are trained; None is as the row says
        count: how many, for each of the row's networks
        shared: true where all rows and seeds share them, and they are trained once
    """

    data: Size
    network: NetworkSpec | None = None
    protocol: EvaluationProtocol | None = None
    count: int = 1
    shared: bool = False


class Study(Protocol):
    """What `@register_study` takes: a frozen dataclass whose fields are settings, which the record names."""

    name: ClassVar[str]
    """with its version; the decorator sets it"""
    measures: ClassVar[tuple[Metric, ...]]
    """what it may measure: meaning, range and direction of each"""
    headline: ClassVar[tuple[str, ...]]
    """measures that tables show"""
    caption: ClassVar[str]
    """what its numbers do not show, for tables"""
    variants: ClassVar[tuple[str, ...]]
    """other uses of a method than the usual one; a row names one before the method, `joint:dm`"""
    references: ClassVar[tuple[str, ...]]
    """rows that stand beside those asked for; `{first}` is the first of these; a variant that is named here of another
    method is one of that alone"""
    protocol: ClassVar[str]
    """how networks are trained unless a board says otherwise"""
    networks: ClassVar[int]
    """how many, unless a board says otherwise"""
    seeds: ClassVar[int]
    """how many, unless a board says otherwise"""

    def check(self, data: Dataset) -> None:
        """Raise UserError, which names the value and the fix, for a data set that it cannot be asked of."""
        ...

    def parts(self, data: Dataset, variant: str | None, seed: int) -> list[Part]:
        """What a method distils at a seed."""
        ...

    def trainings(self, size: Size, cell: Cell, variant: str | None) -> list[Training]:
        """What networks of a seed of a row are trained, for a forecast."""
        ...

    def refusal(self, made: Sequence[DistilledDataset]) -> str | None:
        """Return why it cannot be asked of these artefacts; None where it can."""
        ...

    def measure(self, bench: Bench, made: Sequence[DistilledDataset], seed: int) -> Replicate:
        """Measure the artefacts of a seed, in the order of its parts; none for the control of all training data."""
        ...

    def findings(self, replicates: Sequence[Replicate]) -> Findings:
        """Sum up all seeds."""
        ...


def make_study(name: str, settings: Mapping[str, Any] | None = None) -> Study:
    """A study by its name, without a version the newest, with these settings.

    Raises:
        UserError: for an unknown name or setting, or a value out of its range.
    """
    found: Study = make_method(find_study(name), settings or {}, "setting")
    return found
