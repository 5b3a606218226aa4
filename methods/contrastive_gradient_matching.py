"""Contrastive gradient matching: the gradients of all classes together agree, so that what tells classes apart counts.

Lee, Chun, Jung, Yun & Yoon, "Dataset Condensation with Contrastive Signals", ICML 2022, arXiv 2202.02916 (DCC).
"""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import NonNegativeInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.gradient_matching import (
    Match,
    Matcher,
    TrainedOnSyntheticSettings,
    layerwise_cosine,
    match_gradients,
)


@register_method("contrastive_gradient_matching", aliases=["dcc"])
@dataclass(frozen=True)
class ContrastiveGradientMatching(TrainedOnSyntheticSettings):
    """Dataset condensation with contrastive signals (DCC; with `augment`, DSAC). Lee et al., ICML 2022.

    As gradient matching, and after a warm-up one distance between the gradients that all real and all synthetic
    images give, in place of the sum over classes: the same real passes and a single second-order one.

    Differences: those of gradient matching; the loops and the warm-up are those of the authors' code, where either of
    its two conditions ends it.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2202.02916"
    tiny: ClassVar[dict[str, object]] = {
        "iterations": 3, "matchings": 2, "epochs": 1, "batch_real": 8, "warmup_networks": 1,
    }  # fmt: skip

    warmup_networks: NonNegativeInt = 250
    """networks after which gradients are compared together"""
    warmup_matchings: NonNegativeInt = 10
    """matchings with one network after which they are, too"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        matcher = Matcher(task, self, layerwise_cosine)

        def match(network: int, matching: int) -> Match:
            warm = network >= self.warmup_networks or matching >= self.warmup_matchings
            return matcher.of_all if warm else matcher.by_class

        return match_gradients(task, meter, self, loops=self.loops(task.ipc), match=match, train=self.train(task))

    def loops(self, ipc: int) -> tuple[int, int]:
        """Those of gradient matching, but ten matchings and five epochs at ipc 1."""
        matchings, epochs = super().loops(ipc)
        return (self.matchings or 10, 5 if self.epochs is None else self.epochs) if ipc == 1 else (matchings, epochs)
