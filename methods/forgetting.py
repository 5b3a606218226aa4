"""Forgetting: real images by how often a network in training forgets them.

Toneva, Sordoni, Tachet des Combes, Trischler, Bengio & Gordon, "An Empirical Study of Example Forgetting during Deep
Neural Network Learning", ICLR 2019, arXiv 1812.05159, Algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.coresets import stored
from ddbench.families.difficulty import Rating, Share, along_training, taken, window
from ddbench.families.label_sources import Labels, labelled
from ddbench.families.synthetic_set import Parametrisation


@register_method("forgetting")
@dataclass(frozen=True)
class Forgetting:
    """Images of each class that are forgotten most often, or a window of that order. Toneva et al., ICLR 2019.

    An image is forgotten where it was classified correctly when it was last in a batch, and is not now; one that is
    never classified correctly counts as forgotten most often, as in the authors' code. It costs the training of a
    network, with a forward pass beside each step.

    Differences: images are chosen class by class; 20 epochs without augmentation, where the authors train 200 with it.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/1812.05159"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"epochs": 3, "batch_real": 16}

    window: Share = 1.0
    """place in the order of a class from which images are chosen: 0 takes the least forgotten, 1 the most"""
    unlearned_hardest: bool = True
    """count images that are never classified correctly as forgotten most often; without it, as in DeepCore, as never"""
    epochs: PositiveInt = 20
    """passes over the images, in each of which an image can be forgotten once"""
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
        rated = along_training(task, meter, rating).rated("forgetting", self.unlearned_hardest)
        ordered = rated.easiest_first()  # K of (M_c,)
        chosen = stored(task, self.decoder, lambda n: taken(task, window(ordered, self.window, n), n))
        return labelled(task, meter, self.labels, chosen)
