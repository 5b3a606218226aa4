"""Networks and real images that artefacts are compared with, class by class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.analyses.subject import Subject
from ddbench.artifacts.distilled_dataset import LabelKind
from ddbench.compute.compiling import Compiler, Weights
from ddbench.families.weighted_discrepancies import RealPoints, gradient_cosine
from ddbench.networks.flatten import flatten, unflatten

NETWORKS = ("fresh", "trained")


class Probe:
    """Networks and real images that every artefact of a data set and an architecture is measured with.

    Args:
        number: of the replicate
        real: real images of each class, half of those that a class has at most
        directions: random directions of the sliced distance
    """

    def __init__(self, subject: Subject, number: int, real: int, directions: int) -> None:
        self._subject, self._number, self._count, self._lines = subject, number, real, directions
        self._fresh = subject.fresh(number)
        self._gradient = Compiler().gradient(self._loss)

    def measured(self, images: Tensor, shares: Tensor) -> Tensor:
        """The distances of `discrepancy.DISTANCES`, in that order, for each class, (distances, K) float64 on the CPU.

        Args:
            images: (M, C, H, W) as networks see them
            shares: each image's share in each class, (M, K)
        """
        features = {name: of(images) for name, of in self._spaces.items()}
        columns = []
        for c, own in enumerate(shares.T):
            chosen = own > 0
            weights = own[chosen] / own.sum()
            gradient = self._class_gradient(images[chosen], weights, c)
            cosine = gradient_cosine(unflatten(self._real_gradients[c], self._fresh), gradient)
            found = self._of_features(c, {name: side[chosen] for name, side in features.items()}, weights)
            columns.append(torch.stack([cosine, *found]).cpu())
        return torch.stack(columns, dim=1)

    def floor(self) -> Tensor:
        """The distances of other real images, as many, (distances,)."""
        return self._kept("floor", lambda: self.measured(*self._images(self._other)).mean(1))

    def _of_features(self, c: int, features: dict[str, Tensor], weights: Tensor) -> list[Tensor]:
        real = {name: RealPoints(by_class[c]) for name, by_class in self._real_features.items()}
        sliced = [real[name].sliced_wasserstein(features[name], weights, self._directions[name]) for name in NETWORKS]
        fresh, trained, pixels = (real[name].mmd_rbf(features[name], weights) for name in (*NETWORKS, "pixels"))
        sinkhorn = real["trained"].sinkhorn(features["trained"], weights, self._own_transports[c])
        return [*sliced, fresh, trained, sinkhorn, pixels]

    @cached_property
    def _spaces(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Functions from images, as networks see them, to points, (N, F)."""
        subject, trained = self._subject, self._subject.trained_on_real(self._number)
        return {
            "fresh": lambda images: subject.features(self._fresh, images),
            "trained": lambda images: subject.features(trained, images),
            "pixels": lambda images: subject.transform.inverse(images).flatten(1),
        }

    @cached_property
    def _positions(self) -> list[tuple[Tensor, Tensor]]:
        """Positions of real images of each class to compare with, and of as many others."""
        labels, generator = self._subject.data.train_labels.cpu(), self._subject.generator("real", self._number)
        found = []
        for c in range(len(self._subject.data.classes)):
            own = torch.nonzero(labels == c)[:, 0]
            own = own[torch.randperm(len(own), generator=generator)]
            count = min(self._count, len(own) // 2)
            found.append((own[:count], own[count : 2 * count]))
        return found

    @property
    def _real(self) -> list[Tensor]:
        return [real for real, _ in self._positions]

    @property
    def _other(self) -> list[Tensor]:
        return [other for _, other in self._positions]

    def _images(self, positions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Real images, class by class, and their shares."""
        images = self._subject.data.train_images[torch.cat(positions).to(self._subject.device)]
        labels = torch.arange(len(positions)).repeat_interleave(torch.tensor([len(own) for own in positions]))
        return self._subject.transform(images), class_shares(labels, "index", len(positions)).to(images.device)

    @cached_property
    def _real_features(self) -> dict[str, list[Tensor]]:
        images, _ = self._images(self._real)
        sizes = [len(own) for own in self._real]
        return {name: list(of(images).split(sizes)) for name, of in self._spaces.items()}

    @cached_property
    def _real_gradients(self) -> Tensor:
        """The gradient of each class's real images, (K, P)."""

        def make() -> Tensor:
            images, shares = self._images(self._real)
            return torch.stack([flatten(own) for own in self._gradients(images, shares)])

        return self._kept("gradients", make)

    @cached_property
    def _own_transports(self) -> Tensor:
        """What it costs to move each class's real images to themselves, (K,)."""
        real = self._real_features["trained"]
        return self._kept("transports", lambda: torch.stack([RealPoints(points).own_transport for points in real]))

    def _gradients(self, images: Tensor, shares: Tensor) -> Iterator[Weights]:
        for c, own in enumerate(shares.T):
            yield self._class_gradient(images[own > 0], own[own > 0] / own.sum(), c)

    def _class_gradient(self, images: Tensor, weights: Tensor, c: int) -> Weights:
        """The gradient of the cross-entropy of images with a class, weighted by `weights`, (N,)."""
        size, total = self._subject.evaluator.chunks.size(len(images)), dict[str, Tensor]()
        for part, own in zip(images.split(size), weights.float().split(size), strict=True):
            labels = torch.full((len(part),), c, device=part.device)
            slope, _ = self._gradient(self._fresh, part, labels, own)
            total = {name: total.get(name, 0) + value for name, value in slope.items()}
        return total

    def _loss(self, weights: Weights, images: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        losses = F.cross_entropy(self._subject.evaluator.forward(weights, images), labels, reduction="none")
        return losses @ shares

    @cached_property
    def _directions(self) -> dict[str, Tensor]:
        """Random unit directions in the features of both networks, (R, F) each."""
        found = {}
        for name in NETWORKS:
            generator = self._subject.generator(f"directions/{name}", self._number)
            width = self._real_features[name][0].shape[1]
            drawn = torch.randn(self._lines, width, generator=generator, dtype=torch.float64)
            found[name] = (drawn / drawn.norm(dim=1, keepdim=True)).to(self._subject.device)
        return found

    def _kept(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        key = {"analysis": self._subject.analysis, "number": self._number, "settings": [self._count, self._lines]}
        return self._subject.references.cached(f"discrepancy-{name}", key, make)


def class_shares(labels: Tensor, kind: LabelKind, classes: int) -> Tensor:
    """Each image's share in each class, (M, K) float64, from labels of a kind."""
    if kind == "index":
        return F.one_hot(labels, classes).double()
    return labels.double().softmax(1) if kind == "logits" else labels.double()
