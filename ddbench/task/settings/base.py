"""What every setting says: where networks start, what they are to answer, and how that is measured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ddbench.compute.compiling import Weights
from ddbench.compute.generators import Generators
from ddbench.data import Dataset
from ddbench.networks import InitialWeights
from ddbench.records.cell import Attack, Cell
from ddbench.task.pretrained import PretrainedPool


@dataclass(frozen=True)
class SettingInputs:
    """What settings are made of; each takes what it needs.

    Args:
        fresh: draws weights of the cell's network
        generators: those of the task
        device: where weights are drawn in training
        pool: pretrained networks
        attack: the label map
    """

    fresh: InitialWeights
    generators: Generators
    device: torch.device
    pool: PretrainedPool | None = None
    attack: Attack | None = None


class Setting:
    """One setting of a cell, for the task of a method and for the networks that an artefact is scored with.

    By default networks start from fresh weights and are to answer the true class.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """fields that a cell of this setting must have; it has no use for those that others need"""
    one_start: ClassVar[bool] = False
    """true if every network starts from the same weights"""
    starts_fresh: ClassVar[bool] = True
    """true if networks start from weights that are drawn for each"""
    stored: Weights | None = None
    """the weights that an artefact stores"""
    held_out: str | None = None
    """digest of the networks that are held out to score with"""
    attack: Attack | None = None
    """the label map, where one class is to be taken for another"""

    def __init__(self, inputs: SettingInputs) -> None:
        self._inputs = inputs

    @classmethod
    def check(cls, cell: Cell, data: Dataset) -> None:
        """Raise UserError for a cell that cannot work in this setting."""

    @classmethod
    def recomputed(cls, fresh: InitialWeights, generators: Generators) -> Weights | None:
        """Return the weights that an artefact of this setting may store, drawn again; None where it may store none.

        Args:
            generators: those of the run's task
        """
        return None

    @classmethod
    def bound_by(cls, honours: Collection[str]) -> str | None:
        """Return what binds scores to the cell's own network, under a protocol that honours these recipe fields."""
        return None

    def initial(self, generator: torch.Generator | None = None) -> Weights:
        """Return the weights that a network of the task starts from.

        Args:
            generator: of fresh weights; the task's own where it is None
        """
        return self._inputs.fresh(generator or self._inputs.generators.get("initial", self._inputs.device))

    def targets(self, labels: Tensor) -> Tensor:
        """Return what trained networks are to answer for real images of these labels, (N,)."""
        return labels

    def start(self, seed: int, stored: Weights | None) -> Weights | None:
        """Return the weights that the evaluation network of this seed starts from; None for fresh ones.

        Args:
            stored: the artefact's initial weights, where the protocol honours them
        """
        return None

    def metrics(self, before: Tensor | None, after: Tensor, labels: Tensor) -> dict[str, float]:
        """Return further measures of an evaluation network.

        Args:
            before: (N,) its answers before training; None where it started from fresh weights
            after: (N,) its answers after training
            labels: (N,) of the test images
        """
        return {} if before is None else {"before": share(before == labels)}


def share(marks: Tensor) -> float:
    """The share of true marks."""
    return int(marks.sum()) / len(marks)
