"""Setting `attack`: trained networks are to take one class for another.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, section 4 ("malicious objective").
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ddbench.data import Dataset
from ddbench.errors import UserError
from ddbench.records.cell import Cell
from ddbench.task.settings.base import SettingInputs, share
from ddbench.task.settings.pretrained import PretrainedSetting


class AttackSetting(PretrainedSetting):
    """Networks start from those of a pool, and images of one class are to be answered with another."""

    name: ClassVar[str] = "attack"
    needs: ClassVar[tuple[str, ...]] = ("pool", "attack")

    def __init__(self, inputs: SettingInputs) -> None:
        super().__init__(inputs)
        if inputs.attack is None:
            raise ValueError("setting 'attack' needs a label map")
        self.attack = self._map = inputs.attack

    @classmethod
    def check(cls, cell: Cell, data: Dataset) -> None:
        super().check(cell, data)
        if cell.attack is None:
            return
        try:
            cell.attack.check(len(data.classes))
        except ValueError as error:
            raise UserError(str(error)) from error
        if not bool((data.test_labels == cell.attack.source).any()):
            raise UserError(
                f"the test set of {data.name} has no image of class {cell.attack.source}; attack another class"
            )

    def targets(self, labels: Tensor) -> Tensor:
        return labels.masked_fill(labels == self._map.source, self._map.target)

    def metrics(self, before: Tensor | None, after: Tensor, labels: Tensor) -> dict[str, float]:
        success = share(after[labels == self._map.source] == self._map.target)
        return super().metrics(before, after, labels) | {"success": success}
