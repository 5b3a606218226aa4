"""Signs that a release's numbers are in another unit than was said, or its labels in another order of classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ddbench.compute.generators import seeded
from ddbench.data import Dataset, Transform

SAMPLE = 1000
"""largest number of training images whose mean and deviation are measured"""
NEAR = 1.0
"""distance between moments up to which nothing is said; distilled images differ from real ones"""
SMALLEST, FARTHEST = 0.2, 3.0
"""ratio of deviations, and distance of means in deviations, beyond which something is said even if nothing else fits"""
SIDE = 8
"""side to which images are shrunk before they are compared with those of their class"""
MOST_OF_A_CLASS = 500
MOST_COMPARED = 50_000
DRAWS = 30
"""number of sets that chance gives, with which a release is compared"""
DEVIATIONS = 5.0
"""standard deviations of such sets by which another order of classes has to fit better than theirs"""


@dataclass(frozen=True)
class Moments:
    """Mean and deviation of all numbers of some images."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, images: Tensor) -> Moments:
        return cls(float(images.mean()), float(images.std(correction=0)))

    def __str__(self) -> str:
        return f"mean {self.mean:.2f} and deviation {self.deviation:.2f}"

    def distance(self, wanted: Moments) -> float:
        """Return how far these are from others, in their deviations and in powers of e."""
        scale = max(wanted.deviation, 1e-6)
        return abs(self.mean - wanted.mean) / scale + abs(math.log(max(self.deviation, 1e-6) / scale))


def sampled(data: Dataset) -> Tensor:
    """Return up to `SAMPLE` training images, (N, C, H, W) uint8, evenly spaced."""
    return data.train_images[:: max(1, len(data.train_images) // SAMPLE)][:SAMPLE]


def are_pixels(images: Tensor, data: Dataset, transform: Transform) -> bool:
    """Return whether images are nearer to the data set's pixels in [0, 1] than to its preprocessed images."""
    real, given = sampled(data), Moments.of(images)
    pixels, processed = Moments.of(real.float() / 255), Moments.of(transform(real))
    return given.distance(pixels) < given.distance(processed)


def unit_warning(images: Tensor, data: Dataset, transform: Transform | None) -> str | None:
    """Return a sentence where images are in another unit than was said.

    Distilled images may have many times the deviation of real ones, which is no sign.

    Args:
        images: images, (N, C, H, W) float, as they were released
        transform: what they are said to have gone through; None for pixels in [0, 1]
    """
    real, given = sampled(data), Moments.of(images)
    pixels = Moments.of(real.float() / 255)
    wanted, kind = pixels, "pixels in [0, 1]"
    if transform is not None:
        wanted, kind = Moments.of(transform(real)), f"images of {data.name} under {transform.preprocessing.kind!r}"
    fix = _other_unit(images, given, wanted, pixels, is_pixels=transform is None)
    if fix is None:
        scale = max(given.deviation, wanted.deviation)
        if given.deviation > SMALLEST * wanted.deviation and abs(given.mean - wanted.mean) < FARTHEST * scale:
            return None
        fix = "if they did not go through that, say with --preprocessing what they went through"
    return f"the images have {given}, and {kind} have {wanted}; {fix}"


def _other_unit(images: Tensor, given: Moments, wanted: Moments, pixels: Moments, *, is_pixels: bool) -> str | None:
    """Return what images look like, where that is another unit than the one that is wanted."""
    everywhere, whole = (-math.inf, math.inf), Moments(255 * pixels.mean, 255 * pixels.deviation)
    units = [("pixels in 0..255; save them as uint8 and convert with --preprocessing none", whole, (-128.0, 384.0))]
    if is_pixels:
        units += [("normalised ones; convert with --preprocessing normalize", Moments(0, 1), everywhere)]
    else:
        units += [("pixels in [0, 1]; convert with --preprocessing none", pixels, (-0.5, 1.5))]
    near, low, high = given.distance(wanted), float(images.min()), float(images.max())
    if not is_pixels and low >= 0 and high <= 1:  # which normalised images never are, distilled or not
        return f"they look like {units[1][0]}"
    for name, unit, (least, most) in units:
        closer = given.distance(unit) < min(near / 2, NEAR) and unit.distance(wanted) > NEAR / 2
        if near > NEAR and closer and least <= low and high <= most:
            return f"they look like {name}"
    return None


def order_warning(images: Tensor, labels: Tensor, data: Dataset, transform: Transform, fix: str) -> str | None:
    """Return a sentence where labels seem to number the classes in another order than the data set's.

    The mean image of each class is correlated with those of the data set's classes. Labels are doubted where another
    assignment of classes fits at least twice as well, far better than it would fit images of the same spectra that
    show nothing, and better by far more than it does for as many real images with their true labels.

    Args:
        images: images, (N, C, H, W) float, after `transform`
        labels: labels, (N,) classes, or (N, K) of which the largest counts
        fix: end of the sentence
    """
    classes = len(data.classes)
    hard = labels if labels.ndim == 1 else labels.argmax(1)
    if len(hard.unique()) != classes or classes < 2:
        return None
    means = torch.stack([_shrunk(transform.inverse(images[hard == label])).mean(0) for label in range(classes)])
    most = max(20, min(MOST_OF_A_CLASS, MOST_COMPARED // classes))
    real = [_shrunk(_some(data, label, most)) for label in range(classes)]
    truth = torch.stack([one.mean(0) for one in real])
    own, best, order = _fits(means, truth)
    if own >= best / 2:
        return None
    generator, each = seeded(0), max(1, len(hard) // classes)
    chance = [_fits(_scrambled(means, generator), truth)[1] for _ in range(DRAWS)]
    if not _beyond(best, chance):
        return None
    honest = [_fits(torch.stack([_drawn(one, each, generator) for one in real]), truth) for _ in range(DRAWS)]
    if not _beyond(best - own, [better - given for given, better, _ in honest]):
        return None
    return _doubt(own, best, order, data.classes, fix)


def _beyond(value: float, drawn: list[float]) -> bool:
    """Return whether a correlation, or a difference of two, is far above what chance gives."""
    found, chance = (torch.tensor(numbers).clamp(-0.999, 0.999).atanh() for numbers in ([value], drawn))
    return float(found) > float(chance.mean() + DEVIATIONS * chance.std())


def _doubt(own: float, best: float, order: list[int], classes: tuple[str, ...], fix: str) -> str:
    wrong = [label for label, other in enumerate(order) if label != other]
    named = ", ".join(f"{classes[label]!r} look like {classes[order[label]]!r}" for label in wrong[:3])
    more = f" and {len(wrong) - 3} classes more are exchanged" if len(wrong) > 3 else ""
    return (
        f"the labels may be in another order than the data set's classes: images of {named}{more} "
        f"(correlation with the classes' mean images {own:.2f}, and {best:.2f} in the other order); {fix}"
    )


def _some(data: Dataset, label: int, most: int) -> Tensor:
    """Return up to so many training images of a class as pixels, (N, C, H, W) float in [0, 1]."""
    where = (data.train_labels == label).nonzero().flatten()
    return data.train_images[where[:: max(1, len(where) // most)][:most]].float() / 255


def _shrunk(images: Tensor) -> Tensor:
    side = min(SIDE, images.shape[-1])
    return F.adaptive_avg_pool2d(images.float(), (side, side))


def _fits(means: Tensor, truth: Tensor) -> tuple[float, float, list[int]]:
    """Return the mean correlation of classes' mean images with the true ones, by their labels and in the order that
    fits best, and that order.

    Args:
        means: mean images, (K, C, H, W)
        truth: mean images of the data set's classes, likewise
    """
    similar = _centred(means) @ _centred(truth).T  # (K, K)
    rows, columns = linear_sum_assignment(-similar.numpy())
    return float(similar.diagonal().mean()), float(similar[rows, columns].mean()), columns.tolist()


def _centred(means: Tensor) -> Tensor:
    """Return classes' deviations from the mean of all, of length 1, (K, C * H * W)."""
    flat = means.flatten(1).double()
    return F.normalize(flat - flat.mean(0), dim=1)


def _scrambled(means: Tensor, generator: torch.Generator) -> Tensor:
    """Return images of the same spectra, with phases of noise."""
    noise = torch.randn(len(means), 1, *means.shape[2:], generator=generator)
    phases = torch.fft.fft2(noise)
    phases = phases / phases.abs().clamp(min=1e-12)
    scrambled: Tensor = torch.fft.ifft2(torch.fft.fft2(means - means.mean(0)) * phases)
    return scrambled.real


def _drawn(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the mean of so many images of a class, drawn at random."""
    return images[torch.randint(len(images), (count,), generator=generator)].mean(0)
