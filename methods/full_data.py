"""All training data: the ceiling that distilled sets are measured against.

The upper bound of the tables of Wang, Zhu, Torralba & Efros, "Dataset Distillation", 2018, arXiv 1811.10959, and since.
"""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.synthetic_set import SyntheticSet


@register_method("full_data", aliases=["whole_dataset"])
@dataclass(frozen=True)
class FullData:
    """All training data, not distilled. Wang et al. 2018.

    It is scored under protocols such as `full-data-10@1`, which train networks on every training image; whatever is
    stored is not read. What a network costs is in the seconds of the evaluation.

    Differences: every paper has a training of its own, and few say which; the protocol says which this is.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1811.10959"
    modalities: ClassVar[tuple[str, ...]] = ("images", "graphs")
    settings: ClassVar[tuple[str, ...]] = ("random",)
    tiny: ClassVar[dict[str, object]] = {}

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        return SyntheticSet(task, getattr(task, "decoder", "pixels")).artifact()  # a task on a graph names its own
