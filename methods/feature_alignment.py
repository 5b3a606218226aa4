"""Distribution matching in every layer of networks that learn from the images, which must tell classes apart.

Wang, Zhao, Peng, Zhu, Yang, Wang, Huang, Bilen, Wang & You, "CAFE: Learning to Condense Dataset by Aligning Features",
CVPR 2022, arXiv 2203.01531.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, UserError, Weights, register_method
from ddbench.families.discrepancies import Discrepancy
from ddbench.families.distribution_matching import DistributionMatchingSettings, match_distributions
from ddbench.families.network_sources import TrainedUntilStable
from ddbench.families.synthetic_set import Init
from ddbench.families.training import OnSynthetic, Trainer

SHALLOW = 0.1
"""weight of all activations but the last; the last weighs 1, and what the classifier reads 2"""


@register_method("feature_alignment", aliases=["cafe"])
@dataclass(frozen=True)
class FeatureAlignment(DistributionMatchingSettings):
    """Feature alignment (CAFE; with `augment`, CAFE+DSA). Wang et al., CVPR 2022.

    Class means are matched after every activation, and real features are to be told apart by the synthetic class
    means. A network is trained on the images between two steps until its accuracy on real images has changed by
    `changed`, and replaced when it varies less than `settled`. A step costs what one of distribution matching costs,
    and epochs on the synthetic images with a probe of `probe` real images a class after each.

    Differences: at most `epochs` between two steps, where the authors' loop has no bound; accuracies are those of the
    moment, where their code carries a tenth of the last one along; their term on the real images alone, which no
    synthetic image enters, is left out; a constant step size. `iterations` counts
    steps on the images, where they count networks, each with many steps.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2203.01531"
    tiny: ClassVar[dict[str, object]] = {"iterations": 4, "batch_real": 8, "probe": 4, "epochs": 3, "window": 2}

    iterations: PositiveInt = 20_000
    """steps on the images"""
    lr_images: PositiveFloat = 0.1
    """of SGD with momentum 0.5 on the images"""
    augment: bool = False
    """differentiable siamese augmentation"""
    init: Init = "noise"
    """images start as `noise` or `real`"""
    discrimination: NonNegativeFloat = 0.01
    """weight of the cross-entropy, summed over real images"""
    settled: PositiveFloat = 0.04
    """a network is replaced when its accuracy at `window` steps on the images varied less"""
    changed: PositiveFloat = 0.03
    """a training ends when the network's accuracy varied more in `window` epochs"""
    window: PositiveInt = 10
    """probes that are compared"""
    epochs: PositiveInt = 50
    """on the synthetic images between two steps, at most"""
    probe: PositiveInt = 128
    """real images of each class to measure accuracy on"""
    lr_network: PositiveFloat = 0.01
    """of plain SGD on the network"""
    batch_train: PositiveInt = 256
    """synthetic images in a training step of the network"""

    def __post_init__(self) -> None:
        if self.epochs < self.window:
            raise UserError(
                f"epochs {self.epochs} of feature_alignment are fewer than the window of {self.window} that a training "
                "is judged by; raise epochs or lower window"
            )

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        width = task.network.classifier.in_features

        def features(weights: Weights, images: torch.Tensor) -> torch.Tensor:
            *shallow, deep, last = task.activations(weights, images)
            maps = [SHALLOW**0.5 * found.flatten(1) for found in shallow]
            return torch.cat([*maps, deep.flatten(1), 2**0.5 * last], 1)

        trainer = Trainer(task, self.lr_network)
        train = OnSynthetic(task, trainer, self.batch_train, self.augment)
        source = TrainedUntilStable(
            task, trainer, train, settled=self.settled, changed=self.changed, window=self.window,
            epochs=self.epochs, probe=self.probe,
        )  # fmt: skip
        aligned = Discrepancy(partial(alignment, width=width, discrimination=self.discrimination))
        return match_distributions(task, meter, self, discrepancy=aligned, features=features, source=source)


def alignment(
    real: torch.Tensor, synthetic: torch.Tensor, draws: torch.Tensor, *, width: int, discrimination: float
) -> torch.Tensor:
    """Squared distance of class means, and cross-entropy of real features against synthetic class means, (K,).

    Args:
        real: (K, N, F), the last `width` features sqrt(2) times those that the classifier reads
        synthetic: (K, M, F), likewise
    """
    classes, count = real.shape[:2]
    centres = synthetic.mean(1)  # (K, F)
    apart = (real.mean(1) - centres).square().sum(1)
    logits = real[:, :, -width:].flatten(0, 1) @ centres[:, -width:].T / 2
    labels = torch.arange(classes, device=real.device).repeat_interleave(count)
    told = F.cross_entropy(logits, labels, reduction="none").view(classes, count).sum(1)
    return apart + discrimination * told
