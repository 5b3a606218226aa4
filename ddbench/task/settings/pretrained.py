"""Setting `pretrained`: networks that were trained on another data set are to be adapted to this one.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, section 3.4.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch

from ddbench.compute.compiling import Weights
from ddbench.data import Dataset, load_dataset
from ddbench.data.preprocess import WHITENING
from ddbench.errors import UserError
from ddbench.records.cell import Cell, Pool
from ddbench.task.settings.base import Setting, SettingInputs


class PretrainedSetting(Setting):
    """Networks start from the trained networks of a pool; those held out are the ones that are scored."""

    name: ClassVar[str] = "pretrained"
    needs: ClassVar[tuple[str, ...]] = ("pool",)
    starts_fresh: ClassVar[bool] = False

    def __init__(self, inputs: SettingInputs) -> None:
        super().__init__(inputs)
        if inputs.pool is None:
            raise ValueError(f"setting {self.name!r} needs a pool of pretrained networks")
        self._pool = inputs.pool
        self.held_out = inputs.pool.digest

    @classmethod
    def check(cls, cell: Cell, data: Dataset) -> None:
        pool = cell.pool
        if pool is not None and pool.held_out < cell.networks:
            raise UserError(
                f"pool holds out {pool.held_out} networks to score with and {cell.networks} are asked for; "
                "raise held_out"
            )
        if cell.network.parameters.get("norm") == "running_batch":
            raise UserError(
                "networks of a pool keep no running statistics and network has norm='running_batch'; choose norm=batch"
            )
        if not isinstance(pool, Pool):
            return
        if cell.preprocessing in WHITENING:
            raise UserError(
                f"networks of a pool are trained on normalised images and preprocessing is {cell.preprocessing!r}; "
                "choose normalize or standardize"
            )
        if (classes := len(load_dataset(pool.dataset).classes)) != len(data.classes):
            raise UserError(
                f"pool data set {pool.dataset!r} has {classes} classes and {data.name!r} has {len(data.classes)}; "
                "choose one with as many"
            )

    @classmethod
    def bound_by(cls, honours: Collection[str]) -> str | None:
        return "pretrained networks"

    def initial(self, generator: torch.Generator | None = None) -> Weights:
        among = self._inputs.generators.get("pool", "cpu")
        chosen = int(torch.randint(len(self._pool.training), (), generator=among))
        return self._pool.weights(self._pool.training[chosen])

    def start(self, seed: int, stored: Weights | None) -> Weights | None:
        return self._pool.weights(self._pool.held_out[seed])
