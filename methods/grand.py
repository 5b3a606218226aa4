"""GraNd: real images by the norm of their own gradients early in training.

Paul, Ganguli & Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples Early in Training", NeurIPS 2021,
arXiv 2107.07075, Definition 2.1.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from ddbench import DistilledDataset, Meter, Task, UserError, register_method
from ddbench.families.coresets import stored
from ddbench.families.difficulty import Rate, Rating, Share, after_training, taken, window
from ddbench.families.label_sources import Labels, labelled
from ddbench.families.synthetic_set import Parametrisation


@register_method("grand")
@dataclass(frozen=True)
class GraNd:
    """A window of the images of each class in the order of their gradients' norms (GraNd). Paul et al., NeurIPS 2021.

    The norm is that of the gradient of an image's loss in all weights, on average over networks. It costs the training
    of these, and the gradient of each image for each network.

    Differences: images are chosen class by class; networks train with a constant step size and without augmentation;
    norms are of trained networks, where the paper also takes them of initial ones.
    """

    family: ClassVar[str] = "control"
    paper: ClassVar[str] = "https://arxiv.org/abs/2107.07075"
    settings: ClassVar[tuple[str, ...]] = ("random", "fixed", "pretrained", "attack")
    tiny: ClassVar[dict[str, object]] = {"networks": 2, "epochs": 1, "batch_real": 16}

    window: Share = 1.0
    """place in the order of a class from which images are chosen: 0 takes the least norms, 1 the largest"""
    networks: PositiveInt = 10
    """networks whose norms are averaged"""
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
        rate = gradient_norms(task)
        rating = Rating(self.epochs, self.batch_real, self.lr_network, self.candidates)
        ordered = after_training(task, meter, rating, self.networks, rate).easiest_first()  # K of (M_c,)
        chosen = stored(task, self.decoder, lambda n: taken(task, window(ordered, self.window, n), n))
        return labelled(task, meter, self.labels, chosen)


def gradient_norms(task: Task) -> Rate:
    """Return a function for the norm of the gradient of each image's own loss, (N,), of all weights together.

    Raises:
        UserError: when the network mixes the images of a batch, so that none has a gradient of its own.
    """
    if any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in task.network.modules()):
        raise UserError(
            "grand needs gradients of single images, and batch normalisation mixes them; choose another norm"
        )

    def of_one(weights: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return task.first_order.loss(weights, image[None], label[None])

    def norms(weights: dict[str, torch.Tensor], images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        gradients = torch.func.vmap(torch.func.grad(of_one), (None, 0, 0))(weights, images, labels)
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
        return torch.stack(squares).sum(0).sqrt()

    return norms
