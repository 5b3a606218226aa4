"""EL2N: real images by the error of networks early in training.

Paul, Ganguli & Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples Early in Training", NeurIPS 2021,
arXiv 2107.07075, Definition 2.3.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.coresets import stored
from ddbench.families.difficulty import Rating, Share, after_training, taken, window
from ddbench.families.label_sources import Labels, labelled
from ddbench.families.synthetic_set import Parametrisation


@register_method("el2n")
@dataclass(frozen=True)
class EL2N:
    """A window of the images of each class in the order of their error (EL2N). Paul et al., NeurIPS 2021.

    The error is the distance between a network's probabilities and the one-hot label, on average over networks. It
    costs the training of these, and a forward pass of each over the images.

    Differences: images are chosen class by class; networks train with a constant step size and without augmentation.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/2107.07075"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"networks": 2, "epochs": 1, "batch_real": 16}

    window: Share = 1.0
    """place in the order of a class from which images are chosen: 0 takes the least errors, 1 the largest"""
    networks: PositiveInt = 10
    """networks whose errors are averaged"""
    epochs: PositiveInt = 20
    """passes over the images in the training of each network"""
    lr_network: PositiveFloat = 0.01
    """step size of SGD with momentum 0.9 on the networks"""
    batch_real: PositiveInt = 256
    """real images in a training step of a network"""
    candidates: PositiveInt | None = None
    """random images of each class that are considered, and that the networks train on; None takes all"""
    decoder: Parametrisation = "pixels"
    """parametrisation of the images: `pixels`, or one that lets more, smaller ones fit, `multi_formation`, ..."""
    labels: Labels = "hard"
    """`hard`, the class of each image; or `expert,epochs=20,lr=0.1`, what a network answers that is trained for it"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        def rate(weights: dict[str, torch.Tensor], images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return errors(task.first_order.forward(weights, images), labels)

        rating = Rating(self.epochs, self.batch_real, self.lr_network, self.candidates)
        ordered = after_training(task, meter, rating, self.networks, rate).easiest_first()  # K of (M_c,)
        chosen = stored(task, self.decoder, lambda n: taken(task, window(ordered, self.window, n), n))
        return labelled(task, meter, self.labels, chosen)


def errors(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the distance between the probabilities of each image, (N, K), and its one-hot label, (N,)."""
    return (logits.softmax(1) - F.one_hot(labels, logits.shape[1])).norm(dim=1)
