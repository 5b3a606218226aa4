"""Setting `fixed`: every network starts from one set of weights, which the artefact stores.

Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, section 3.2.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import ClassVar

import torch

from ddbench.compute.compiling import Weights
from ddbench.compute.generators import Generators
from ddbench.networks import InitialWeights
from ddbench.task.settings.base import Setting


class FixedSetting(Setting):
    """Networks start from the same weights, in distillation and, under a protocol that honours them, in evaluation."""

    name: ClassVar[str] = "fixed"
    one_start: ClassVar[bool] = True
    starts_fresh: ClassVar[bool] = False

    @classmethod
    def recomputed(cls, fresh: InitialWeights, generators: Generators) -> Weights | None:
        return fresh(generators.get("fixed", "cpu"))

    @classmethod
    def bound_by(cls, honours: Collection[str]) -> str | None:
        return "stored weights" if "initial" in honours else None

    @cached_property
    def stored(self) -> Weights:  # type: ignore[override]  # drawn once, when it is first asked for
        drawn = self.recomputed(self._inputs.fresh, self._inputs.generators)  # on the CPU: every machine can repeat it
        return {name: weight.to(self._inputs.device) for name, weight in (drawn or {}).items()}

    def initial(self, generator: torch.Generator | None = None) -> Weights:
        return {name: weight.clone() for name, weight in self.stored.items()}

    def start(self, seed: int, stored: Weights | None) -> Weights | None:
        return stored
