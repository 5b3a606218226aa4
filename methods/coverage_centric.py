"""Coverage-centric coreset selection (CCS): real images from every stratum of difficulty but the hardest.

Zheng, Liu, Lai & Prakash, "Coverage-centric Coreset Selection for High Pruning Rates", ICLR 2023, arXiv 2210.15809,
Algorithm 1.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.coresets import stored
from ddbench.families.difficulty import Measure, Rating, along_training, taken
from ddbench.families.label_sources import Labels, labelled
from ddbench.families.synthetic_set import Parametrisation


@register_method("coverage_centric", aliases=["ccs"])
@dataclass(frozen=True)
class CoverageCentric:
    """Stratified sampling by difficulty, without the hardest images (CCS). Zheng et al., ICLR 2023, Algorithm 1.

    The hardest images of a class are left out, and the range of difficulty of the others is divided into strata of
    equal width, from which equally many are drawn at random as far as they reach. It costs the training of a network,
    with a forward pass beside each step.

    Differences: images are chosen class by class; the network trains for 20 epochs, where the authors' does for 200.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/2210.15809"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"epochs": 3, "batch_real": 16}

    cutoff: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """share of the hardest images of a class that are left out; the authors' for a tenth of CIFAR-10"""
    strata: PositiveInt = 50
    """number of strata"""
    measure: Measure = "margin"
    """difficulty: the mean `margin` along the training, or how often an image is forgotten, `forgetting`"""
    epochs: PositiveInt = 20
    """passes over the images in the training of the network"""
    lr_network: PositiveFloat = 0.01
    """step size of SGD with momentum 0.9 on the network"""
    batch_real: PositiveInt = 256
    """real images in a training step of the network"""
    candidates: PositiveInt | None = None
    """random images of each class that are considered, and that the network trains on; None takes all"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, or one that lets more, smaller ones fit, `multi_formation`, ..."""
    labels: Labels = "hard"
    """`hard`, the class of each image; or `expert,epochs=20,lr=0.1`, what a network answers that is trained for it"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        rating = Rating(self.epochs, self.batch_real, self.lr_network, self.candidates)
        rated = along_training(task, meter, rating).rated(self.measure)
        chosen = stored(task, self.decoder, lambda n: taken(task, [
            positions[self._covering(difficulty, n)] for positions, difficulty in rated.by_class()
        ], n))  # fmt: skip
        return labelled(task, meter, self.labels, chosen)

    def _covering(self, difficulty: torch.Tensor, n: int) -> torch.Tensor:
        """Choose up to n of (M,) images, which come in random order; return their places."""
        kept = difficulty.argsort(stable=True)[: max(1, len(difficulty) - int(self.cutoff * len(difficulty)))]
        kept = kept.sort().values  # in random order again
        return kept[stratified(difficulty[kept], self.strata, min(n, len(kept)))]


def stratified(difficulty: torch.Tensor, strata: int, n: int) -> torch.Tensor:
    """Choose n of (M,) numbers in random order from strata of equal width, equally many of each; return places, (n,).

    Strata are served from the smallest to the largest, each with its equal share of what is left to choose, rounded
    down, or with all it has. Of each the first ones are taken.
    """
    low, high = difficulty.min(), difficulty.max()
    width = (high - low).clamp(min=torch.finfo(difficulty.dtype).tiny)
    stratum = ((difficulty - low) / width * strata).long().clamp(max=strata - 1)  # (M,)
    members = torch.nn.functional.one_hot(stratum, strata)  # (M, S)
    sizes, shares, left = members.sum(0), torch.zeros_like(members[0]), torch.full_like(stratum[0], n)
    for place, smallest in enumerate(sizes.argsort(stable=True).split(1)):
        share = torch.minimum(sizes.index_select(0, smallest), left // (strata - place))
        shares, left = shares.index_copy(0, smallest, share), left - share[0]
    number = (members.cumsum(0) * members).sum(1)  # 1 for the first of its stratum, (M,)
    return (number > shares[stratum]).long().argsort(stable=True)[:n]
