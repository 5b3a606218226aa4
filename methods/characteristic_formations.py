"""Characteristic functions of several small images in the storage of one, in fresh networks: not published before.

What Wang et al., CVPR 2025, arXiv 2502.20653 (NCFM) compare by and what Kim et al., ICML 2022, arXiv 2205.14959 (IDC)
store, without any trained network. A step costs what one of distribution matching on all the small images costs.
"""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.discrepancies import DISCREPANCIES
from ddbench.families.distribution_matching import DistributionMatchingSettings, match_distributions, unit_features
from ddbench.families.synthetic_set import Parametrisation


@register_method("characteristic_formations")
@dataclass(frozen=True)
class CharacteristicFormations(DistributionMatchingSettings):
    """Characteristic-function matching of multi-formation images: an example of a new combination."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2502.20653"
    tiny: ClassVar[dict[str, object]] = {"iterations": 6, "batch_real": 8}

    decoder: Parametrisation = "multi_formation"

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        by, of = DISCREPANCIES["characteristic"], unit_features(task)
        return match_distributions(task, meter, self, discrepancy=by, features=of, draws=1024)
